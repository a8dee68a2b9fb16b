"""The disk under the state folder: does it keep what is written, may the agent write, and is there room. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.doctor.findings import Finding, failed, ok, skipped, warning
from agent.types import MB

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
OVERLAYS = frozenset({"overlay", "aufs"})
LEAST_SHARE = 0.1
"""A card with less of it free wears out and slows down."""

LEAST_FILES = 1000
WORN_PERCENT = 90
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A file system as the kernel lists it."""

    point: str
    kind: str
    source: str
    read_only: bool
    upper: str = ""
    """Of an overlay: where what is written goes."""


@dataclass(frozen=True)
class Storage:
    """What is so of the state folder. ``writable`` None: whether ``user`` may write there could not be found out.

    ``problem``: why a file could not be written there, in words. ``nearest``: the folder itself or, where it is not
    there yet, the one above it that is. ``wanted_mb``: what models and outbox leave free or may need.
    """

    folder: str
    nearest: str
    user: str
    mounts: tuple[Mount, ...]
    writable: bool | None
    problem: str
    free_bytes: int
    total_bytes: int
    free_files: int
    total_files: int
    wanted_mb: float


@dataclass(frozen=True)
class Wear:
    """What a medium says of its own life: the part that is used up, and whether its end is near."""

    medium: str | None
    used_percent: float | None
    worn: bool


def read_mounts(text: str) -> tuple[Mount, ...]:
    """Read ``/proc/self/mountinfo``; a line that is none is passed over."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if dash and len(fields) >= 6 and len(rest) >= 2:
            options = _options(rest[2] if len(rest) > 2 else "")
            read_only = "ro" in fields[5].split(",") or "ro" in options
            found.append(Mount(_plain(fields[4]), rest[0], _plain(rest[1]), read_only, options.get("upperdir", "")))
    return tuple(found)


def mount_of(mounts: Sequence[Mount], path: str) -> Mount | None:
    """Return the file system that ``path`` lies on: the longest point, of several at one point the last."""
    above = [mount for mount in mounts if _is_under(path, mount.point)]
    return max(above, key=lambda mount: (len(mount.point), mounts.index(mount)), default=None) if above else None


def in_memory(mounts: Sequence[Mount], mount: Mount) -> bool | None:
    """Tell whether what is written there is gone after a power cut; None where that cannot be told."""
    if mount.kind in IN_MEMORY:
        return True
    if mount.kind not in OVERLAYS:
        return False
    below = mount_of([one for one in mounts if one.kind not in OVERLAYS], mount.upper) if mount.upper else None
    if below is not None and below.kind in IN_MEMORY and below.point != "/":
        return True
    return True if mount.source.startswith("overlayroot") else None


def judge(found: Storage) -> tuple[Finding, ...]:
    """Return what is so of folder and room."""
    return _folder(found), _room(found)


def _folder(found: Storage) -> Finding:
    name, mount = "state folder", mount_of(found.mounts, found.nearest)
    kind = "unknown file system" if mount is None else mount.kind
    said = f"{found.folder} ({kind}{'' if mount is None else f' on {mount.source}'})"
    values = {"folder": found.folder, "file_system": kind}
    if mount is not None and mount.read_only:
        return failed(
            name,
            f"{said} is read-only: what lies there serves on, nothing new can be kept",
            f"sudo dmesg | grep -i -e ext4 -e mmc says why; sudo mount -o remount,rw {mount.point}, or another card",
            **values,
        )
    if found.problem:
        return failed(name, f"{said}: cannot be written: {found.problem}", "free or repair the disk", **values)
    if found.writable is False:
        return failed(
            name,
            f"{said}: {found.user} may not write there",
            f"{_give(found)}, or another folder as paths.state",
            **values,
        )
    volatile = None if mount is None else in_memory(found.mounts, mount)
    if mount is not None and volatile:
        return failed(
            name,
            f"{said} lies in memory: models and what is not reported yet are gone after a power cut",
            "put the state on a disk: paths.state, or switch the overlay off (raspi-config, Performance, Overlay FS)",
            **values,
        )
    if mount is not None and volatile is None:
        return warning(
            name,
            f"{said}: whether it outlives a restart cannot be told",
            f"mount a volume at {found.folder}, so that models and what is not reported yet stay",
            **values,
        )
    whose = f", {found.user} may write there" if found.writable else ""
    return ok(name, f"{said}{whose}{'' if found.folder == found.nearest else '; not made yet'}", **values)


def _give(found: Storage) -> str:
    """Return the command that gives the folder, and never one above it, to the agent's user."""
    if found.folder == found.nearest:
        return f"sudo chown -R {found.user}: {found.folder}"
    return f"sudo install -d -m 0750 -o {found.user} {found.folder}"


def _room(found: Storage) -> Finding:
    name = "disk room"
    if found.total_bytes <= 0:
        return skipped(name, f"{found.nearest} says nothing of its size")
    free_mb, share = found.free_bytes / MB, found.free_bytes / found.total_bytes
    said = f"{size(found.free_bytes)} of {size(found.total_bytes)} free ({share:.0%})"
    values = {"free_mb": round(free_mb), "free_share": round(share, 3), "wanted_mb": round(found.wanted_mb)}
    if free_mb < found.wanted_mb:
        return failed(
            name,
            f"{said}: less than the {found.wanted_mb:.0f} MB that models and outbox need or leave free",
            "see what takes it: sudo du -xh / --max-depth=2 | sort -h | tail; sudo journalctl --vacuum-size=100M",
            **values,
        )
    if found.total_files > 0 and found.free_files < LEAST_FILES:
        return failed(
            name,
            f"{said}, but only {found.free_files} more files can be made",
            "see where they are: sudo du --inodes -x / --max-depth=2 | sort -n | tail",
            **values,
        )
    if share < LEAST_SHARE:
        return warning(name, said, "leave a tenth free: a full card slows down and wears out", **values)
    return ok(name, said, **values)


def judge_wear(found: Wear) -> tuple[Finding, ...]:
    """Return how much life the medium has left; nothing where it does not say, as SD cards do not."""
    name = "disk wear"
    if found.medium is None or (found.used_percent is None and not found.worn):
        return ()
    said = f"{found.medium}: " + (
        "" if found.used_percent is None else f"{found.used_percent:.0f} % of its life used up"
    )
    values = {"medium": found.medium, "used_percent": found.used_percent}
    if found.worn or (found.used_percent or 0) > WORN_PERCENT:
        return (warning(name, f"{said}; its end is near", "replace it before it fails", **values),)
    return (ok(name, said, **values),)


def size(count: float) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _options(text: str) -> Mapping[str, str]:
    pairs: Iterable[tuple[str, str, str]] = (option.partition("=") for option in text.split(","))
    return {key: _plain(value) for key, _, value in pairs}


def _plain(text: str) -> str:
    """Return a path as it is: the kernel writes blanks in it as octal numbers."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _is_under(path: str, point: str) -> bool:
    return path == point or path.startswith(point if point.endswith("/") else f"{point}/")
