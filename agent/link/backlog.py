"""What waits of the durable letters, stream by stream: which are in memory, which on the disk only, which are out.

Of each stream the oldest letters are at hand (``ready``), within bounds; those ``behind`` lie on the disk only and are
read as the first ones leave. What could not be written waits in memory too (``unsaved``), after those behind. No I/O,
no clock. Any thread may call; one short lock, so that the session's thread never waits for the disk.

A letter that waited through an outage needs a credit of :class:`~agent.link.drain.Drain` to leave; one that was put
while there was a connection, with nothing of its stream before it that waited, does not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence

from agent.link.drain import Drain
from agent.link.letters import Oldest, StoredStream, row_id
from agent.link.stream import ALL_READY_BYTES, Numbers, Stream, Unsaved
from agent.link.wire import Letter


class Backlog:
    """See the module."""

    def __init__(self, drain: Drain, streams: Iterable[StoredStream] = ()) -> None:
        self._lock = threading.Lock()
        self._drain = drain
        self._streams = {
            one.stream: Stream(one.number, one.stream, one.count, 0, one.newest, one.newest) for one in streams
        }
        self._numbers = max((stream.number for stream in self._streams.values()), default=0)
        self._out: OrderedDict[int, Letter] = OrderedDict()
        self._unsaved = Unsaved()
        self._unflushed: OrderedDict[int, int] = OrderedDict()
        self._acknowledged: list[int] = []
        self._connected = False
        self._bytes = 0
        self.expired = self.dropped = self.aged = 0

    # --- the session's side ------------------------------------------------------------------------------------------

    def connected(self, now_ns: int) -> None:
        """Take note that a connection begins: what waits now has waited through an outage."""
        with self._lock:
            self._connected = True
            self._drain.begin(now_ns)
            for stream in self._streams.values():
                stream.old_to = stream.newest

    def best(self, now_ns: int, elsewhere: Mapping[str, int]) -> tuple[Letter | None, int | None]:
        """Return whose turn it is, and, where some must wait for a credit, when to look again.

        ``elsewhere``: the oldest letter of a stream in another queue, which goes first where it is older.
        """
        with self._lock:
            found: Letter | None = None
            held = False
            for stream in self._streams.values():
                letter = self._head(stream, now_ns)
                if letter is None:
                    continue
                if letter.id <= stream.old_to and not self._drain.open(now_ns):
                    held = True
                    continue
                if elsewhere.get(stream.name, letter.id) < letter.id:
                    continue
                if found is None or (letter.priority, -letter.id) > (found.priority, -found.id):
                    found = letter
            return found, self._drain.due_ns(now_ns) if held else None

    def firsts(self) -> dict[str, int]:
        """Return the least id that the next letter may have, of each stream in which some wait."""
        with self._lock:
            return {stream.name: first for stream in self._streams.values() if (first := stream.first) is not None}

    def take(self, letter: Letter) -> bool:
        """Hand out what :meth:`best` found; return False where it was dropped meanwhile."""
        with self._lock:
            stream = self._streams[letter.stream]
            if stream.ready.pop(letter.id, None) is None:
                return False
            if letter.id <= stream.old_to:
                self._drain.spend()
            stream.bytes -= letter.size
            self._out[letter.id] = letter
            self._settle(stream)
            return True

    def done(self, letter_id: int) -> bool:
        """Forget a letter that was handed out; return whether it was one of these."""
        with self._lock:
            letter = self._out.pop(letter_id, None)
            if letter is None:
                return False
            self._bytes -= letter.size
            self._forget(letter)
            return True

    def rewind(self) -> None:
        """Let all that is out wait again."""
        with self._lock:
            self._connected = False
            while self._out:
                letter_id, letter = self._out.popitem(last=True)
                stream = self._streams[letter.stream]
                stream.ready[letter_id] = letter
                stream.ready.move_to_end(letter_id, last=False)
                stream.bytes += letter.size

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is out."""
        with self._lock:
            return not self._out and not any(stream.waiting for stream in self._streams.values())

    # --- the disk's side ---------------------------------------------------------------------------------------------

    def number_of(self, name: str) -> int:
        """Return a stream's number; a new one gets one."""
        with self._lock:
            return self._stream(name).number

    def saved(self, letters: Iterable[Letter], now_ns: int, unsaved: Container[int] = ()) -> None:
        """Take note of letters that are on the disk now; ``unsaved``: the ids of those that were not until now."""
        with self._lock:
            for letter in letters:
                stream = self._streams[letter.stream]
                if letter.id in unsaved and not self._unsaved.remove(letter.id):  # done with while it was written
                    self._forget(letter)
                    continue
                self._unflushed[letter.id] = now_ns
                if letter.id not in unsaved:
                    self._arrive(stream, letter, saved=True)
                elif stream.tail.pop(letter.id, None) is not None:
                    self._bytes -= letter.size
                    stream.behind += 1

    def not_saved(self, letters: Iterable[Letter]) -> None:
        """Take letters that cannot be written now; where there are too many, the least important are dropped."""
        with self._lock:
            for letter in letters:
                self._unsaved.add(letter)
                self._arrive(self._stream(letter.stream), letter, saved=False)
            while (worst := self._unsaved.too_much(self._out)) is not None:
                self._drop_unsaved(worst)

    def unsaved(self) -> tuple[Letter, ...]:
        """Return what is not on the disk, oldest first."""
        with self._lock:
            return self._unsaved.in_order()

    def hungry(self, name: str) -> bool:
        """Return whether more of a stream should be read."""
        with self._lock:
            stream = self._streams.get(name)
            return stream is not None and self._wants(stream)

    def wanting(self) -> tuple[tuple[int, str, int], ...]:
        """Return the number, name and last id read of each stream of which more should be read."""
        with self._lock:
            return tuple(
                (stream.number, stream.name, stream.read_to) for stream in self._streams.values() if self._wants(stream)
            )

    def read(self, name: str, letters: Sequence[Letter]) -> None:
        """Take letters that were read from the disk, the next of their stream; none: there are no more."""
        with self._lock:
            stream = self._streams[name]
            for letter in letters:
                stream.ready[letter.id] = letter
                stream.read_to = letter.id
                stream.behind -= 1
                stream.bytes += letter.size
                self._bytes += letter.size
            if not letters:
                stream.behind = 0
            self._settle(stream)

    def droppable(self) -> tuple[tuple[int, int], ...]:
        """Return each stream's number and the id after which nothing was handed out."""
        with self._lock:
            out: dict[str, int] = {}
            for letter in self._out.values():
                out[letter.stream] = max(letter.id, out.get(letter.stream, 0))
            return tuple(
                (stream.number, out.get(stream.name, 0)) for stream in self._streams.values() if stream.waiting
            )

    def dropped_from_disk(self, dropped: Iterable[Oldest], *, aged: bool = False) -> int:
        """Take note of what was dropped from the disk; what was handed out meanwhile counts as unsaved."""
        with self._lock:
            streams = {stream.number: stream for stream in self._streams.values()}
            count = 0
            for one in dropped:
                stream = streams[one.number]
                self._unflushed.pop(one.id, None)
                if (letter := stream.ready.pop(one.id, None)) is not None:
                    stream.bytes -= letter.size
                    self._bytes -= letter.size
                elif one.id > stream.read_to and stream.behind:
                    stream.behind -= 1
                elif one.id in self._out:
                    self._unsaved.add(self._out[one.id])
                    continue
                else:
                    continue
                count += 1
                self._settle(stream)
            self.aged += count if aged else 0
            self.dropped += 0 if aged else count
            return count

    def acknowledged(self) -> tuple[int, ...]:
        """Return the rows that may be deleted; :meth:`deleted` forgets them."""
        with self._lock:
            return tuple(self._acknowledged)

    def deleted(self, count: int) -> None:
        """Forget the first ``count`` of :meth:`acknowledged`: they are gone from the disk."""
        with self._lock:
            del self._acknowledged[:count]

    def unflushed(self) -> tuple[int, int] | None:
        """Return the last id that is not safe from a power cut, and since when the oldest such waits."""
        with self._lock:
            if not self._unflushed:
                return None
            return max(self._unflushed), next(iter(self._unflushed.values()))

    def flushed(self, up_to: int) -> None:
        """Take note that all up to this id is safe."""
        with self._lock:
            for letter_id in [one for one in self._unflushed if one <= up_to]:
                del self._unflushed[letter_id]

    def numbers(self) -> Numbers:
        """Return how many there are."""
        with self._lock:
            waiting = sum(stream.waiting for stream in self._streams.values())
            return Numbers(waiting, len(self._out), len(self._unsaved), self._bytes)

    # --- under the lock ----------------------------------------------------------------------------------------------

    def _stream(self, name: str) -> Stream:
        """Return a stream; a new one begins here, whether its first letter can be written or not."""
        stream = self._streams.get(name)
        if stream is None:
            self._numbers += 1
            stream = self._streams[name] = Stream(self._numbers, name)
        return stream

    def _arrive(self, stream: Stream, letter: Letter, *, saved: bool) -> None:
        """Queue a new letter at the end of its stream."""
        if self._connected and stream.first is not None and stream.first <= stream.old_to:
            stream.old_to = letter.id
            self._drain.earn()
        stream.newest = letter.id
        if not stream.behind and not stream.tail and (not saved or self._has_room(stream)):
            stream.ready[letter.id] = letter
            stream.read_to = letter.id
            stream.bytes += letter.size
        elif saved and not stream.tail:
            stream.behind += 1
            return
        else:
            stream.tail[letter.id] = letter
        self._bytes += letter.size

    def _has_room(self, stream: Stream) -> bool:
        return not stream.ready or (not stream.full and self._bytes < ALL_READY_BYTES)

    def _wants(self, stream: Stream) -> bool:
        return stream.low and (not stream.ready or self._bytes < ALL_READY_BYTES)

    def _settle(self, stream: Stream) -> None:
        """Let unsaved letters follow once nothing is behind any more."""
        if not stream.behind and stream.tail:
            stream.ready.update(stream.tail)
            stream.read_to = next(reversed(stream.tail))
            stream.bytes += sum(letter.size for letter in stream.tail.values())
            stream.tail.clear()

    def _head(self, stream: Stream, now_ns: int) -> Letter | None:
        """Return a stream's first letter that is still worth sending."""
        while stream.ready:
            letter = next(iter(stream.ready.values()))
            if letter.expires_at_ns is None or letter.expires_at_ns > now_ns:
                return letter
            self._drop_ready(stream, letter)
            self._forget(letter)
            self.expired += 1
        return None

    def _drop_ready(self, stream: Stream, letter: Letter) -> None:
        del stream.ready[letter.id]
        stream.bytes -= letter.size
        self._bytes -= letter.size
        self._settle(stream)

    def _drop_unsaved(self, letter: Letter) -> None:
        stream = self._streams[letter.stream]
        self._unsaved.remove(letter.id)
        if stream.tail.pop(letter.id, None) is None:
            self._drop_ready(stream, letter)
        else:
            self._bytes -= letter.size
        self.dropped += 1

    def _forget(self, letter: Letter) -> None:
        """Let a letter's row be deleted, if it has one."""
        self._unflushed.pop(letter.id, None)
        if not self._unsaved.remove(letter.id):
            self._acknowledged.append(row_id(self._streams[letter.stream].number, letter.id))
