"""A file system of a benchmark's own, so that what reaches its device can be told from what others write.

An ext4 image on a loop device: its counters say what was written to it, the file system's own journal included, which
no process is charged with. Only root may mount; others do without.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

IMAGE_MB = 1024
SECTOR = 512
"""Bytes of what the kernel calls a sector in its statistics, whatever the device."""

_WRITTEN_AT = 6


@contextlib.contextmanager
def own_disk(image: Path, folder: Path) -> Iterator[str | None]:
    """Mount a new file system at ``folder`` for the length of the block; gives its device, None where none is had."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as undo:
        yield _mounted(undo, image, folder) if os.geteuid() == 0 else None


def _mounted(undo: contextlib.ExitStack, image: Path, folder: Path) -> str | None:
    with image.open("wb") as file:
        file.truncate(IMAGE_MB * 1_000_000)
    try:
        _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
        device = _run("losetup", "--find", "--show", str(image)).strip()
        undo.callback(_run, "losetup", "--detach", device)
        _run("mount", device, str(folder))
        undo.callback(_run, "umount", str(folder))
    except (OSError, subprocess.CalledProcessError):  # no loop devices here: a container, most likely
        return None
    return device


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def written_bytes(device: str) -> int:
    """Return what was written to a device since it was made, after bringing out what still waits in memory."""
    os.sync()
    words = Path(f"/sys/block/{Path(device).name}/stat").read_text().split()
    return int(words[_WRITTEN_AT]) * SECTOR
