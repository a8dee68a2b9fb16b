"""The mains of one device: a cut ends all of its processes at once, and the kernel's next boot has an id of its own.

The id is bound over ``/proc/sys/kernel/random/boot_id`` in a mount namespace of the device's own. What the disk had not
been made to keep survives here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.integration.device import Device

_BIND = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"'


class Mains:
    """Give it a device that does not run; from then on only a cut changes the boot of the kernel."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._file: Path = device.folder / "boot_id"
        self.next_boot()
        device.prefix = ["unshare", "--mount", "sh", "-c", _BIND, "sh", str(self._file)]
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("only root may give a process another boot_id")
        seen = subprocess.run(
            [*device.prefix, "cat", "/proc/sys/kernel/random/boot_id"], capture_output=True, text=True, check=False
        )
        if seen.stdout != self._file.read_text():
            pytest.skip(f"no boot_id can be bound here: {seen.stderr.strip()}")

    def cut(self) -> None:
        """Cut the power, and start the agent on the next boot."""
        self._device.kill_all()
        self.next_boot()
        self._device.start()

    def next_boot(self) -> None:
        """Let the next start be one on another boot."""
        self._file.write_text(f"{uuid.uuid4()}\n")
