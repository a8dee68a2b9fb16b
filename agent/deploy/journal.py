"""What the agent must not forget: where each pipeline's deployment stands, and what was learnt on the way.

One SQLite file (see ``database`` for how it is written and what happens when it is damaged). :meth:`Journal.save` is
called before the effect of a transition, never after. Any thread may call. Everything is bounded: 50 lines of history a
pipeline, 1000 measurements, 1000 quarantined digests. Raises :class:`StorageError` wherever it writes or reads; then
nothing changed, and it is the caller's business that serving goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from agent.deploy.bootguard import Boot
from agent.deploy.database import MAX_PAGES, Database
from agent.deploy.machine import State
from agent.deploy.records import Receipt, SlotRelease, TrialRecord
from agent.deploy.row import Row
from agent.errors import TrustError
from agent.types import Digest, PipelineName

log = structlog.get_logger(part="deploy")

HISTORY = 50
MEASUREMENTS = 1000
QUARANTINED = 1000

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE pipelines (
            pipeline TEXT PRIMARY KEY, state TEXT NOT NULL, reference TEXT,
            force INTEGER NOT NULL, stored INTEGER NOT NULL, candidate TEXT, current TEXT, previous TEXT,
            reason TEXT, receipt TEXT, config_model TEXT,
            agent_deaths INTEGER NOT NULL, reboot_deaths INTEGER NOT NULL, interruptions INTEGER NOT NULL,
            updated_at_ms INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE history (
            id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, at_ms INTEGER NOT NULL, state TEXT NOT NULL, reference TEXT,
            release TEXT, reason TEXT)""",
        "CREATE INDEX history_by_pipeline ON history (pipeline, id)",
        "CREATE TABLE commands (id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, verb TEXT NOT NULL, answer BLOB)",
        "CREATE INDEX commands_by_age ON commands (at_ms)",
        "CREATE TABLE quarantine (digest TEXT PRIMARY KEY, reason TEXT NOT NULL, at_ms INTEGER NOT NULL)",
        """CREATE TABLE measurements (
            digest TEXT NOT NULL, variant INTEGER NOT NULL, host TEXT NOT NULL, record TEXT NOT NULL,
            at_ms INTEGER NOT NULL, PRIMARY KEY (digest, variant, host))""",
        "CREATE TABLE metadata_versions (role TEXT PRIMARY KEY, version INTEGER NOT NULL)",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)
"""``MIGRATIONS[n]`` brings schema ``n`` to ``n + 1``. Append only: devices in the field hold every one of them."""

_COLUMNS = (
    "pipeline", "state", "reference", "force", "stored", "candidate", "current", "previous", "reason", "receipt",
    "config_model", "agent_deaths", "reboot_deaths", "interruptions", "updated_at_ms",
)  # fmt: skip
_LOAD = f"SELECT {', '.join(_COLUMNS)} FROM pipelines"  # noqa: S608 - our own names
_SAVE = f"INSERT OR REPLACE INTO pipelines ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_JSON_COLUMNS: Mapping[str, Any] = {
    "candidate": SlotRelease, "current": SlotRelease, "previous": SlotRelease, "receipt": Receipt,
}  # fmt: skip


class HistoryEntry(msgspec.Struct, frozen=True):
    """One state that a pipeline entered."""

    at_ms: int
    state: State
    reference: str | None
    release: SlotRelease | None
    reason: str | None


def _json(value: msgspec.Struct | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _to_row(values: Mapping[str, Any]) -> Row:
    """Read a row of ``pipelines``. Raises ValueError or msgspec.ValidationError for one that nobody wrote."""
    fields = dict(values)
    for column, kind in _JSON_COLUMNS.items():
        fields[column] = None if fields[column] is None else msgspec.json.decode(fields[column], type=kind)
    fields["state"] = State(fields["state"])
    fields["force"], fields["stored"] = bool(fields["force"]), bool(fields["stored"])
    return Row(**fields)


def _values(row: Row) -> list[Any]:
    """Return what :func:`_to_row` reads back, in the order of the columns."""
    values = [_json(getattr(row, name)) if name in _JSON_COLUMNS else getattr(row, name) for name in _COLUMNS]
    values[_COLUMNS.index("state")] = row.state.value
    return values


class Journal:
    """The durable record; also lends its database to :class:`agent.deploy.commands.CommandMemory`."""

    def __init__(self, path: Path, *, max_pages: int = MAX_PAGES) -> None:
        self.database = Database(path, MIGRATIONS, max_pages=max_pages)
        self._unreadable: set[PipelineName] = set()

    @property
    def problem(self) -> str | None:
        """Why the journal is not what it should be (rebuilt, in memory), in words; None when all is well."""
        return self.database.problem

    def close(self) -> None:
        """Close the file; idempotent."""
        self.database.close()

    # --- starts and stops of the agent -------------------------------------------------------------------------------

    def begin(self, boot_id: str) -> Boot:
        """Note that the agent starts, on the kernel boot ``boot_id``, and return how this relates to the last start.

        Once a start, before anything is served; it consumes the clean-stop mark.
        """
        with self.database.transaction() as db:
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
            counter = int(meta.get("boot_counter", "0")) + 1
            known = {"boot_counter": str(counter), "boot_id": boot_id, "clean_stop": "0"}
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", known.items())
        return Boot(meta.get("boot_id") == boot_id, meta.get("clean_stop", "1") == "1", counter)

    def mark_clean_stop(self) -> None:
        """Note that the agent ends because it was asked to."""
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('clean_stop', '1')")

    def boots(self) -> int:
        """Return how often the agent was started with this journal; this time counts once :meth:`begin` was called."""
        with self.database.reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'boot_counter'").fetchone()
        return int(row[0]) if row else 0

    def next_session(self) -> int:
        """Count one more session with the broker and return its number, from 1."""
        with self.database.transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'session_counter'").fetchone()
            counter = int(row[0]) + 1 if row else 1
            db.execute("INSERT OR REPLACE INTO meta VALUES ('session_counter', ?)", (str(counter),))
        return counter

    # --- pipelines -------------------------------------------------------------------------------------------------

    def rows(self) -> dict[PipelineName, Row]:
        """Return every pipeline's row. One that cannot be read is left out, loudly, and :meth:`lost` says so."""
        with self.database.reading() as db:
            found = db.execute(_LOAD).fetchall()
        rows: dict[PipelineName, Row] = {}
        for values in found:
            try:
                row = _to_row(dict(zip(_COLUMNS, values, strict=True)))
            except (ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
                log.critical("journal.row_unreadable", pipeline=values[0], problem=str(error))
                self._unreadable.add(values[0])
                continue
            rows[row.pipeline] = row
        return rows

    def lost(self, pipeline: PipelineName) -> bool:
        """Return whether what the journal held of ``pipeline`` may have been lost: look into the store."""
        return self.database.fresh or pipeline in self._unreadable

    def update(self, row: Row) -> None:
        """Make ``row`` durable without a line of history: its state is the one it was in."""
        with self.database.transaction() as db:
            db.execute(_SAVE, _values(row))

    def save(self, row: Row, *, passed: tuple[Row, ...] = (), quarantine: tuple[Digest, str] | None = None) -> None:
        """Make ``row`` durable, with a line of history for it and for each row ``passed`` through on the way.

        ``quarantine``: the digest that this transition gives up for good, and why; in the same transaction.
        """
        with self.database.transaction() as db:
            if quarantine is not None:
                self._put_in_quarantine(db, *quarantine, row.updated_at_ms)
            db.execute(_SAVE, _values(row))
            for entered in (*passed, row):
                self._remember(db, entered)

    def _remember(self, db: sqlite3.Connection, row: Row) -> None:
        """Add a line of history and drop the oldest."""
        release = row.candidate or row.current
        db.execute(
            "INSERT INTO history (pipeline, at_ms, state, reference, release, reason) VALUES (?, ?, ?, ?, ?, ?)",
            (row.pipeline, row.updated_at_ms, row.state.value, row.reference, _json(release), row.reason),
        )
        db.execute(
            "DELETE FROM history WHERE pipeline = ?1 AND id NOT IN "
            "(SELECT id FROM history WHERE pipeline = ?1 ORDER BY id DESC LIMIT ?2)",
            (row.pipeline, HISTORY),
        )

    def history(self, pipeline: PipelineName) -> tuple[HistoryEntry, ...]:
        """Return the last states of ``pipeline``, newest first, at most 50."""
        with self.database.reading() as db:
            found = db.execute(
                "SELECT at_ms, state, reference, release, reason FROM history WHERE pipeline = ? ORDER BY id DESC",
                (pipeline,),
            ).fetchall()
        return tuple(
            HistoryEntry(
                at_ms, State(state), reference, release and msgspec.json.decode(release, type=SlotRelease), reason
            )
            for at_ms, state, reference, release, reason in found
        )

    # --- what was learnt -------------------------------------------------------------------------------------------

    def _put_in_quarantine(self, db: sqlite3.Connection, digest: Digest, reason: str, at_ms: int) -> None:
        db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", (digest, reason, at_ms))
        db.execute(
            "DELETE FROM quarantine WHERE digest NOT IN (SELECT digest FROM quarantine ORDER BY at_ms DESC LIMIT ?)",
            (QUARANTINED,),
        )

    def quarantine(self, digest: Digest, reason: str, at_ms: int) -> None:
        """Remember that ``digest`` failed and must not be tried again by itself."""
        with self.database.transaction() as db:
            self._put_in_quarantine(db, digest, reason, at_ms)

    def acquit(self, digest: Digest) -> None:
        """Take ``digest`` out of quarantine: it was forced, and proved itself."""
        with self.database.transaction() as db:
            db.execute("DELETE FROM quarantine WHERE digest = ?", (digest,))

    def quarantined(self) -> dict[Digest, str]:
        """Return the quarantined digests, each with its reason."""
        with self.database.reading() as db:
            return dict(db.execute("SELECT digest, reason FROM quarantine").fetchall())

    def record_trial(self, digest: Digest, record: TrialRecord, at_ms: int) -> None:
        """Keep what a trial measured of each variant on its host."""
        rows = [(digest, one.variant, record.host, _json(one), at_ms) for one in record.variants]
        with self.database.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?)", rows)
            db.execute(
                "DELETE FROM measurements WHERE rowid NOT IN "
                "(SELECT rowid FROM measurements ORDER BY at_ms DESC LIMIT ?)",
                (MEASUREMENTS,),
            )

    def accept_versions(self, versions: Mapping[str, int]) -> None:
        """Remember the versions of the signed metadata, role by role.

        Raises :class:`TrustError` where one is lower than what this device has seen, even if tuf's own files were lost.
        """
        with self.database.transaction() as db:
            seen = dict(db.execute("SELECT role, version FROM metadata_versions").fetchall())
            for role, version in versions.items():
                if version < seen.get(role, 0):
                    raise TrustError(
                        f"metadata {role!r} has version {version}, this device has seen {seen[role]}: the registry was "
                        f"rolled back; publish from the newest copy of it"
                    )
            db.executemany("INSERT OR REPLACE INTO metadata_versions VALUES (?, ?)", versions.items())

    def versions(self) -> dict[str, int]:
        """Return the highest version seen of each metadata role."""
        with self.database.reading() as db:
            return dict(db.execute("SELECT role, version FROM metadata_versions").fetchall())
