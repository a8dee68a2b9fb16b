"""What the agent must not forget: where each pipeline's deployment stands, and what was learnt on the way.

One SQLite file (see ``database`` for how it is written and what happens when it is damaged). :meth:`Journal.save` is
called before the effect of a transition, never after. Any thread may call. Everything is bounded: 50 lines of history a
pipeline, 1000 measurements, 1000 quarantined digests. Raises :class:`StorageError` wherever it writes or reads; then
nothing changed, and it is the caller's business that serving goes on.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
import structlog

from agent.database import MAX_PAGES, Database
from agent.deploy.bootguard import Boot, recent
from agent.deploy.machine import State
from agent.deploy.records import PassedOver, Receipt, SlotRelease, TrialRecord, VariantRecord
from agent.deploy.row import Row
from agent.deploy.tables import COLUMNS, LOAD_ROWS, MIGRATIONS, SAVE_ROW, row_values, to_json, to_row
from agent.errors import TrustError
from agent.types import Digest, PipelineName

log = structlog.get_logger(part="deploy")

HISTORY = 50
MEASUREMENTS = 1000
QUARANTINED = 1000
MOST_CRASHES = 64

_SWAPPED = (State.COMMITTED, State.ROLLED_BACK)
"""States in which the row's receipt is whole."""


class _DeathsKept(msgspec.Struct, frozen=True):
    """What is kept of a release's deaths."""

    boot_id: str
    digest: Digest
    at_ns: tuple[int, ...]


def _numbers(text: str | None) -> tuple[int, ...]:
    """Read a list of instants; one that nobody wrote is empty."""
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(text or "[]", type=tuple[int, ...])
    return ()


def _text(numbers: tuple[int, ...]) -> str:
    return msgspec.json.encode(numbers).decode()


class HistoryEntry(msgspec.Struct, frozen=True):
    """One state that a pipeline entered; ``receipt`` is that of the swap which ended so, or was undone."""

    at_ms: int
    state: State
    reference: str | None
    release: SlotRelease | None
    reason: str | None
    receipt: Receipt | None = None


def _meta(db: sqlite3.Connection, key: str) -> str | None:
    found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else str(found[0])


class Journal:
    """The durable record; also lends its database to :class:`agent.deploy.commands.CommandMemory`."""

    def __init__(self, path: Path, *, max_pages: int = MAX_PAGES) -> None:
        self.database = Database(path, MIGRATIONS, max_pages=max_pages)
        self._unreadable: set[PipelineName] = set()
        self._boot_id = ""

    @property
    def problem(self) -> str | None:
        """Why the journal is not what it should be (rebuilt, in memory, not written), in words; None: all is well."""
        return self.database.problem or self.database.trouble

    def close(self) -> None:
        """Close the file; idempotent."""
        self.database.close()

    # --- starts and stops of the agent -------------------------------------------------------------------------------

    def begin(self, boot_id: str, now_ns: int = 0) -> Boot:
        """Note that the agent starts, on the kernel boot ``boot_id``, and return how this relates to the last start.

        Once a start, before anything is served; it consumes the clean-stop mark. ``now_ns``: monotonic.
        """
        with self.database.transaction() as db:
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
            counter = int(meta.get("boot_counter", "0")) + 1
            same, clean = meta.get("boot_id") == boot_id, meta.get("clean_stop", "1") == "1"
            crashes = recent(_numbers(meta.get("crashes")), now_ns) if same else ()
            crashes = (*crashes, now_ns)[-MOST_CRASHES:] if same and not clean else crashes
            known = {"boot_counter": str(counter), "boot_id": boot_id, "clean_stop": "0", "crashes": _text(crashes)}
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", known.items())
        self._boot_id = boot_id
        return Boot(same, clean, counter, crashes)

    def forget_crashes(self) -> None:
        """Note that the agent ran well, or that another release took over."""
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('crashes', '[]')")

    def keep_deaths(self, pipeline: PipelineName, digest: Digest, at_ns: tuple[int, ...]) -> None:
        """Remember when the worker of a committed release died, over a restart of the agent (not of the host)."""
        kept = _DeathsKept(self._boot_id, digest, at_ns)
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"deaths:{pipeline}", to_json(kept)))

    def deaths(self, pipeline: PipelineName, digest: Digest) -> tuple[int, ...]:
        """Return when the release's worker died on this boot of the kernel, monotonic ns."""
        with self.database.reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (f"deaths:{pipeline}",)).fetchone()
        with contextlib.suppress(msgspec.MsgspecError, TypeError):
            kept = msgspec.json.decode(row[0], type=_DeathsKept)
            if (kept.boot_id, kept.digest) == (self._boot_id, digest):
                return kept.at_ns
        return ()

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
            found = db.execute(LOAD_ROWS).fetchall()
        rows: dict[PipelineName, Row] = {}
        for values in found:
            try:
                row = to_row(dict(zip(COLUMNS, values, strict=True)))
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
            db.execute(SAVE_ROW, row_values(row))

    def save(self, row: Row, *, passed: tuple[Row, ...] = (), quarantine: tuple[Digest, str] | None = None) -> None:
        """Make ``row`` durable, with a line of history for it and for each row ``passed`` through on the way.

        ``quarantine``: the digest that this transition gives up for good, and why; in the same transaction.
        """
        with self.database.transaction() as db:
            if quarantine is not None:
                self._put_in_quarantine(db, *quarantine, row.updated_at_ms)
            db.execute(SAVE_ROW, row_values(row))
            for entered in (*passed, row):
                self._remember(db, entered)

    def _remember(self, db: sqlite3.Connection, row: Row) -> None:
        """Add a line of history and drop the oldest."""
        release = row.candidate or row.current
        receipt = to_json(row.receipt) if row.state in _SWAPPED else None
        state = (row.pipeline, row.updated_at_ms, row.state.value, row.reference, to_json(release), row.reason)
        db.execute(
            "INSERT INTO history (pipeline, at_ms, state, reference, release, reason, receipt) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*state, receipt),
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
                "SELECT at_ms, state, reference, release, reason, receipt FROM history "
                "WHERE pipeline = ? ORDER BY id DESC",
                (pipeline,),
            ).fetchall()
        return tuple(
            HistoryEntry(
                at_ms,
                State(state),
                reference,
                release and msgspec.json.decode(release, type=SlotRelease),
                reason,
                receipt and msgspec.json.decode(receipt, type=Receipt),
            )
            for at_ms, state, reference, release, reason, receipt in found
        )

    # --- what was learnt -------------------------------------------------------------------------------------------

    def _put_in_quarantine(self, db: sqlite3.Connection, digest: Digest, reason: str, at_ms: int) -> None:
        db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", (digest, reason, at_ms))
        db.execute(
            "DELETE FROM quarantine WHERE digest NOT IN (SELECT digest FROM quarantine ORDER BY rowid DESC LIMIT ?)",
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
        told: tuple[VariantRecord | PassedOver, ...] = (*record.variants, *record.passed_over)
        rows = [(digest, one.variant, record.host, to_json(one), at_ms) for one in told]
        with self.database.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?)", rows)
            db.execute(
                "DELETE FROM measurements WHERE rowid NOT IN "
                "(SELECT rowid FROM measurements ORDER BY rowid DESC LIMIT ?)",
                (MEASUREMENTS,),
            )

    def measurements(self, digest: Digest, host: str) -> tuple[VariantRecord | PassedOver, ...]:
        """Return what trials of ``digest`` on this host have shown, by variant; one that cannot be read is left out."""
        with self.database.reading() as db:
            found = db.execute(
                "SELECT record FROM measurements WHERE digest = ? AND host = ? ORDER BY variant", (digest, host)
            ).fetchall()
        records: list[VariantRecord | PassedOver] = []
        for (text,) in found:
            kind: type[VariantRecord | PassedOver] = PassedOver if '"problem"' in text else VariantRecord
            with contextlib.suppress(msgspec.MsgspecError):
                records.append(msgspec.json.decode(text, type=kind))
        return tuple(records)

    def accept_versions(
        self, versions: Mapping[str, int], *, anchor: str | None = None, begun_anew: Collection[str] = ()
    ) -> None:
        """Remember the versions of the signed metadata, role by role.

        ``anchor``: the SHA-256 of the first root; another one than before is another registry, and begins anew.
        ``begun_anew``: roles to which a newer root gave new keys: they may be lower, where the root rose. Raises
        :class:`TrustError` where one is lower than what this device has seen, even if tuf's own files were lost.
        """
        with self.database.transaction() as db:
            if anchor is not None and anchor != _meta(db, "trust_anchor"):
                if _meta(db, "trust_anchor") is not None:
                    db.execute("DELETE FROM metadata_versions")
                db.execute("INSERT OR REPLACE INTO meta VALUES ('trust_anchor', ?)", (anchor,))
            seen = dict(db.execute("SELECT role, version FROM metadata_versions").fetchall())
            newer_root = versions.get("root", 0) > seen.get("root", 0) > 0
            for role, version in versions.items():
                if version < seen.get(role, 0) and not (newer_root and role in begun_anew):
                    raise TrustError(
                        f"metadata {role!r} has version {version}, this device has seen {seen[role]}: the registry was "
                        f"rolled back; publish from the newest copy of it"
                    )
            db.executemany("INSERT OR REPLACE INTO metadata_versions VALUES (?, ?)", versions.items())

    def anchor(self) -> str:
        """Return the SHA-256 of the first root of the registry that :meth:`versions` speaks of, empty if unknown."""
        with self.database.reading() as db:
            return _meta(db, "trust_anchor") or ""

    def clock_floor_ms(self) -> int:
        """Return the latest UTC time that is known to have passed, ms; 0 without one."""
        with self.database.reading() as db:
            return int(_meta(db, "clock_floor_ms") or 0)

    def raise_clock_floor(self, at_ms: int) -> None:
        """Note that ``at_ms`` has passed, unless a later time is noted."""
        with self.database.transaction() as db:
            if at_ms > int(_meta(db, "clock_floor_ms") or 0):
                db.execute("INSERT OR REPLACE INTO meta VALUES ('clock_floor_ms', ?)", (str(at_ms),))

    def followed(self, pipeline: PipelineName) -> str | None:
        """Return what :meth:`note_followed` noted last."""
        with self.database.reading() as db:
            return _meta(db, f"followed:{pipeline}")

    def note_followed(self, pipeline: PipelineName, note: str) -> None:
        """Note what a reference meant when it was last taken up, so that it is not taken up twice."""
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"followed:{pipeline}", note))

    def versions(self) -> dict[str, int]:
        """Return the highest version seen of each metadata role."""
        with self.database.reading() as db:
            return dict(db.execute("SELECT role, version FROM metadata_versions").fetchall())
