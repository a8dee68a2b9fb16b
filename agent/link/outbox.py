"""The queue between the publisher and the broker: a Protocol, and the one in memory.

:mod:`agent.link.durable` has the one of an agent, which keeps on the disk what is durable, and the rest in this one.

What is asked of an outbox: order within a stream; among the streams' oldest letters the highest priority first, then
the oldest; a newer letter of one ``replaces`` key takes the place of one that waits, unless that is ``final`` and says
something else; letters of QoS 1 that were handed
out are kept until :meth:`~Outbox.done`, and wait again, in their old order, after :meth:`~Outbox.rewind`; expired
letters are dropped. It is bounded by number and by bytes. When full, the oldest letter of the lowest priority that is
not durable is dropped; a durable one only where nothing else is left, and counted apart. What was handed out is never
dropped. Any thread may call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from agent.link.wire import Letter


class OutboxStatistics(msgspec.Struct, frozen=True):
    """``waiting``, ``unacknowledged``, ``bytes`` (in memory), ``unsaved``, ``problem``: now; the rest: since the start.

    ``unsaved``: durable letters that are not on the disk, because it is full or broken. ``dropped_durable``: there was
    no room; ``aged``: they were older than is wanted. ``flushes``: how often the disk was synced. ``problem``: what is
    wrong with it, in words.
    """

    waiting: int
    unacknowledged: int
    bytes: int
    replaced: int
    expired: int
    dropped: int
    dropped_durable: int
    unsaved: int = 0
    aged: int = 0
    flushes: int = 0
    problem: str | None = None


class Outbox(Protocol):
    """See the module. ``last_id`` is the highest that a letter had which waits from before."""

    @property
    def last_id(self) -> int: ...  # noqa: D102 - see above

    def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` (any thread) when :meth:`next` has something to hand out that it did not have before."""

    def put(self, letter: Letter, now_ns: int) -> None:
        """Queue a letter, whose ``id`` is higher than any before; never waits for a disk unless it is durable."""

    def put_all(self, letters: Iterable[Letter], now_ns: int) -> None:
        """Queue letters in their order, at once."""

    def connected(self, now_ns: int) -> None:
        """Take note that a connection begins."""

    def next(self, now_ns: int, *, window_open: bool) -> Letter | None:
        """Hand out the next letter, with the window shut only one of QoS 0; QoS 0 is forgotten thereby."""

    def done(self, letter_id: int) -> None:
        """Forget a letter of QoS 1 that was handed out; an unknown id is ignored."""

    def rewind(self) -> None:
        """Let all that was handed out and is not done wait again."""

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is handed out."""

    def statistics(self) -> OutboxStatistics:
        """Return the counters."""


def is_kept(letter: Letter) -> bool:
    """Return whether a letter belongs on the disk: a state does not, for whoever told it tells it again."""
    return letter.durable and letter.qos == 1 and not letter.retain and letter.replaces is None


class MemoryOutbox:
    """An outbox that does not survive the process."""

    def __init__(self, *, max_letters: int = 2000, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_letters = max_letters
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._streams: dict[str, OrderedDict[int, Letter]] = {}
        self._ranks: dict[tuple[bool, int], OrderedDict[int, Letter]] = {}  # (durable, priority), worst first
        self._ageing: OrderedDict[int, Letter] = OrderedDict()  # QoS 0: all grow as old, so the oldest expire first
        self._keys: dict[str, Letter] = {}  # the newest of each that waits
        self._out: OrderedDict[int, Letter] = OrderedDict()
        self._waiting = 0
        self._bytes = 0
        self._replaced = 0
        self._expired = 0
        self._dropped = 0
        self._dropped_durable = 0

    @property
    def last_id(self) -> int:
        """Nothing waits from before."""
        return 0

    def listen(self, wake: Callable[[], None]) -> None:
        """Do nothing: there is never something new without a :meth:`put`."""

    def connected(self, now_ns: int) -> None:
        """Do nothing: no letter of this queue is slowed down after an outage."""

    def put_all(self, letters: Iterable[Letter], now_ns: int) -> None:
        """Queue letters."""
        for letter in letters:
            self.put(letter, now_ns)

    def put(self, letter: Letter, now_ns: int) -> None:
        """Queue a letter; see the module for what happens when there is no room."""
        with self._lock:
            self._purge(now_ns)
            older = self._keys.get(letter.replaces) if letter.replaces is not None else None
            if older is not None and (not older.final or older.payload == letter.payload):
                self._replaced += 1
                self._supersede(older, letter)
            else:
                self._add(letter)
            while self._waiting and (
                self._waiting + len(self._out) > self._max_letters or self._bytes > self._max_bytes
            ):
                self._drop_worst()

    def first_of(self, stream: str) -> int | None:
        """Return the id of a stream's oldest letter that waits."""
        with self._lock:
            return next(iter(self._streams.get(stream, ())), None)

    def next(
        self,
        now_ns: int,
        *,
        window_open: bool,
        rival: Letter | None = None,
        elsewhere: Mapping[str, int] | None = None,
    ) -> Letter | None:
        """Hand out the next letter, unless ``rival`` goes before it, which waits in another queue.

        ``elsewhere``: the oldest of a stream in that queue, which goes first where it is older.
        """
        first = elsewhere or {}
        with self._lock:
            best: Letter | None = None
            for name in list(self._streams):
                letter = self._head(name, now_ns)
                if letter is None or (letter.qos == 1 and not window_open) or first.get(name, letter.id) < letter.id:
                    continue
                if rival is not None and (rival.priority, -rival.id) > (letter.priority, -letter.id):
                    continue
                if best is None or (letter.priority, -letter.id) > (best.priority, -best.id):
                    best = letter
            if best is not None:
                self._remove(best)
                if best.qos == 1:
                    self._out[best.id] = best
                    self._bytes += best.size
            return best

    def done(self, letter_id: int) -> None:
        """Forget a letter that was handed out."""
        with self._lock:
            letter = self._out.pop(letter_id, None)
            if letter is not None:
                self._bytes -= letter.size

    def rewind(self) -> None:
        """Let what was handed out wait again, but not what a newer letter has replaced meanwhile (unless final)."""
        with self._lock:
            while self._out:
                _, letter = self._out.popitem(last=True)
                self._bytes -= letter.size
                if letter.replaces is not None and letter.replaces in self._keys and not letter.final:
                    self._replaced += 1
                else:
                    self._add(letter, first=True)

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is handed out."""
        with self._lock:
            return not self._waiting and not self._out

    def statistics(self) -> OutboxStatistics:
        """Return the counters."""
        with self._lock:
            return OutboxStatistics(
                self._waiting,
                len(self._out),
                self._bytes,
                self._replaced,
                self._expired,
                self._dropped,
                self._dropped_durable,
            )

    # --- under the lock ----------------------------------------------------------------------------------------------

    def _indexes(self, letter: Letter) -> tuple[OrderedDict[int, Letter], ...]:
        """Return the orders that hold this letter while it waits."""
        stream = self._streams.setdefault(letter.stream, OrderedDict())
        rank = self._ranks.setdefault((letter.durable, letter.priority), OrderedDict())
        return (stream, rank, self._ageing) if letter.qos == 0 else (stream, rank)

    def _add(self, letter: Letter, *, first: bool = False) -> None:
        for index in self._indexes(letter):
            index[letter.id] = letter
            if first:
                index.move_to_end(letter.id, last=False)
        if letter.replaces is not None and not (first and letter.replaces in self._keys):
            self._keys[letter.replaces] = letter
        self._waiting += 1
        self._bytes += letter.size

    def _remove(self, letter: Letter) -> None:
        for index in self._indexes(letter):
            del index[letter.id]
        if not self._streams[letter.stream]:
            del self._streams[letter.stream]
        if not self._ranks[letter.durable, letter.priority]:
            del self._ranks[letter.durable, letter.priority]
        if letter.replaces is not None and self._keys.get(letter.replaces) is letter:
            del self._keys[letter.replaces]
        self._waiting -= 1
        self._bytes -= letter.size

    def _supersede(self, older: Letter, newer: Letter) -> None:
        """Put ``newer`` where ``older`` waited, if it is of the same kind, else at the end."""
        same = (older.stream, older.qos, older.durable, older.priority) == (
            newer.stream,
            newer.qos,
            newer.durable,
            newer.priority,
        )
        if not same:
            self._remove(older)
            self._add(newer)
            return
        heir = msgspec.structs.replace(newer, id=older.id)
        for index in self._indexes(older):
            index[older.id] = heir  # keeps its place in the order
        self._keys[str(newer.replaces)] = heir
        self._bytes += heir.size - older.size

    def _head(self, stream: str, now_ns: int) -> Letter | None:
        """Return a stream's oldest letter that is still worth sending."""
        while (waiting := self._streams.get(stream)) is not None:
            letter = next(iter(waiting.values()))
            if letter.expires_at_ns is None or letter.expires_at_ns > now_ns:
                return letter
            self._remove(letter)
            self._expired += 1
        return None

    def _purge(self, now_ns: int) -> None:
        """Drop what grew too old while nobody took it."""
        while self._ageing:
            letter = next(iter(self._ageing.values()))
            if letter.expires_at_ns is None or letter.expires_at_ns > now_ns:
                return
            self._remove(letter)
            self._expired += 1

    def _drop_worst(self) -> None:
        durable, priority = min(self._ranks)
        self._remove(next(iter(self._ranks[durable, priority].values())))
        if durable:
            self._dropped_durable += 1
        else:
            self._dropped += 1
