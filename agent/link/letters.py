"""Letters on the disk: one SQLite file, read and written in order, bounded. No thread of its own, no queue in memory.

A row's id is the stream's number and the letter's own id, one behind the other, so that each stream lies in one run of
the table: reading on, dropping the oldest and counting need no index, which would double what is written. Streams are
numbered as they come; after a restart the numbers are read off the rows. Pages are small because a write-ahead log
takes whole pages, and an event is small.

Topics below the device's own root are kept without it: letters follow a device that was given another name or prefix.
Ages are those of a scale that only grows (:meth:`LetterStore.now_ms`): it goes on from what the file last knew, so a
wall clock that jumps makes nothing old; time while the agent did not run counts only as far as it was noted.

Every method that reads or writes raises :class:`StorageError`. Any thread may call; the caller sees to it that one
stream is not changed by two at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from agent.atomic import sync_folder
from agent.clock import NS_PER_MS, monotonic_ns
from agent.database import QUICK, Database
from agent.errors import StorageError
from agent.link.stream import READ_BYTES
from agent.link.topics import Topics
from agent.link.wire import Letter
from agent.types import MB

PAGE = 1024
MANNER = ("PRAGMA locking_mode=EXCLUSIVE", f"PRAGMA page_size={PAGE}", *QUICK, "PRAGMA wal_autocheckpoint=0")
"""Exclusive: SQLite's index of the log is then in memory, and no mapped file, a write to which on a full disk may kill
the process (SIGBUS). No checkpoint within a commit, but in :meth:`LetterStore.checkpoint`: it syncs the disk."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE letters (
            id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, stream TEXT NOT NULL, priority INTEGER NOT NULL,
            own INTEGER NOT NULL, topic TEXT, payload BLOB NOT NULL, expires_ms INTEGER, correlation BLOB)""",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)
"""Append only: devices in the field hold every one of them. ``topic`` NULL: the same as ``stream``."""

ID_BITS = 40
LETTER = (1 << ID_BITS) - 1
"""Most letters that one file may ever number: at 1000 a second it lasts for 34 years."""

IN_MEMORY_BYTES = 4 * MB
"""Bound where no file can be opened and SQLite works in memory."""

_LEAST_LOG, _MOST_LOG = 128 * 1024, 4 * 1024 * 1024
_ROW_BYTES = 96
"""What a row takes beside topic, payload and correlation."""


class StoredStream(msgspec.Struct, frozen=True):
    """A stream that has letters on the disk; ``newest`` is the id of its last."""

    number: int
    stream: str
    count: int
    newest: int


class Oldest(msgspec.Struct, frozen=True):
    """One of a stream's oldest letters; ``bytes``: what its row takes."""

    number: int
    id: int
    priority: int
    bytes: int


def row_id(number: int, letter_id: int) -> int:
    """Return the id of the row that holds this letter of the stream ``number``."""
    return number << ID_BITS | letter_id


class LetterStore:
    """See the module."""

    def __init__(
        self, path: Path, topics: Topics, max_bytes: int, *, clock_ns: Callable[[], int] = monotonic_ns
    ) -> None:
        self._root = topics.root
        self.database = Database(path, MIGRATIONS, max_pages=2**30, manner=MANNER)  # bounded by short_bytes()
        with self.database.reading() as db:
            self.in_memory = not db.execute("PRAGMA database_list").fetchone()[2]
        self._log_bytes = 0
        self._synced = False
        self._clock_ns = clock_ns
        self.bound(max_bytes)
        self.streams = self._streams()
        """What was there when it was opened."""
        self._begun_ns = clock_ns()
        self._begun_ms = self._noted_ms()

    def bound(self, max_bytes: int) -> None:
        """Let the file and its write-ahead log take ``max_bytes`` together from now on."""
        self.max_mb = max_bytes / MB
        if self.in_memory:
            max_bytes = min(max_bytes, IN_MEMORY_BYTES)
        self._log_share = min(_MOST_LOG, max(_LEAST_LOG, max_bytes // 16))
        self._most_pages = max(64, (max_bytes - 2 * self._log_share) // PAGE)
        with self.database.reading() as db:
            db.execute(f"PRAGMA journal_size_limit={2 * self._log_share}")

    # --- what is there -----------------------------------------------------------------------------------------------

    def _streams(self) -> tuple[StoredStream, ...]:
        found: list[StoredStream] = []
        begin = 0
        with self.database.reading() as db:
            while (row := db.execute(_FIRST_FROM, (begin,)).fetchone()) is not None:
                number = row[0] >> ID_BITS
                begin = row_id(number + 1, 0)
                count, newest = db.execute(_COUNT, (row_id(number, 0), begin)).fetchone()
                found.append(StoredStream(number, row[1], count, newest & LETTER))
        return tuple(found)

    def _noted_ms(self) -> int:
        with self.database.reading() as db:
            noted = db.execute("SELECT value FROM meta WHERE key = 'age_ms'").fetchone()
            last = [row_id(one.number, one.newest) for one in self.streams]
            newest = [db.execute("SELECT at_ms FROM letters WHERE id = ?", (row,)).fetchone()[0] for row in last]
        return max(map(int, (noted[0] if noted else 0, *newest)))

    def now_ms(self) -> int:
        """Return the present on the scale that ages are given in."""
        return self._begun_ms + (self._clock_ns() - self._begun_ns) // NS_PER_MS

    def note_now(self) -> None:
        """Let the scale go on from here after a restart."""
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('age_ms', ?)", (str(self.now_ms()),))
        self._log_bytes += 4 * PAGE

    def read(self, number: int, after: int, count: int) -> list[Letter]:
        """Return a stream's next letters after the id ``after``, at most ``count`` and :data:`READ_BYTES`."""
        now_ns, now_ms = self._clock_ns(), self.now_ms()
        letters: list[Letter] = []
        left = READ_BYTES
        with self.database.reading() as db:
            for row in db.execute(_READ, (row_id(number, after), row_id(number + 1, 0), count)):
                letters.append(self._letter(row, now_ns, now_ms))
                left -= letters[-1].size
                if left <= 0:
                    break
        return letters

    def _letter(
        self, row: tuple[int, str, int, int, str | None, bytes, int | None, bytes | None], now_ns: int, now_ms: int
    ) -> Letter:
        number, stream, priority, own, topic, payload, expires_ms, correlation = row
        name = stream if topic is None else topic
        return Letter(
            id=number & LETTER,
            topic=self._root + name if own else name,
            payload=payload,
            qos=1,
            retain=False,
            stream=stream,
            priority=priority,
            durable=True,
            expires_at_ns=None if expires_ms is None else now_ns + (expires_ms - now_ms) * NS_PER_MS,
            replaces=None,
            correlation=correlation,
        )

    def oldest(self, number: int, after: int, count: int, *, before_ms: int | None = None) -> list[Oldest]:
        """Return a stream's oldest letters after the id ``after``; only those put ``before_ms`` if it is given."""
        most = 2**63 - 1 if before_ms is None else before_ms
        with self.database.reading() as db:
            rows = db.execute(_OLDEST, (row_id(number, after), row_id(number + 1, 0), count)).fetchall()
        return [
            Oldest(number, row & LETTER, priority, size + _ROW_BYTES)
            for row, priority, at_ms, size in rows
            if at_ms < most
        ]

    def short_bytes(self, letters: Iterable[Letter]) -> int:
        """Return how much must be dropped before these fit; 0 or less: they do."""
        with self.database.reading() as db:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            (free,) = db.execute("PRAGMA freelist_count").fetchone()
        needed = sum(_pages(letter) for letter in letters) + 2
        return int(pages - free + needed - self._most_pages) * PAGE

    @property
    def max_bytes(self) -> int:
        """What letters may take."""
        return int(self._most_pages) * PAGE

    # --- changing it -------------------------------------------------------------------------------------------------

    def insert(self, letters: Sequence[tuple[int, Letter]], drop: Sequence[Oldest] = ()) -> None:
        """Write letters, each with its stream's number, and drop others, all or nothing."""
        if self._log_bytes > 2 * self._log_share and not self.checkpoint():
            raise StorageError(f"{self.database.path}: its write-ahead log cannot be cut short; restart the agent")
        now_ns, now_ms = self._clock_ns(), self.now_ms()
        rows = [self._row(number, letter, now_ns, now_ms) for number, letter in letters]
        with self.database.transaction() as db:
            self._delete(db, [row_id(one.number, one.id) for one in drop])
            db.executemany(_INSERT, rows)
        self._log_bytes += PAGE * (sum(_pages(letter) for _, letter in letters) + len(drop) + 4)

    def _row(self, number: int, letter: Letter, now_ns: int, now_ms: int) -> tuple[object, ...]:
        own = letter.topic.startswith(self._root)
        topic = letter.topic[len(self._root) :] if own else letter.topic
        expires = letter.expires_at_ns
        return (
            row_id(number, letter.id),
            now_ms,
            letter.stream,
            letter.priority,
            own,
            None if topic == letter.stream else topic,
            letter.payload,
            None if expires is None else now_ms + (expires - now_ns) // NS_PER_MS,
            letter.correlation,
        )

    def delete(self, rows: Sequence[int]) -> None:
        """Forget letters, by the ids of their rows; those that are not there are ignored."""
        with self.database.transaction() as db:
            self._delete(db, rows)
        self._log_bytes += PAGE * (len(rows) + 4)

    @staticmethod
    def _delete(db: sqlite3.Connection, rows: Iterable[int]) -> None:
        db.executemany("DELETE FROM letters WHERE id = ?", [(row,) for row in rows])

    # --- the disk ----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make durable what was written so far. May take as long as the disk does; others write meanwhile."""
        if self.in_memory:
            return
        self.database.flush()
        if not self._synced:
            sync_folder(self.database.path.parent)
            self._synced = True

    @property
    def log_is_long(self) -> bool:
        """Whether it is time for :meth:`checkpoint`."""
        return self._log_bytes > self._log_share

    def checkpoint(self) -> bool:
        """Bring what the write-ahead log holds into the file, so that it begins anew; return whether it does.

        It syncs the disk, and whoever wants to write waits meanwhile: the publisher's thread, never the session's.
        """
        with self.database.reading() as db:
            if self._log_bytes:
                busy, logged, brought = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if busy or brought < logged:
                    return False
            self._log_bytes = 0
        return True

    def close(self) -> None:
        """Close the file; idempotent."""
        self.database.close()


def _pages(letter: Letter) -> int:
    return 2 + (letter.size + _ROW_BYTES) // PAGE


_FIRST_FROM = "SELECT id, stream FROM letters WHERE id >= ? ORDER BY id LIMIT 1"
_COUNT = "SELECT count(*), max(id) FROM letters WHERE id >= ? AND id < ?"
_READ = (
    "SELECT id, stream, priority, own, topic, payload, expires_ms, correlation FROM letters "
    "WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
)
_OLDEST = "SELECT id, priority, at_ms, length(payload) FROM letters WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
_INSERT = "INSERT INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
