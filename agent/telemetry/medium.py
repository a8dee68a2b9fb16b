"""The medium on which the state lies: its free room, what is written to it, and what of its life is used up.

It is found by the number of the device that the folder lies on: of a partition the whole disk counts, and of a mapped
device (LUKS, LVM) the disk below it. A folder on no disk (a container's overlay, memory) has no medium. Only an eMMC
says in sysfs how worn it is; an SD card tells nobody, and an NVMe disk only its administrator.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from agent.telemetry import sysfs
from agent.types import MB

SECTOR = 512
"""Bytes of what the kernel calls a sector in its statistics, whatever the medium."""

_WRITTEN_AT = 6
MOST_LAYERS = 8
"""Mapped devices one above the other."""

_LIFE_STEP_PERCENT = 10
_LIFE_KNOWN = range(1, 12)
"""What ``life_time`` may say: tenths of its life, rounded up; 11: it has outlived it. 0: it does not tell."""

_END_IS_NEAR = (2, 3)
"""What ``pre_eol_info`` says when 80 % or 90 % of the spare blocks are used up; 1: it is well, 0: it does not tell."""


class Medium:
    """The disk below ``folder``; ``device`` is the number of the folder's device, by default what the folder says."""

    def __init__(self, folder: Path, *, sys: Path = Path("/sys"), device: str | None = None) -> None:
        self._folder = folder
        self._disk = disk_of(sys, device_of(folder) if device is None else device)

    @property
    def name(self) -> str | None:
        """What the kernel calls the disk."""
        return None if self._disk is None else self._disk.name

    def free_mb(self) -> float:
        """Return the room that is left to an ordinary user. Raises OSError."""
        return shutil.disk_usage(self._folder).free / MB

    def written_mb(self) -> float | None:
        """Return what was written to the disk since the host was started, by anybody."""
        words = (self._said("stat") or "").split()
        sectors = sysfs.integer(words[_WRITTEN_AT]) if len(words) > _WRITTEN_AT else None
        return sectors * SECTOR / MB if sectors is not None and sectors >= 0 else None

    def life_used_percent(self) -> float | None:
        """Return how much of its life is used up, in steps of ten, as the medium itself reckons; 110: all and more."""
        words = (self._said("device/life_time") or "").split()
        tenths = [found for word in words if (found := sysfs.integer(word, 16)) in _LIFE_KNOWN and found is not None]
        return float(max(tenths) * _LIFE_STEP_PERCENT) if tenths else None

    def worn(self) -> float | None:
        """Return 1 where the medium says that its end is near, 0 where not, None where it does not tell."""
        said = sysfs.integer(self._said("device/pre_eol_info"), 16)
        return float(said in _END_IS_NEAR) if said == 1 or said in _END_IS_NEAR else None

    def _said(self, name: str) -> str | None:
        return None if self._disk is None else sysfs.text(self._disk / name)


def device_of(folder: Path) -> str | None:
    """Return the number of the device that a folder lies on, as major:minor; None for a folder that is not there."""
    try:
        device = folder.stat().st_dev
    except OSError:
        return None
    return f"{os.major(device)}:{os.minor(device)}"


def disk_of(sys: Path, device: str | None) -> Path | None:
    """Return the folder in sysfs of the whole disk that a device is on; None where there is none."""
    if device is None:
        return None
    try:
        found = (sys / "dev/block" / device).resolve(strict=True)
        for _ in range(MOST_LAYERS):
            if (found / "partition").exists():
                found = found.parent
            below = sysfs.matching(found, "slaves/*")
            if not below:
                break
            found = below[0].resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
        return None
    return found if (found / "stat").exists() else None
