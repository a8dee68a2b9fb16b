"""The SQLite files of the agent's durable facts: opening, migrating, and never being fatal.

:data:`SAFE`, for what must be on the disk when :meth:`Database.transaction` returns: ``synchronous=FULL`` with a
persistent rollback journal (its end is a synced overwrite, no folder entry is involved), readers need no second file,
and an update needs no new blocks: a full disk rarely stops one. :data:`QUICK`, for what must survive a kill at once and
a power cut a little later: a write-ahead log that is written without a flush; :meth:`Database.flush` makes it durable.

Any thread may use it, one lock; transactions are short and few. A damaged file, or one of a newer schema, is set aside
and an empty one takes its place, loudly; where no file can be opened at all, one in memory does, and ``problem`` says
so. SQLite's errors become :class:`StorageError` with the remedy.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from agent.atomic import sync_folder
from agent.errors import StorageError

log = structlog.get_logger(part="storage")

MAX_PAGES = 16384
"""Bound on the file: 64 MiB of 4 KiB pages."""

SAFE = ("PRAGMA journal_mode=PERSIST", "PRAGMA synchronous=FULL")
QUICK = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL")
"""How a database is written; see the module."""

_REMEDIES = (
    ("full", "free disk space"),
    ("readonly", "make the file system writable or repair the disk"),
    ("malformed", "restart the agent: the file is then set aside and rebuilt"),
    ("not a database", "restart the agent: the file is then set aside and rebuilt"),
    ("I/O error", "make the file system writable or repair the disk"),
    ("locked", "stop the other process that holds the file"),
)


class _Unusable(Exception):
    """The file opens, and is not what it should be; ``suffix`` is what it is renamed to."""

    def __init__(self, reason: str, suffix: str) -> None:
        super().__init__(reason)
        self.suffix = suffix


def _in_words(path: Path, error: sqlite3.Error) -> StorageError:
    """Name the file, what SQLite said, and what to do."""
    said = str(error)
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in said), "check the disk")
    return StorageError(f"{path}: {said}; {remedy}")


class Database:
    """An open database. ``migrations[n]`` brings schema ``n`` to ``n + 1``, a statement each.

    ``fresh``: it held nothing when it was opened. ``problem``: why it is not what it should be, in words, or None.
    ``trouble``: why the latest transaction could not be written; None after one that could.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Sequence[str]],
        *,
        max_pages: int = MAX_PAGES,
        manner: Sequence[str] = SAFE,
    ) -> None:
        self.path = path
        self.problem: str | None = None
        self.trouble: str | None = None
        self.fresh = False
        self._migrations = migrations
        self._max_pages = max_pages
        self._manner = manner
        self._lock = threading.RLock()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        """Open the file, or what takes its place."""
        try:
            return self._connect(str(self.path))
        except _Unusable as unusable:
            self.problem = self._set_aside(unusable)
        except sqlite3.Error as error:
            self.problem = f"{_in_words(self.path, error).message}; until then nothing is remembered over a restart"
            log.critical("database.in_memory", problem=self.problem)
            return self._connect(":memory:")
        try:
            return self._connect(str(self.path))
        except (sqlite3.Error, _Unusable) as error:
            self.problem = f"{self.problem}; and no new one can be made: {error}; repair the disk"
            log.critical("database.in_memory", problem=self.problem)
            return self._connect(":memory:")

    def _connect(self, name: str) -> sqlite3.Connection:
        """Open, check and migrate. Raises sqlite3.Error for the surroundings, :class:`_Unusable` for the content."""
        if name != ":memory:":
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(name, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        try:
            for pragma in self._manner:
                connection.execute(pragma)
            connection.execute(f"PRAGMA max_page_count={int(self._max_pages)}")
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise _Unusable(str(error), "broken") from error
        if verdict != "ok":
            raise _Unusable(f"damaged: {verdict}", "broken")
        if version > len(self._migrations):
            raise _Unusable(f"schema {version} is newer than this agent's {len(self._migrations)}", f"v{version}")
        self.fresh = version == 0
        for number in range(version, len(self._migrations)):
            self._migrate(connection, number)

    def _migrate(self, connection: sqlite3.Connection, number: int) -> None:
        """Apply one migration, whole or not at all."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in self._migrations[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number + 1}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _set_aside(self, unusable: _Unusable) -> str:
        """Rename the file (over an older one of that name: disk is bounded) and say so."""
        aside = self.path.with_name(f"{self.path.name}.{unusable.suffix}")
        problem = f"{self.path}: {unusable}; it was set aside as {aside.name} and an empty one took its place"
        try:
            self.path.replace(aside)
            for left in ("journal", "wal", "shm"):
                self.path.with_name(f"{self.path.name}-{left}").unlink(missing_ok=True)
            sync_folder(self.path.parent)
        except (OSError, StorageError) as error:
            problem = f"{self.path}: {unusable}; it cannot be set aside: {error}"
        log.critical("database.set_aside", problem=problem)
        return problem

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block in one transaction, durable on leaving. Raises :class:`StorageError`; then nothing changed."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
                self.trouble = None
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    told = _in_words(self.path, error)
                    self.trouble = told.message
                    raise told from error
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run the block under the lock, for reading. Raises :class:`StorageError`."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise _in_words(self.path, error) from error

    def flush(self) -> None:
        """Make durable what :data:`QUICK` has written so far. Not under the lock: others write meanwhile.

        Raises :class:`StorageError`.
        """
        log_file = self.path.with_name(f"{self.path.name}-wal")
        try:
            fd = os.open(log_file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # nothing was written, or it is in memory
            return
        except OSError as error:
            raise StorageError(f"{log_file}: cannot be flushed: {error.strerror}; check the disk") from error
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise StorageError(f"{log_file}: cannot be flushed: {error.strerror}; check the disk") from error
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._connection.close()
