"""The outbox of an agent: durable letters on the disk, the others in memory, one order over both.

Durable is a letter that says so and is no state (``replaces``, ``retain``: whoever told a state tells it again). It is
written, without a sync, before :meth:`DurableOutbox.put_all` returns: a kill loses nothing that was put. The thread
``lookout-outbox`` syncs the disk so that no letter is unsafe from a power cut for longer than ``flush_ms`` and what the
sync takes; a letter that is acknowledged before costs none. The same thread reads letters for the session, so that the
session never waits for the disk; forgets what was acknowledged, within :data:`DELETE_S` (a kill before that makes them
come twice, with the ids they had); drops what is too old; and keeps the write-ahead log short.

When there is no room within ``max_bytes`` the oldest letters of the lowest priority are dropped: events first, results
last. What cannot be written, because the disk is full or broken, waits in memory, bounded, and is written as soon as
that works. Without a broker (``writes`` False) nothing is written: what is durable is kept in memory as the rest is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from agent.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from agent.database import Database
from agent.link.backlog import Backlog
from agent.link.drain import Drain
from agent.link.keeper import Keeper
from agent.link.letters import LetterStore
from agent.link.outbox import MemoryOutbox, OutboxStatistics, is_kept
from agent.link.topics import Topics
from agent.link.wire import Letter, NoPulse, Pulse
from agent.types import MB

log = structlog.get_logger(part="link")

DELETE_S = 1.0
"""How long what was acknowledged may stay on the disk, so that many letters are deleted at once."""

LOOK_S = 30.0
"""How often the thread looks for what is too old, and how long it waits at most."""

NOTE_S = 3600.0
"""How often it notes how late it is, while something waits."""

DISK_S = 600.0
"""How long a sync may take before the watchdog thinks that the thread hangs."""

AWAKE = 2**63


class OutboxLimits(msgspec.Struct, frozen=True):
    """What the configuration says. ``writes``: there is a broker to keep letters for."""

    max_bytes: int = 64 * MB
    max_age_s: float = 7 * 24 * 3600.0
    flush_ms: int = 1000
    drain_per_s: float = 100.0
    writes: bool = True


class DurableOutbox:
    """Owns the thread ``lookout-outbox``; an :class:`~agent.link.outbox.Outbox`. See the module."""

    def __init__(
        self,
        path: Path,
        topics: Topics,
        limits: OutboxLimits | None = None,
        *,
        memory: MemoryOutbox | None = None,
        clock_ns: Callable[[], int] = monotonic_ns,
        pulse: Pulse | None = None,
    ) -> None:
        self._limits = limits or OutboxLimits()
        self._memory = memory or MemoryOutbox()
        self._clock_ns = clock_ns
        self._pulse = pulse or NoPulse()
        self._store = LetterStore(path, topics, self._limits.max_bytes, clock_ns=clock_ns)
        self._drain = Drain(self._limits.drain_per_s)
        self._backlog = Backlog(self._drain, self._store.streams)
        self._keeper = Keeper(self._store, self._backlog, clock_ns)
        self._keeper.read_on()  # so that what is most important is at hand at the first connection
        self._turn = threading.Condition()
        self._nudged = self._stopping = False
        self._wakes_ns = AWAKE
        self._delete_ns: int | None = None
        self._credit_ns: int | None = None
        self._look_ns = 0
        self._note_ns = clock_ns() + round(NOTE_S * NS_PER_S)
        self._wake: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="lookout-outbox", daemon=True)

    @property
    def last_id(self) -> int:
        """The highest id that a letter had which waits from before."""
        return max((one.newest for one in self._store.streams), default=0)

    @property
    def database(self) -> Database:
        """The file; it has a table ``meta`` for whoever wants to remember something beside the letters."""
        return self._store.database

    def start(self) -> None:
        """Begin to look after the disk."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Make durable what is there, and end. Idempotent."""
        with self._turn:
            self._stopping = True
            self._turn.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def close(self) -> None:
        """Close the file; after :meth:`stop`."""
        self._store.close()

    def reconfigure(self, limits: OutboxLimits) -> None:
        """Hold other limits from now on; any thread."""
        self._drain.pace(limits.drain_per_s)
        if limits.max_bytes != self._limits.max_bytes:
            self._keeper.bound(limits.max_bytes)
        self._limits = limits
        self._look_ns = 0
        self._by(0)

    # --- the publisher's side ----------------------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when letters were read that the session asked for, or when one may leave that had to wait."""
        self._wake = wake

    def put(self, letter: Letter, now_ns: int) -> None:
        """Queue a letter."""
        self.put_all((letter,), now_ns)

    def put_all(self, letters: Iterable[Letter], now_ns: int) -> None:
        """Queue letters; those that are durable are on the disk when this returns, or the problem is told."""
        durable = []
        for letter in letters:
            if self._limits.writes and is_kept(letter):
                durable.append(letter)
            else:
                self._memory.put(letter, now_ns)
        if durable:
            self._keeper.write(durable)
            self._by(now_ns + self._limits.flush_ms * NS_PER_MS)

    # --- the session's side ------------------------------------------------------------------------------------------

    def connected(self, now_ns: int) -> None:
        """Take note that a connection begins: what waits has waited through an outage."""
        self._backlog.connected(now_ns)

    def next(self, now_ns: int, *, window_open: bool) -> Letter | None:
        """Hand out the next letter."""
        firsts = self._backlog.firsts()
        elsewhere = {name: found for name in firsts if (found := self._memory.first_of(name)) is not None}
        letter, credit_ns = self._backlog.best(now_ns, elsewhere) if window_open and firsts else (None, None)
        other = self._memory.next(now_ns, window_open=window_open, rival=letter, elsewhere=firsts)
        if other is not None:
            return other
        if letter is not None and self._backlog.take(letter):
            if self._backlog.hungry(letter.stream):
                self._by(0)
            return letter
        if credit_ns is not None and self._credit_ns is None:
            self._credit_ns = credit_ns
            self._by(credit_ns)
        return None

    def done(self, letter_id: int) -> None:
        """Forget a letter that was handed out."""
        if not self._backlog.done(letter_id):
            self._memory.done(letter_id)
        elif self._delete_ns is None:
            self._delete_ns = self._clock_ns() + round(DELETE_S * NS_PER_S)
            self._by(self._delete_ns)

    def rewind(self) -> None:
        """Let what was handed out wait again."""
        self._backlog.rewind()
        self._memory.rewind()

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is handed out."""
        return self._memory.idle() and self._backlog.idle()

    def statistics(self) -> OutboxStatistics:
        """Return the counters."""
        light, heavy = self._memory.statistics(), self._backlog.numbers()
        return msgspec.structs.replace(
            light,
            waiting=light.waiting + heavy.waiting,
            unacknowledged=light.unacknowledged + heavy.out,
            bytes=light.bytes + heavy.bytes,
            expired=light.expired + self._backlog.expired,
            dropped_durable=light.dropped_durable + self._backlog.dropped,
            unsaved=heavy.unsaved,
            aged=self._backlog.aged,
            flushes=self._keeper.flushes,
            problem=self._keeper.problem,
        )

    # --- on the thread lookout-outbox --------------------------------------------------------------------------------

    def _by(self, at_ns: int) -> None:
        """See to it that the thread looks at what is due no later than ``at_ns``; any thread."""
        with self._turn:
            if at_ns < self._wakes_ns:
                self._nudged = True
                self._turn.notify()

    def _run(self) -> None:
        try:
            while self._wait(self.turn()):
                pass
            self._end()
        except BaseException:  # the thread's last line: its heart stops, the watchdog acts
            log.critical("outbox.broken", exc_info=True)
            raise

    def _wait(self, until_ns: int) -> bool:
        """Wait until something is due; return whether to go on."""
        with self._turn:
            self._wakes_ns = until_ns
            while not self._nudged and not self._stopping and (left_ns := until_ns - self._clock_ns()) > 0:
                self._pulse.waiting(left_ns / NS_PER_S)
                self._turn.wait(left_ns / NS_PER_S)
            self._nudged = False
            self._wakes_ns = AWAKE
            self._pulse.progress()
            return not self._stopping

    def turn(self) -> int:
        """Do what is due; return when something is due next. Called by the thread, or instead of it."""
        self._pulse.waiting(DISK_S)
        if self._keeper.read_on():
            self._wake()
        now_ns = self._clock_ns()
        if self._credit_ns is not None and self._credit_ns <= now_ns:
            self._credit_ns = None
            self._wake()
        may_write = now_ns >= self._keeper.retry_ns
        if may_write:
            self._tidy(now_ns)
        dues = [now_ns + round(LOOK_S * NS_PER_S), self._credit_ns, self._delete_ns, self._flush_ns()]
        if self._backlog.numbers().unsaved or not may_write:
            dues.append(self._keeper.retry_ns)
        earliest = min(due for due in dues if due is not None)
        return earliest if may_write else max(earliest, min(self._credit_ns or AWAKE, self._keeper.retry_ns))

    def _tidy(self, now_ns: int) -> None:
        """Write, delete, sync and drop what it is time for."""
        if self._store.log_is_long or self._keeper.trouble:
            self._keeper.checkpoint()  # on a full disk the log, begun anew, may be all the room there is
        if self._backlog.numbers().unsaved:
            self._keeper.write()
        if self._delete_ns is not None and self._delete_ns <= now_ns:
            self._delete_ns = None
            self._keeper.delete()
        if (due_ns := self._flush_ns()) is not None and due_ns <= now_ns:
            self._keeper.flush()
        if self._look_ns <= now_ns:
            self._look_ns = now_ns + round(LOOK_S * NS_PER_S)
            self._keeper.purge(self._limits.max_age_s)
        if self._note_ns <= now_ns and not self._backlog.idle():
            self._note_ns = now_ns + round(NOTE_S * NS_PER_S)
            self._keeper.note()

    def _flush_ns(self) -> int | None:
        pending = self._backlog.unflushed()
        return None if pending is None else pending[1] + self._limits.flush_ms * NS_PER_MS

    def _end(self) -> None:
        """Leave the file so that nothing is lost or sent again."""
        self._pulse.waiting(DISK_S)
        self._keeper.write()
        self._keeper.delete()
        self._keeper.note()
        self._keeper.flush()
