"""Heartbeats: who says that it makes progress, and who is late in saying so.

Liveness means progress (a frame went through, a message was sent), never "the thread is alive". A loop that has
nothing to do declares a wait with a bound and is late only beyond it. No I/O and no clock of its own: the monotonic
clock comes in as a function. Any thread may call anything here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.clock import NS_PER_S
from agent.errors import ProgrammingError

MAX_WAIT_S = 3600.0
"""A declared wait has a bound; a longer one is a loop that nobody watches."""

Clock = Callable[[], int]


class Heartbeat:
    """The heartbeat of one loop; it is late when it was silent for longer than its patience, or than its wait."""

    def __init__(self, name: str, patience_s: float, now_ns: Clock) -> None:
        if not 0 < patience_s <= MAX_WAIT_S:
            raise ProgrammingError(f"heartbeat {name}: patience must be above 0 and at most {MAX_WAIT_S} s")
        self.name = name
        self._patience_ns = int(patience_s * NS_PER_S)
        self._now_ns = now_ns
        # One integer, replaced in one step: the loop that beats never takes a lock.
        self._due_ns = now_ns() + self._patience_ns

    def progress(self) -> None:
        """Say that the loop got something done; this also ends a declared wait."""
        self._due_ns = self._now_ns() + self._patience_ns

    def waiting(self, bound_s: float) -> None:
        """Say that the loop waits for at most ``bound_s``, then has its patience again to get something done."""
        if not 0 <= bound_s <= MAX_WAIT_S:
            raise ProgrammingError(f"heartbeat {self.name}: a wait of {bound_s} s is not within 0 to {MAX_WAIT_S} s")
        self._due_ns = self._now_ns() + int(bound_s * NS_PER_S) + self._patience_ns

    def late_s(self) -> float:
        """Return for how long it has been late, seconds; 0 when it is not."""
        return max(0, self._now_ns() - self._due_ns) / NS_PER_S


class Heartbeats:
    """All heartbeats of the agent, by name."""

    def __init__(self, now_ns: Clock) -> None:
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._beats: dict[str, Heartbeat] = {}

    def add(self, name: str, patience_s: float) -> Heartbeat:
        """Return a new heartbeat that must beat every ``patience_s``. Names are unique among those that are watched."""
        beat = Heartbeat(name, patience_s, self._now_ns)
        with self._lock:
            if name in self._beats:
                raise ProgrammingError(f"heartbeat {name}: there is one of this name already")
            self._beats[name] = beat
        return beat

    def remove(self, name: str) -> None:
        """Watch this one no longer: its loop was stopped on purpose. Unknown names are fine."""
        with self._lock:
            self._beats.pop(name, None)

    def late(self) -> tuple[str, ...]:
        """Return the names of those that are late, in order."""
        with self._lock:
            beats = tuple(self._beats.values())
        return tuple(sorted(beat.name for beat in beats if beat.late_s() > 0))
