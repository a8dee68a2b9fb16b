"""Where every record of the process ends up: folded, kept in memory, written out, told to those who follow.

Whoever logs only hands over a cleaned record; all the rest happens on the thread ``lookout-logs``, so that neither a
slow disk nor a reader that stands still is felt anywhere else. The inbox is bounded (:data:`MAX_INBOX`; twice that for
warnings and worse): what comes when it is full is dropped, counted, and told of. Before :meth:`LogDesk.start` and after
:meth:`LogDesk.stop` the one who logs does the work itself. Timers (windows of folding, temporary levels, the ends of
tails) are the thread's own: it waits for the next of them and for records, and polls nothing.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.clock import NS_PER_S, monotonic_ns, rfc3339, utc_ms
from agent.known_secrets import hide
from agent.logs.entry import Entry, Sink
from agent.logs.fold import Fold
from agent.logs.levels import Levels
from agent.logs.processors import LEVELS, Record
from agent.logs.ring import LogRing
from agent.logs.tail import RETRY_NS, Follower

MAX_INBOX = 2000
IDLE_S = 30.0
"""How long the thread waits at a time: only so that its heartbeat is renewed."""

BUSY_S = 5.0
"""How long a batch may take without being late: a stream or a journal that stands still is waited for once."""


class Pulse(Protocol):
    """The part of a heartbeat that the thread uses."""

    def waiting(self, bound_s: float) -> None:
        """Say that the loop waits, for ``bound_s`` at most."""
        ...


@dataclass(frozen=True)
class LogStatistics:
    """``dropped``: the inbox was full; ``lost``: by no fault of ours not written; ``problem`` says why, None: fine."""

    dropped: int
    lost: int
    problem: str | None
    followers: int


class LogDesk:
    """See the module; also structlog's final logger. ``sinks`` are written to in their order."""

    def __init__(
        self,
        ring: LogRing,
        levels: Levels,
        fold: Fold,
        sinks: Iterable[Sink],
        *,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._ring, self._levels, self._fold, self._sinks = ring, levels, fold, tuple(sinks)
        self._now_ns = now_ns
        self._pulse: Pulse | None = None
        self._inbox: deque[Record] = deque()
        self._ready = threading.Condition()
        self._busy = False
        self._running = False
        self._woken = False
        self._dropped = self._dropped_untold = 0
        self._work = threading.RLock()  # who does the work: the thread, or whoever logs while there is none
        self._followers: list[Follower] = []
        self._thread: threading.Thread | None = None

    # --- any thread --------------------------------------------------------------------------------------------------

    def msg(self, record: Record) -> None:
        """Take a record. Returns at once while the thread runs; raises nothing."""
        with self._ready:
            if self._running:
                grave = LEVELS.get(str(record.get("level")), 50) >= LEVELS["warning"]
                if len(self._inbox) >= MAX_INBOX * (2 if grave else 1):
                    self._dropped += 1
                    self._dropped_untold += 1
                else:
                    self._inbox.append(record)
                    self._ready.notify_all()
                return
        self._process([record])

    debug = info = warning = error = critical = exception = fatal = log = msg

    def start(self, pulse: Pulse | None = None) -> None:
        """Begin to do the work on a thread of its own."""
        self._pulse = pulse
        self._running = True
        self._thread = threading.Thread(target=self._run, name="lookout-logs", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Write what waits, tell what was folded, let followers go, and end the thread; fine if it never began."""
        with self._ready:
            self._running = False
            self._ready.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        with self._work:
            self._out(self._fold.finish())
            for follower in self._followers:
                follower.close()
            self._followers = []

    def close(self) -> None:
        """Free files and sockets; nothing is logged after this."""
        with self._work:
            for sink in self._sinks:
                sink.close()

    def flush(self, timeout_s: float = 1.0) -> None:
        """Wait until what was logged so far is written, ``timeout_s`` at most: for a process that is about to die."""
        with self._ready:
            if threading.current_thread() is not self._thread:
                self._ready.wait_for(lambda: not (self._running and (self._inbox or self._busy)), timeout_s)

    def fold_for(self, seconds: float) -> None:
        """Fold identical records within this time from now on."""
        with self._work:
            self._out(self._fold.finish())
            self._fold.configure(seconds)

    def follow(self, follower: Follower, begin: Callable[[], None] = lambda: None) -> None:
        """Tell ``follower`` of each record from now on; ``begin`` is called before the first, after the last kept."""
        with self._work:
            begin()
            self._followers.append(follower)
        self.wake()

    def unfollow(self, follower: Follower) -> None:
        """End a follower; unknown ones are fine."""
        with self._work:
            if follower in self._followers:
                self._followers.remove(follower)
                follower.close()

    def followers(self) -> tuple[Follower, ...]:
        """Return who follows, after those whose peer has left were let go."""
        with self._work:
            self._tick(self._now_ns())
            return tuple(self._followers)

    def wake(self) -> None:
        """Have the thread look at its timers anew."""
        with self._ready:
            self._woken = True
            self._ready.notify_all()

    def statistics(self) -> LogStatistics:
        """Return the counters."""
        problem = next((sink.problem for sink in self._sinks if sink.problem), None)
        return LogStatistics(self._dropped, sum(sink.lost for sink in self._sinks), problem, len(self._followers))

    # --- on the thread lookout-logs ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                if not self._round():
                    return
            except Exception:  # the thread's last line: a bug of whoever follows must not end all logging
                sys.stderr.write(hide(traceback.format_exc()))

    def _round(self) -> bool:
        batch, dropped = self._take()
        if dropped:
            self._process([_told("logs.dropped", "warning", records=dropped)])
        self._process(batch)
        with self._ready:
            self._busy = False
            self._ready.notify_all()
            return self._running or bool(self._inbox)

    def _take(self) -> tuple[list[Record], int]:
        """Wait for records or for a timer; return all that waits."""
        with self._ready:
            self._woken = False  # before the timers are looked at: who sets one meanwhile must be heard
        due_ns = self._due_ns()
        with self._ready:
            if not self._inbox and self._running and not self._woken:
                wait_s = IDLE_S if due_ns is None else min(IDLE_S, max(0.0, (due_ns - self._now_ns()) / NS_PER_S))
                self._wait_declared(2 * IDLE_S)
                self._ready.wait(wait_s)
            self._wait_declared(BUSY_S)
            batch, dropped = list(self._inbox), self._dropped_untold
            self._inbox.clear()
            self._dropped_untold = 0
            self._busy = bool(batch)
            return batch, dropped

    def _wait_declared(self, bound_s: float) -> None:
        if self._pulse is not None:
            self._pulse.waiting(bound_s)

    def _due_ns(self) -> int | None:
        with self._work:
            soon = self._now_ns() + RETRY_NS
            waits = [max(soon, due) if due == 0 else due for f in self._followers if (due := f.due_ns()) is not None]
            return min([*waits, *(due for due in (self._fold.due_ns(), self._levels.due_ns()) if due)], default=None)

    # --- under the lock of the work ----------------------------------------------------------------------------------

    def _process(self, batch: Iterable[Record]) -> None:
        with self._work:
            now_ns = self._now_ns()
            told: list[Mapping[str, Any]] = self._fold.close(now_ns)
            for record in batch:
                told += self._fold.take(record, now_ns)
            for part in self._levels.expire(now_ns):
                level = self._levels.level_of(part)
                told.append(_told("logs.level_returned", "info", of=part or "all", to=level))
            self._out(told)
            self._tick(now_ns)

    def _out(self, records: Iterable[Mapping[str, Any]]) -> None:
        entries = [Entry.of(record) for record in records]
        if not entries:
            return
        now_ns = self._now_ns()
        for entry in entries:
            self._ring.append(entry)
            for follower in self._followers:
                follower.take(entry, now_ns)
        for sink in self._sinks:
            sink.write(entries)

    def _tick(self, now_ns: int) -> None:
        self._followers = [follower for follower in self._followers if follower.tick(now_ns)]


def _told(event: str, level: str, **rest: Any) -> Record:
    """Return a record of the desk's own, which takes no way round."""
    return {"at": rfc3339(utc_ms()), "level": level, "part": "logs", "event": event, **rest}
