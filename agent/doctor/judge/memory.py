"""Memory and swap: is there room for the frames in flight and a model, and what does swapping write to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.doctor.findings import Finding, failed, ok, skipped, warning
from agent.types import MB

LEAST_MB = 150
"""What a model of the smallest kind needs beside its frames."""

SMALL_MB = 1500
CARD = "mmcblk"
IN_MEMORY = ("zram", "zswap")


@dataclass(frozen=True)
class Swap:
    """A place that memory is swapped to. ``device``: what it lies on, where that is known."""

    path: str
    device: str
    size_mb: float
    used_mb: float

    @property
    def on_card(self) -> bool:
        """Whether it lies on an SD card or eMMC."""
        return CARD in f"{self.path} {self.device}"

    @property
    def in_memory(self) -> bool:
        """Whether it is memory itself, compressed."""
        return any(kind in self.path for kind in IN_MEMORY)


@dataclass(frozen=True)
class Memory:
    """``frames_mb``: what the rings of all cameras take when they are in use. ``running_mb``: what the agent has."""

    total_mb: float
    available_mb: float
    frames_mb: float
    running_mb: float | None
    swaps: tuple[Swap, ...] = ()


def read_swaps(text: str, devices: Sequence[tuple[str, str]] = ()) -> tuple[Swap, ...]:
    """Read ``/proc/swaps``; ``devices`` are (mount point, device), to tell what a file lies on."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 4 and fields[2].isdecimal() and fields[3].isdecimal():
            above = [(len(point), device) for point, device in devices if fields[0].startswith(point)]
            device = max(above, default=(0, ""))[1]
            found.append(Swap(fields[0], device, int(fields[2]) * 1024 / MB, int(fields[3]) * 1024 / MB))
    return tuple(found)


def judge(found: Memory) -> tuple[Finding, ...]:
    """Return what is so of memory and swap."""
    return _memory(found), _swap(found)


def _memory(found: Memory) -> Finding:
    name = "memory"
    values = {
        "total_mb": round(found.total_mb),
        "available_mb": round(found.available_mb),
        "frames_mb": round(found.frames_mb),
    }
    said = f"{found.available_mb:.0f} of {found.total_mb:.0f} MB to be had"
    said += f", frames take up to {found.frames_mb:.0f} MB" if found.frames_mb else ""
    said += f", the agent has {found.running_mb:.0f} MB" if found.running_mb else ""
    wanted = LEAST_MB if found.running_mb else LEAST_MB + found.frames_mb
    remedy = (
        "smaller frames (cameras.*.source.width, height), pipelines.*.in_flight: 2, fewer cameras or other programs"
    )
    if found.frames_mb + LEAST_MB > found.total_mb:
        return failed(name, said, remedy, **values)
    if found.available_mb < wanted:
        return warning(name, f"{said}: another model will not fit beside this one", remedy, **values)
    return ok(name, said, **values)


def _swap(found: Memory) -> Finding:
    name = "swap"
    if not found.swaps:
        if found.total_mb < SMALL_MB:
            remedy = "compressed memory: sudo apt-get install systemd-zram-generator (or zram-tools)"
            return warning(name, f"none, with {found.total_mb:.0f} MB of memory", remedy)
        return ok(name, "none", used_mb=0)
    used = sum(swap.used_mb for swap in found.swaps)
    places = ", ".join(f"{swap.path} {swap.used_mb:.0f} of {swap.size_mb:.0f} MB" for swap in found.swaps)
    worn = sum(swap.used_mb for swap in found.swaps if swap.on_card and not swap.in_memory)
    if worn >= 1:
        remedy = "zram in its place: sudo apt-get install systemd-zram-generator; sudo dphys-swapfile uninstall"
        return warning(name, f"{places}: swapping wears the card out and stalls frames", remedy, used_mb=round(used))
    return ok(name, places, used_mb=round(used)) if found.swaps else skipped(name, "none")
