"""What is done with the disk for the durable outbox: the file and the backlog are changed together, here only.

Every method may wait for the disk and none raises on its account: what went wrong is :attr:`Keeper.trouble`, the
letters stay in memory, and it is tried again after :data:`RETRY_S`. Called by the publisher's thread
(:meth:`Keeper.write`) and by ``lookout-outbox``; one lock, which is not held while the disk is synced.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Container, Iterator, Sequence

import structlog

from agent.clock import NS_PER_MS, NS_PER_S
from agent.errors import StorageError
from agent.link.backlog import Backlog
from agent.link.letters import LetterStore, Oldest, row_id
from agent.link.wire import Letter

log = structlog.get_logger(part="link")

RETRY_S = 5.0
"""Between two attempts with a disk that does not take anything."""

CHUNK = 128
"""Letters in one transaction."""

DROP = 64
"""Letters looked at at once where some must be dropped."""

SPARE = 64
"""Where there is no room, a 64th of it is made at once."""

READ = 128
"""Letters of a stream that are read at once."""

MOST_DELETED = 5000
"""Letters deleted in one transaction."""

TOLD_S = 3600.0
"""How long after letters were dropped :attr:`Keeper.problem` speaks of it."""


class Keeper:
    """See the module."""

    def __init__(self, store: LetterStore, backlog: Backlog, clock_ns: Callable[[], int]) -> None:
        self._store = store
        self._backlog = backlog
        self._clock_ns = clock_ns
        self._lock = threading.RLock()
        self._dropped_ns: int | None = None
        self._logged_ns: int | None = None
        self.retry_ns = 0
        """Before this time nothing is tried again."""
        self._troubles: dict[str, str] = {}
        self.flushes = 0

    @property
    def trouble(self) -> str | None:
        """What cannot be done now, in words."""
        return next(iter(self._troubles.values()), None)

    @property
    def problem(self) -> str | None:
        """What is wrong, in words: the file is not what it should be, cannot be written, or was full of late."""
        broken = self._store.database.problem or self.trouble
        if broken is not None:
            return broken
        told = self._dropped_ns
        if told is None or self._clock_ns() - told > TOLD_S * NS_PER_S:
            return None
        return (
            f"{self._backlog.dropped} events or results were dropped since the start, the last within the hour: "
            f"outbox.max_mb ({self._store.max_mb:g}) was not enough for the time without a broker"
        )

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(self, letters: Sequence[Letter] = ()) -> None:
        """Write letters, and before them those that could not be written until now."""
        with self._lock:
            unsaved = self._backlog.unsaved()
            if unsaved and self._clock_ns() < self.retry_ns:
                self._backlog.not_saved(letters)
                return
            known = {letter.id for letter in unsaved}
            left = [*unsaved, *letters]
            while left:
                chunk = left[:CHUNK]
                try:
                    self._write(chunk, known)
                except StorageError as error:
                    self._failed("written", error, "; until then events and results are kept in memory only")
                    self._backlog.not_saved([letter for letter in left if letter.id not in known])
                    return
                del left[:CHUNK]
            self._well("written")

    def _write(self, letters: Sequence[Letter], unsaved: Container[int]) -> None:
        numbered = [(self._backlog.number_of(letter.stream), letter) for letter in letters]
        drop = self._room_for(letters)
        self._store.insert(numbered, drop)
        self._dropped(drop)
        self._backlog.saved(letters, self._clock_ns(), unsaved)

    def _room_for(self, letters: Sequence[Letter]) -> list[Oldest]:
        """Return what must go so that these find room. Raises StorageError where that is not enough."""
        if self._store.short_bytes(letters) <= 0:
            return []
        self._delete()
        short = self._store.short_bytes(letters)
        if short <= 0:
            return []
        chosen: list[Oldest] = []
        freed = 0
        for one in self._oldest_first():
            chosen.append(one)
            freed += one.bytes
            if freed >= max(short, self._store.max_bytes // SPARE):
                break
        if freed < short:
            raise StorageError(f"outbox.max_mb ({self._store.max_mb:g}) has no room for {len(letters)} more: raise it")
        return chosen

    def _oldest_first(self) -> Iterator[Oldest]:
        """Go through all that may be dropped, the lowest priority first, of one priority the oldest first."""
        runs = [self._run(number, after) for number, after in self._backlog.droppable()]
        return heapq.merge(*runs, key=lambda one: (one.priority, one.id))

    def _run(self, number: int, after: int) -> Iterator[Oldest]:
        while found := self._store.oldest(number, after, DROP):
            yield from found
            after = found[-1].id

    def _dropped(self, drop: Sequence[Oldest]) -> None:
        if not drop or not self._backlog.dropped_from_disk(drop):
            return
        now_ns = self._dropped_ns = self._clock_ns()
        if self._logged_ns is None or now_ns - self._logged_ns > 60 * NS_PER_S:
            self._logged_ns = now_ns
            log.warning("outbox.full", dropped=self._backlog.dropped, max_mb=self._store.max_mb)

    # --- on the thread lookout-outbox ---------------------------------------------------------------------------------

    def read_on(self) -> bool:
        """Read the next letters of each stream of which few are at hand; return whether there were any."""
        found = False
        with self._lock:
            for number, stream, after in self._backlog.wanting():
                try:
                    letters = self._store.read(number, after, READ)
                except StorageError as error:
                    self._failed("read", error)
                    return found
                self._backlog.read(stream, letters)
                self._well("read")
                found = found or bool(letters)
        return found

    def delete(self) -> None:
        """Forget what was acknowledged."""
        with self._lock:
            try:
                self._delete()
                self._well("deleted")
            except StorageError as error:
                self._failed("deleted", error)

    def _delete(self) -> None:
        while rows := self._backlog.acknowledged()[:MOST_DELETED]:
            self._store.delete(rows)
            self._backlog.deleted(len(rows))

    def flush(self) -> None:
        """Make safe from a power cut what is written."""
        pending = self._backlog.unflushed()
        if pending is None:
            return
        try:
            self._store.flush()
        except StorageError as error:
            self._failed("synced", error)
            return
        self._well("synced")
        self.flushes += 1
        self._backlog.flushed(pending[0])

    def checkpoint(self) -> None:
        """Keep the write-ahead log short."""
        try:
            if not self._store.checkpoint():
                self.retry_ns = self._clock_ns() + round(RETRY_S * NS_PER_S)
            self._well("shortened")
        except StorageError as error:
            self._failed("shortened", error)

    def purge(self, max_age_s: float) -> None:
        """Drop what is too old, and what is too much since the bound was lowered."""
        with self._lock:
            try:
                self._purge(self._store.now_ms() - round(max_age_s * NS_PER_S) // NS_PER_MS)
                drop = self._room_for(())
                if drop:
                    self._store.delete([row_id(one.number, one.id) for one in drop])
                    self._dropped(drop)
                self._well("purged")
            except StorageError as error:
                self._failed("purged", error)

    def _purge(self, before_ms: int) -> None:
        for number, after in self._backlog.droppable():
            while found := self._store.oldest(number, after, DROP, before_ms=before_ms):
                self._store.delete([row_id(number, one.id) for one in found])
                count = self._backlog.dropped_from_disk(found, aged=True)
                log.warning("outbox.too_old", dropped=count)

    def note(self) -> None:
        """Note how late it is, for the age of what waits."""
        try:
            self._store.note_now()
            self._well("noted")
        except StorageError as error:
            self._failed("noted", error)

    def bound(self, max_bytes: int) -> None:
        """Take ``max_bytes`` of the disk from now on."""
        with self._lock:
            self._store.bound(max_bytes)

    def _failed(self, what: str, error: StorageError, consequence: str = "") -> None:
        self.retry_ns = self._clock_ns() + round(RETRY_S * NS_PER_S)
        if what not in self._troubles:
            log.error("outbox.trouble", what=what, problem=error.message)
        self._troubles[what] = error.message + consequence

    def _well(self, what: str) -> None:
        if self._troubles.pop(what, None) is not None:
            log.info("outbox.well_again", what=what)
