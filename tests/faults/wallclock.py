"""A wall clock of a device's own, which a test sets while the device runs.

A small library stands before the C library's in the agent and, as ``LD_PRELOAD`` is one of the names that children
inherit, in all of its children: their ``CLOCK_REALTIME`` and what the kernel says of it are the test's, their
monotonic clock is the machine's. The machine's own clock is never touched.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.integration.device import Device

YEAR_S = 365 * 24 * 3600
_SOURCE = Path(__file__).with_name("faked_clock.c")
_FIELDS = struct.Struct("=qq")


class WallClock:
    """Right and kept right until it is set."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("cc is absent: apt-get install gcc libc6-dev")
        folder.mkdir(exist_ok=True)
        file, self._library = folder / "clock", folder / "faked_clock.so"
        file.write_bytes(_FIELDS.pack(0, 1))
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", f'-DCLOCK_FILE="{file}"', "-o", str(self._library)]
        subprocess.run([*command, str(_SOURCE)], check=True)
        with file.open("r+b") as opened:
            self._shown = mmap.mmap(opened.fileno(), _FIELDS.size)

    def give_to(self, device: Device) -> None:
        """Make it the clock of a device that is not running."""
        device.env["LD_PRELOAD"] = str(self._library)

    def jump(self, years: float) -> None:
        """Show a time that is wrong by so many years from now on; 0: it is right again."""
        _FIELDS.pack_into(self._shown, 0, round(years * YEAR_S) * 10**9, 1)
