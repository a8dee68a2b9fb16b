"""Which commands were taken already: one with an id runs once, across restarts, and is answered again from memory.

Remembered for seven days, at most 10,000, with answers of 8 MB altogether: beyond that the oldest are forgotten. The
days are those that the agent ran, by the monotonic clock: a wall clock that jumps ahead must not make an order run
twice. Time between an agent's last command and its end is not counted, so an id is rather kept for longer.
:meth:`CommandMemory.remember` is durable before the command runs: after a kill in between, the id is *pending* and the
command is not run a second time. Any thread may call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from agent.clock import NS_PER_MS, monotonic_ns
from agent.database import Database
from agent.link.memory import Answered, Fresh, Pending

KEEP_MS = 7 * 24 * 3600 * 1000
KEEP = 10_000
KEEP_BYTES = 8 * 1024 * 1024
"""Of answers, altogether; 10,000 ordinary ones have a fifth of it."""


class CommandMemory:
    """The commands table of the journal's database. Every method raises :class:`agent.errors.StorageError`."""

    def __init__(self, database: Database, *, now_ns: Callable[[], int] = monotonic_ns) -> None:
        self._database = database
        self._now_ns = now_ns
        self._begun_ns = now_ns()
        self._begun_ms: int | None = None
        """Age of the newest command when this memory was opened, read with the first one."""
        self._bytes: int | None = None
        """Of answers, at most: what was forgotten with its age or its number is still counted. None: not looked yet."""

    def remember(self, command_id: str, verb: str) -> Fresh | Pending | Answered:
        """Look ``command_id`` up; one never seen is noted as pending, durably, and :class:`Fresh` is returned."""
        with self._database.transaction() as db:
            now_ms = self._age_ms(db)
            db.execute("DELETE FROM commands WHERE at_ms < ?", (now_ms - KEEP_MS,))
            found = db.execute("SELECT verb, answer FROM commands WHERE id = ?", (command_id,)).fetchone()
            if found is not None:
                return Pending(found[0]) if found[1] is None else Answered(found[0], bytes(found[1]))
            db.execute("INSERT INTO commands VALUES (?, ?, ?, NULL)", (command_id, now_ms, verb))
            db.execute(
                "DELETE FROM commands WHERE rowid <= (SELECT rowid FROM commands ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
                (KEEP,),
            )
        return Fresh()

    def _age_ms(self, db: sqlite3.Connection) -> int:
        """Return the present on a scale that only grows: it goes on from the newest command that is remembered."""
        if self._begun_ms is None:
            (newest,) = db.execute("SELECT max(at_ms) FROM commands").fetchone()
            self._begun_ms = newest or 0
        return self._begun_ms + (self._now_ns() - self._begun_ns) // NS_PER_MS

    def answer(self, command_id: str, payload: bytes) -> None:
        """Note the answer (JSON) of a command that was remembered; an unknown id is ignored: it was too long ago."""
        with self._database.transaction() as db:
            db.execute("UPDATE commands SET answer = ? WHERE id = ?", (payload, command_id))
            if self._bytes is None or self._bytes + len(payload) > KEEP_BYTES:
                self._bytes = _thin_out(db)
            else:
                self._bytes += len(payload)

    def forget(self, command_id: str) -> None:
        """Drop an id: its command was not taken after all, and may be sent again."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM commands WHERE id = ?", (command_id,))

    def pending(self) -> tuple[tuple[str, str], ...]:
        """Return ``(id, verb)`` of every command without an answer, oldest first: what a kill interrupted."""
        with self._database.reading() as db:
            return tuple(db.execute("SELECT id, verb FROM commands WHERE answer IS NULL ORDER BY rowid").fetchall())


def _thin_out(db: sqlite3.Connection) -> int:
    """Forget the oldest answered commands, if the answers are too much altogether; return the bytes that stay."""
    sizes = db.execute("SELECT rowid, length(answer) FROM commands WHERE answer IS NOT NULL ORDER BY rowid").fetchall()
    total: int = sum(size for _, size in sizes)
    if total <= KEEP_BYTES:
        return total
    for rowid, size in sizes[:-1]:
        db.execute("DELETE FROM commands WHERE rowid = ?", (rowid,))
        total -= size
        if total <= KEEP_BYTES // 2:  # not each time anew
            break
    return total
