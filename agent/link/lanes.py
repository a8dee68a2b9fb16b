"""A few threads that work off what comes in: several lanes beside each other, each in its order, one at a time.

What waits is bounded: :meth:`Lanes.offer` refuses when it is full and never blocks. The oldest whose lane is free is
taken next; one that waits for its lane lets younger ones of other lanes go first. Idle threads wake for what comes, and
for ``due_s``, when ``tend`` is called.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from agent.link.wire import NoPulse, Pulse

IDLE_S = 30.0
"""How long a thread waits at a time: only so that its heartbeat is renewed."""

T = TypeVar("T")


class Lanes(Generic[T]):
    """Owns the threads ``<name>-1`` …; see the module. ``work`` is called on them and must not raise.

    ``due_s`` says in how many seconds ``tend`` must be called next, None where it need not. ``beat`` makes the
    heartbeat of each thread. ``work`` gets that heartbeat, to declare a longer wait.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[T, Pulse], None],
        *,
        threads: int,
        max_waiting: int,
        beat: Callable[[str], Pulse] | None = None,
        due_s: Callable[[], float | None] = lambda: None,
        tend: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._max_waiting = max_waiting
        self._due_s = due_s
        self._tend = tend
        self._waiting: deque[tuple[str, T]] = deque()
        self._busy: set[str] = set()
        self._ready = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        for number in range(1, threads + 1):
            pulse = NoPulse() if beat is None else beat(f"{name.removeprefix('lookout-')}-{number}")
            self._threads.append(
                threading.Thread(target=self._run, args=(pulse,), name=f"{name}-{number}", daemon=True)
            )

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish what runs, in ``timeout_s`` at most; what waits is not begun."""
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    def offer(self, lane: str, item: T) -> bool:
        """Take ``item`` in; return False when it is full. Any thread; never blocks."""
        with self._ready:
            if len(self._waiting) >= self._max_waiting:
                return False
            self._waiting.append((lane, item))
            self._ready.notify()
            return True

    # --- on each of the threads --------------------------------------------------------------------------------------

    def _run(self, pulse: Pulse) -> None:
        while not self._stopping:
            self._tend()
            pulse.progress()
            taken = self._take(pulse)
            if taken is None:
                continue
            lane, item = taken
            try:
                self._work(item, pulse)
            finally:
                with self._ready:
                    self._busy.discard(lane)

    def _take(self, pulse: Pulse) -> tuple[str, T] | None:
        """Return what is next; None after a wait that brought nothing, or at the end."""
        with self._ready:
            found = self._next()
            if found is None and not self._stopping:
                due_s = self._due_s()
                pulse.waiting(2 * IDLE_S)
                self._ready.wait(IDLE_S if due_s is None else min(IDLE_S, max(0.0, due_s)))
                pulse.progress()
                found = self._next()
            return found

    def _next(self) -> tuple[str, T] | None:
        if self._stopping:
            return None
        for place, (lane, item) in enumerate(self._waiting):
            if lane not in self._busy:
                del self._waiting[place]
                self._busy.add(lane)
                return lane, item
        return None
