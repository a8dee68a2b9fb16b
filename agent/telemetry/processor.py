"""How busy the host is, and how much memory it has left: what ``/proc`` says of the whole of it."""

from __future__ import annotations

import os
from pathlib import Path

from agent.clock import monotonic_ns
from agent.telemetry import sysfs
from agent.telemetry.meter import Meter
from agent.types import MB

_IDLE_AT = (3, 4)
"""Of the first line of ``/proc/stat``, what is no work: idle, and waiting for a disk."""

MOST_TASKS = 2**22
"""No kernel has more."""

_COUNTED = 8
"""How many of its numbers add up; those of guests are in the others already."""


class Processor:
    """All cores together."""

    def __init__(self, proc: Path, *, cores: int | None = None) -> None:
        self._proc = proc
        self._cores = cores or os.cpu_count() or 1
        self._ticks_s = os.sysconf("SC_CLK_TCK")
        self._meter = Meter()
        self.busy_percent()

    def busy_percent(self) -> float | None:
        """Return how busy the cores were of late, percent of all of them; None at first."""
        line = (sysfs.text(self._proc / "stat") or "").partition("\n")[0].split()
        ticks = [sysfs.integer(word) for word in line[1 : 1 + _COUNTED]]
        if line[:1] != ["cpu"] or len(ticks) < _COUNTED:
            return None
        busy = sum(one for at, one in enumerate(ticks) if one is not None and at not in _IDLE_AT)
        rate = self._meter.per_second(monotonic_ns(), busy)
        return None if rate is None else min(100.0, 100 * rate / self._ticks_s / self._cores)

    def load_1m(self) -> float | None:
        """Return the mean number of runnable tasks in the last minute."""
        words = (sysfs.text(self._proc / "loadavg") or "").split()
        try:
            load = float(words[0])
        except (IndexError, ValueError):
            return None
        return load if 0 <= load <= MOST_TASKS else None  # also false for what is no number


class Memory:
    """The host's memory."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc

    def available_mb(self) -> float | None:
        """Return what can be had without swapping."""
        return self._said().get("MemAvailable")

    def used_mb(self) -> float | None:
        """Return the rest."""
        said = self._said()
        return said["MemTotal"] - said["MemAvailable"] if {"MemTotal", "MemAvailable"} <= said.keys() else None

    def swapped_mb(self) -> float | None:
        """Return how much lies in swap; None where there is none."""
        said = self._said()
        total, free = said.get("SwapTotal"), said.get("SwapFree")
        return total - free if total and free is not None else None

    def _said(self) -> dict[str, float]:
        found = {}
        for line in (sysfs.text(self._proc / "meminfo") or "").splitlines():
            name, _, value = line.partition(":")
            kib = sysfs.integer(value.removesuffix("kB").strip())
            if kib is not None:
                found[name] = kib * 1024 / MB
        return found
