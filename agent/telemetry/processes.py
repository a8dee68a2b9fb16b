"""The agent's own processes: memory, processor time, and what they write to the disk.

Children are known by their names from whoever started them. What a child that ended has written is in the account of
its parent as soon as it was reaped (so the kernel counts), so nothing is lost by a child that lives shorter than from
one look to the next. Any thread may ask.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.clock import NS_PER_S, monotonic_ns
from agent.process.memory import pss_bytes
from agent.telemetry import sysfs
from agent.telemetry.meter import Meter
from agent.telemetry.rows import ProcessRow
from agent.types import MB

SELF = "agent"
"""What the agent's own process is called."""

FRESH_S = 2.0
"""What was read so short a time ago is not read again."""

MEMORY_S = 30.0
"""The same of memory: to tell it, the kernel has to walk over all of it, which is most of what a report costs."""

_USER_AT, _SYSTEM_AT = 11, 12
"""Of the numbers after the name in ``/proc/<pid>/stat``."""


class Processes:
    """See the module. ``children`` gives the living children (name → pid)."""

    def __init__(self, children: Callable[[], Mapping[str, int]] = dict, *, proc: Path = Path("/proc")) -> None:
        self._children = children
        self._proc = proc
        self._lock = threading.Lock()
        self._ticks_s = os.sysconf("SC_CLK_TCK")
        self._meters: dict[int, Meter] = {}
        self._sizes: dict[int, tuple[int, float]] = {}
        self._rows: dict[str, ProcessRow] = {}
        self._read_ns: int | None = None
        self._written = 0
        self.rows()

    def rows(self) -> dict[str, ProcessRow]:
        """Return memory and processor time by name; a process that has just ended is left out."""
        with self._lock:
            now_ns = monotonic_ns()
            if self._read_ns is None or now_ns - self._read_ns >= FRESH_S * NS_PER_S:
                self._rows, self._read_ns = self._look(now_ns), now_ns
            return self._rows

    def own(self) -> ProcessRow:
        """Return the row of the agent's own process."""
        return self.rows().get(SELF, ProcessRow(0.0, None))

    def written_mb(self) -> float | None:
        """Return what all of them, with those that have ended, gave to the disk since the agent was started.

        It counts a page that was changed when it is changed first; None where the kernel does not count it.
        """
        own = self._written_by("self")
        if own is None:
            return None
        found = own + sum(self._written_by(pid) or 0 for pid in self._children().values())
        with self._lock:
            self._written = max(self._written, found)  # a child is nobody's between its end and its reaping
            return self._written / MB

    def _look(self, now_ns: int) -> dict[str, ProcessRow]:
        pids = {SELF: os.getpid(), **self._children()}
        self._meters = {pid: self._meters.get(pid, Meter()) for pid in pids.values()}
        self._sizes = {pid: self._size(pid, now_ns) for pid in pids.values()}
        found = {}
        for name, pid in pids.items():
            ticks = self._ticks(pid)
            if ticks is not None:
                rate = self._meters[pid].per_second(now_ns, ticks)
                percent = None if rate is None else round(100 * rate / self._ticks_s, 2)
                found[name] = ProcessRow(self._sizes[pid][1], percent)
        return found

    def _size(self, pid: int, now_ns: int) -> tuple[int, float]:
        """Return a process' memory, and when it was read."""
        known = self._sizes.get(pid)
        if known is not None and now_ns - known[0] < MEMORY_S * NS_PER_S:
            return known
        return now_ns, round(pss_bytes(pid) / MB, 2)

    def _ticks(self, pid: int) -> int | None:
        words = (sysfs.text(self._proc / str(pid) / "stat") or "").rpartition(")")[2].split()
        if len(words) <= _SYSTEM_AT:
            return None
        user, system = sysfs.integer(words[_USER_AT]), sysfs.integer(words[_SYSTEM_AT])
        return None if user is None or system is None else user + system

    def _written_by(self, pid: int | str) -> int | None:
        for line in (sysfs.text(self._proc / str(pid) / "io") or "").splitlines():
            name, _, value = line.partition(":")
            if name == "write_bytes":
                return sysfs.integer(value.strip())
        return None
