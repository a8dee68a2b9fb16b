"""Has the kernel run ARM programs through QEMU while an image is built or tried, and no longer.

Only root can. Where somebody else has registered it already, nothing is changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from agent.errors import SurroundingsError
from tools.arm64 import host

FOLDER = Path("/proc/sys/fs/binfmt_misc")
NAME = "lookout-aarch64"
LOCK = Path("/run/lookout-arm64.lock")
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


@contextlib.contextmanager
def registered(say: host.Say) -> Iterator[None]:
    """Let ARM programs run meanwhile. Raises :class:`SurroundingsError`.

    Several may want it at once: the last one to leave takes it back.
    """
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            if not (FOLDER / "register").exists():
                _mount()
            if not _known():
                _register(say)
            yield
        finally:
            with contextlib.suppress(BlockingIOError):  # somebody else is at it still
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _forget()


def _register(say: host.Say) -> None:
    interpreter = shutil.which("qemu-aarch64-static")
    if interpreter is None:
        raise SurroundingsError("qemu-aarch64-static is absent: apt-get install qemu-user-static")
    say("having the kernel run ARM programs through QEMU meanwhile")
    try:
        # F: the interpreter is opened now, so that it is found from inside any other root.
        (FOLDER / "register").write_text(f":{NAME}:M::{_MAGIC}:{_MASK}:{os.path.realpath(interpreter)}:F")
    except OSError as error:
        raise SurroundingsError(f"binfmt_misc refuses QEMU: {error.strerror}; be root, on the host") from error


def _mount() -> None:
    mount = ["mount", "-t", "binfmt_misc", "none", str(FOLDER)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise SurroundingsError(
            f"{FOLDER} cannot be mounted: run as root, on a kernel with binfmt_misc, outside a container"
        )


def _known() -> bool:
    for entry in FOLDER.iterdir():
        if entry.name not in {"register", "status"}:
            text = entry.read_text(encoding="ascii")
            if text.startswith("enabled") and "aarch64" in text:
                return True
    return False


def _forget() -> None:
    with contextlib.suppress(OSError):
        (FOLDER / NAME).write_text("-1")
