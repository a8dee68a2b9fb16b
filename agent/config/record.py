"""What the agent must not forget of its configuration: what is in force, what it was before, and what was refused.

One SQLite file, ``STATE/config.db`` (:data:`agent.database.SAFE`: on the disk when a method returns), readable by the
agent's user only, because the configuration file may hold secrets; nothing of a file is ever logged. A change is made
durable here *before* it is applied, so that after a kill the next start knows what to go back to. Every change that is
applied, an undone one too, has a revision of its own. Bounded: :data:`HISTORY` changes, and the bytes of the files that
these speak of. Any thread may call. Everything that writes raises :class:`StorageError`; then nothing changed.

A damaged file is set aside by :class:`~agent.database.Database`, and a row that cannot be read counts as absent, both
loudly: ``problem`` says so, and the file's configuration alone runs.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from agent.config.changes import Change, Kind, Outcome, Past, RefusedFile, Standing, Trial, digest_of
from agent.config.confirm import Vitals
from agent.config.desired import Overlay
from agent.database import Database
from agent.errors import ProgrammingError

log = structlog.get_logger(part="config")

HISTORY = 20
MAX_REFUSED = 20
MAX_PATHS = 200

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE files (sha256 TEXT PRIMARY KEY, text BLOB NOT NULL)",
        "CREATE TABLE history (revision INTEGER PRIMARY KEY, entry BLOB NOT NULL)",
    ),
)

_T = TypeVar("_T")


class ConfigRecord:
    """The durable record; see the module. ``boot_id``: the kernel's, empty where it tells none."""

    def __init__(self, path: Path, *, boot_id: str = "") -> None:
        self.boot_id = "" if boot_id == "unknown" else boot_id
        _make_private(path)
        self.database = Database(path, MIGRATIONS)
        _make_private(path)  # a new one may have taken the place of a damaged one
        self._unreadable: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the record is not what it should be, in words; None: all is well."""
        return self.database.problem or self.database.trouble or self._unreadable

    def close(self) -> None:
        """Close the file; idempotent."""
        self.database.close()

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def standing(self) -> Standing | None:
        """What is in force; None before the first start."""
        return self._get("standing", Standing)

    @property
    def pending(self) -> Change | None:
        """The change on probation."""
        return self._get("pending", Change)

    @property
    def path(self) -> str:
        """The path of the file that the record belongs to; empty before the first start."""
        return self._get("path", str) or ""

    @property
    def vitals(self) -> Vitals | None:
        """How the device did when a configuration last proved good."""
        return self._get("vitals", Vitals)

    @property
    def refused_desired(self) -> tuple[int, int] | None:
        """Epoch and version of the newest ``desired`` that was refused or undone."""
        return self._get("refused_desired", tuple[int, int])

    def refused_file(self, file: str) -> RefusedFile | None:
        """Return why the file with this digest was refused; None where it was not."""
        return next((refused for refused in self._refused_files() if refused.file == file), None)

    def text(self, file: str) -> bytes | None:
        """Return the bytes of a file that standing, pending or history speak of."""
        with self.database.reading() as db:
            row = db.execute("SELECT text FROM files WHERE sha256 = ?", (file,)).fetchone()
        found = None if row is None else bytes(row[0])
        return found if found is not None and digest_of(found) == file else None

    def history(self) -> tuple[Past, ...]:
        """Return the last changes, newest first."""
        with self.database.reading() as db:
            rows = db.execute("SELECT entry FROM history ORDER BY revision DESC").fetchall()
        return tuple(past for (entry,) in rows if (past := self._decoded("history", entry, Past)) is not None)

    def at(self, revision: int) -> Past | None:
        """Return what held from a revision on; None where the history does not go back so far."""
        return next((past for past in self.history() if past.revision == revision), None)

    # --- writing ------------------------------------------------------------------------------------------------------

    def adopt(self, text: bytes, *, path: str, overlay: Overlay, at_ms: int, who: str = "file") -> Standing:
        """Take a file as the one in force without a probation: the first ever, or one at another path."""
        with self.database.transaction() as db:
            standing = Standing(self._next_revision(db), overlay, digest_of(text))
            _put(db, "path", path)
            self._stand(db, standing, text)
            db.execute("DELETE FROM meta WHERE key IN ('pending', 'refused_files')")
            self._remember(db, standing.since(at_ms, who, "first", ()))
        return standing

    def advance(
        self,
        *,
        overlay: Overlay,
        text: bytes,
        who: str,
        kind: Kind,
        paths: tuple[str, ...],
        at_ms: int,
        trial: Trial | None = None,
    ) -> Standing:
        """Put a change in force, with ``trial`` on probation. Call it before anything is applied.

        Where the file in force changes although nobody edited it (a revert to an older one), the bytes that go count
        as refused: they still lie on the disk and must not come back as an edit.
        """
        previous = _must(self.standing, "no configuration is in force yet: adopt one first")
        if self.pending is not None:
            raise ProgrammingError("another change is on probation: keep or undo it first")
        with self.database.transaction() as db:
            standing = Standing(self._next_revision(db), overlay, digest_of(text))
            self._stand(db, standing, text)
            if trial is not None:
                pending = Change(
                    standing.revision, at_ms, who, kind, paths[:MAX_PATHS], previous,
                    trial.needs_confirm, trial.planned_restart, trial.before, self.boot_id,
                )  # fmt: skip
                _put(db, "pending", pending)
            if kind == "file":
                db.execute("DELETE FROM meta WHERE key = 'refused_files'")
            elif previous.file != standing.file:
                self._refuse_file(db, previous.file, f"revision {standing.revision} went back to an older one")
            outcome: Outcome = "kept" if trial is None else "probation"
            self._remember(db, standing.since(at_ms, who, kind, paths[:MAX_PATHS], outcome))
        return standing

    def same_file(self, text: bytes) -> Standing:
        """Take other bytes that mean the same (a comment was edited); the revision stays."""
        with self.database.transaction() as db:
            standing = _must(self.standing, "no configuration is in force yet: adopt one first")
            standing = msgspec.structs.replace(standing, file=digest_of(text))
            self._stand(db, standing, text)
        return standing

    def keep(self, vitals: Vitals | None) -> None:
        """Note that the change on probation proved good."""
        pending = _must(self.pending, "no change is on probation")
        with self.database.transaction() as db:
            db.execute("DELETE FROM meta WHERE key = 'pending'")
            if vitals is not None:
                _put(db, "vitals", vitals)
            self._settle(db, pending.revision, "kept", "")

    def undo(self, reason: str, *, at_ms: int, who: str = "lookout") -> Standing:
        """Put in force what held before the change on probation, as a revision of its own.

        The file's bytes that it came with, or the ``desired`` that it was, are not taken again by themselves.
        """
        pending = _must(self.pending, "no change is on probation")
        undone = _must(self.standing, "no configuration is in force yet")
        previous = pending.previous
        with self.database.transaction() as db:
            standing = Standing(self._next_revision(db), previous.overlay, previous.file)
            db.execute("DELETE FROM meta WHERE key = 'pending'")
            _put(db, "standing", standing)
            if undone.file != previous.file:
                self._refuse_file(db, undone.file, reason)
            stamp = (undone.overlay.epoch, undone.overlay.version)
            if stamp > (previous.overlay.epoch, previous.overlay.version):
                self._refuse_desired(db, stamp)
            self._settle(db, pending.revision, "undone", reason)
            self._remember(db, standing.since(at_ms, who, "revert", pending.paths, reason=reason))
        return standing

    def refuse_file(self, file: str, reason: str) -> None:
        """Remember that the file with this digest is not taken; call it only where something made it worth a write."""
        with self.database.transaction() as db:
            self._refuse_file(db, file, reason)

    def refuse_desired(self, epoch: int, version: int) -> None:
        """Remember that a ``desired`` was refused: it is retained, and comes again with each connection."""
        with self.database.transaction() as db:
            self._refuse_desired(db, (epoch, version))

    def remember(self, vitals: Vitals) -> None:
        """Remember how the device does while its configuration is good: what an edit during a stop is judged by."""
        with self.database.transaction() as db:
            _put(db, "vitals", vitals)

    def plan_restart(self) -> None:
        """Note that the agent ends on purpose: the change on probation, if any, begins anew at the next start."""
        pending = self.pending
        if pending is not None and not pending.planned_restart:
            self._put_pending(msgspec.structs.replace(pending, planned_restart=True))

    def begin_again(self) -> None:
        """Note that the change on probation begins anew with this start, which the next one may not do by itself."""
        pending = _must(self.pending, "no change is on probation")
        reboots = pending.reboots + (0 if pending.planned_restart else 1)
        again = msgspec.structs.replace(pending, planned_restart=False, boot_id=self.boot_id, reboots=reboots)
        self._put_pending(again)

    def _put_pending(self, change: Change) -> None:
        with self.database.transaction() as db:
            _put(db, "pending", change)

    def _get(self, key: str, kind: type[_T]) -> _T | None:
        with self.database.reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._decoded(key, row[0], kind)

    def _decoded(self, key: str, value: bytes, kind: type[_T]) -> _T | None:
        try:
            return msgspec.json.decode(value, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._unreadable = f"{self.database.path}: its {key} cannot be read ({error}) and counts as absent"
            log.critical("config.record_unreadable", problem=self._unreadable)
            return None

    def _refused_files(self) -> tuple[RefusedFile, ...]:
        return self._get("refused_files", tuple[RefusedFile, ...]) or ()

    def _refuse_file(self, db: sqlite3.Connection, file: str, reason: str) -> None:
        others = tuple(refused for refused in self._refused_files() if refused.file != file)
        _put(db, "refused_files", (*others, RefusedFile(file, reason))[-MAX_REFUSED:])

    def _refuse_desired(self, db: sqlite3.Connection, stamp: tuple[int, int]) -> None:
        _put(db, "refused_desired", max(stamp, self.refused_desired or (0, 0)))

    @staticmethod
    def _next_revision(db: sqlite3.Connection) -> int:
        """Return the next revision, which was never used, also where what is in force could not be read."""
        row = db.execute("SELECT value FROM meta WHERE key = 'revision'").fetchone()
        revision = (int(row[0]) if row else 0) + 1
        db.execute("INSERT OR REPLACE INTO meta VALUES ('revision', ?)", (str(revision).encode(),))
        return revision

    @staticmethod
    def _stand(db: sqlite3.Connection, standing: Standing, text: bytes) -> None:
        db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (standing.file, text))
        _put(db, "standing", standing)

    def _settle(self, db: sqlite3.Connection, revision: int, outcome: Outcome, reason: str) -> None:
        """Note in the history what became of a change."""
        past = self.at(revision)
        if past is not None:
            entry = msgspec.json.encode(msgspec.structs.replace(past, outcome=outcome, reason=reason))
            db.execute("UPDATE history SET entry = ? WHERE revision = ?", (entry, revision))

    def _remember(self, db: sqlite3.Connection, past: Past) -> None:
        """Add a line of history; drop the oldest, and the files that nothing speaks of any more."""
        db.execute("INSERT OR REPLACE INTO history VALUES (?, ?)", (past.revision, msgspec.json.encode(past)))
        db.execute(
            "DELETE FROM history WHERE revision NOT IN (SELECT revision FROM history ORDER BY revision DESC LIMIT ?)",
            (HISTORY,),
        )
        pending = self.pending
        needed = {past.file, *(known.file for known in self.history())}
        needed |= {pending.previous.file} if pending else set()
        for (file,) in db.execute("SELECT sha256 FROM files").fetchall():
            if file not in needed:
                db.execute("DELETE FROM files WHERE sha256 = ?", (file,))


def _must(found: _T | None, otherwise: str) -> _T:
    if found is None:
        raise ProgrammingError(otherwise)
    return found


def _put(db: sqlite3.Connection, key: str, value: object) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, msgspec.json.encode(value)))


def _make_private(path: Path) -> None:
    """Let only the agent's user read the file, from before anything is in it. What goes wrong the database tells."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
