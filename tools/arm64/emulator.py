"""Runs programs of the ARM root as if this machine were an ARM board.

PRoot makes the root appear as ``/`` without privileges and has QEMU run each program, also those that a program starts;
no kernel feature must be switched on. The checkout, the shared material beside it and a fresh ``/tmp`` are bound in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from tools.arm64.cpus import Cpu
from tools.arm64.oldcalls import hide_faccessat2
from tools.arm64.root import ENVIRONMENT

INSIDE = f"/{ENVIRONMENT}/bin"


class Emulator:
    """One processor over a root. A context manager: it keeps a folder that is ``/tmp`` inside, and removes it."""

    def __init__(self, cpu: Cpu, root: Path, checkout: Path) -> None:
        self.cpu = cpu
        self._root = root
        self._checkout = checkout
        self._folder = Path()

    def __enter__(self) -> Emulator:
        self._folder = Path(tempfile.mkdtemp(prefix=f"lookout-{self.cpu.name}-"))
        (self._folder / "tmp").mkdir(mode=0o1777)
        (self._folder / "cpuinfo").write_text(self.cpu.cpuinfo(), encoding="ascii")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def tmp(self) -> Path:
        """What is ``/tmp`` inside."""
        return self._folder / "tmp"

    def command(self, program: Sequence[str]) -> list[str]:
        """Return the command that runs ``program`` inside, in the checkout's folder."""
        shared = self._checkout.parent / "shared"
        bound = [
            *("/proc", "/sys", "/dev", f"{self.tmp}:/tmp", f"{self._folder / 'cpuinfo'}:/proc/cpuinfo"),
            str(self._checkout),
            *([str(shared)] if shared.is_dir() else []),
        ]
        return [
            *("proot", "-q", "qemu-aarch64-static", "-r", str(self._root)),
            *(word for one in bound for word in ("-b", one)),
            *("-w", str(self._checkout), *program),
        ]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return all that a program finds in its environment."""
        return {
            "PATH": f"{INSIDE}:/usr/sbin:/usr/bin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp",  # noqa: S108 - the root's own
            "QEMU_CPU": self.cpu.qemu,
            "ORT_DISABLE_TELEMETRY": "1",
            "PROOT_TMP_DIR": str(self._folder),
            **more,
        }

    def run(
        self, program: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, quiet: bool = False
    ) -> int | None:
        """Run a program and return its exit status; None where it was ended after ``timeout_s``."""
        process = subprocess.Popen(
            self.command(program),
            env=self.environment(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else None,
            stderr=subprocess.DEVNULL if quiet else None,
            start_new_session=True,
            preexec_fn=hide_faccessat2,
        )
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)

    def output(self, program: Sequence[str], *, timeout_s: float) -> str:
        """Run a program and return what it printed. Raises :class:`subprocess.SubprocessError`."""
        done = subprocess.run(
            self.command(program),
            env=self.environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
            preexec_fn=hide_faccessat2,
        )
        return done.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    """End PRoot and everything that runs under it, where it still runs."""
    if process.poll() is not None:
        return
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in reversed(family):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
