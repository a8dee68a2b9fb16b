"""The tables of the journal, and a pipeline's row as one of them holds it.

Schemas only grow: :data:`MIGRATIONS` is appended to, for devices in the field hold every one of them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.deploy.machine import State
from agent.deploy.records import Receipt, SlotRelease
from agent.deploy.row import Row

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
    (
        "ALTER TABLE pipelines ADD COLUMN not_before_ms INTEGER",
        "ALTER TABLE pipelines ADD COLUMN shadow_frames INTEGER",
        "ALTER TABLE pipelines ADD COLUMN min_agreement REAL",
        "ALTER TABLE pipelines ADD COLUMN unload_first INTEGER NOT NULL DEFAULT 0",
    ),
    ("ALTER TABLE pipelines ADD COLUMN spread_ms INTEGER",),
    (
        """CREATE TABLE tunings (
            digest TEXT NOT NULL, variant INTEGER NOT NULL, host TEXT NOT NULL, record TEXT NOT NULL,
            PRIMARY KEY (digest, variant, host))""",
    ),
    ("ALTER TABLE history ADD COLUMN receipt TEXT",),
)
"""``MIGRATIONS[n]`` brings schema ``n`` to ``n + 1``. Append only: devices in the field hold every one of them."""

COLUMNS = (
    "pipeline", "state", "reference", "force", "stored", "candidate", "current", "previous", "reason", "receipt",
    "config_model", "agent_deaths", "reboot_deaths", "interruptions", "updated_at_ms",
    "not_before_ms", "shadow_frames", "min_agreement", "unload_first", "spread_ms",
)  # fmt: skip
LOAD_ROWS = f"SELECT {', '.join(COLUMNS)} FROM pipelines"  # noqa: S608 - our own names
SAVE_ROW = f"INSERT OR REPLACE INTO pipelines ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_JSON_COLUMNS: Mapping[str, Any] = {
    "candidate": SlotRelease, "current": SlotRelease, "previous": SlotRelease, "receipt": Receipt,
}  # fmt: skip
_FLAGS = ("force", "stored", "unload_first")


def to_json(value: msgspec.Struct | None) -> str | None:
    """Return a record as a column holds it."""
    return None if value is None else msgspec.json.encode(value).decode()


def to_row(values: Mapping[str, Any]) -> Row:
    """Read a row of ``pipelines``. Raises ValueError or msgspec.ValidationError for one that nobody wrote."""
    fields = dict(values)
    for column, kind in _JSON_COLUMNS.items():
        fields[column] = None if fields[column] is None else msgspec.json.decode(fields[column], type=kind)
    fields["state"] = State(fields["state"])
    for column in _FLAGS:
        fields[column] = bool(fields[column])
    return Row(**fields)


def row_values(row: Row) -> list[Any]:
    """Return what :func:`to_row` reads back, in the order of the columns."""
    values = [to_json(getattr(row, name)) if name in _JSON_COLUMNS else getattr(row, name) for name in COLUMNS]
    values[COLUMNS.index("state")] = row.state.value
    return values
