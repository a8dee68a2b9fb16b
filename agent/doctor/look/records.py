"""What the agent remembers on disk, read beside it: its databases are opened read-only, and never made.

Who may not read them is told nothing of it: the functions then return what holds without any memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.config.changes import Standing
from agent.config.desired import Overlay

WAIT_S = 1.0


def overlay(state: Path) -> Overlay | None:
    """Return what an operator laid over the file; None where that cannot be read or nothing was ever in force."""
    rows = _rows(state / "config.db", "SELECT value FROM meta WHERE key = 'standing'")
    with contextlib.suppress(msgspec.MsgspecError, IndexError, TypeError):
        return msgspec.json.decode(rows[0][0], type=Standing).overlay
    return None


def clock_floor_ms(state: Path) -> int:
    """Return the latest time that is known to have passed, 0 where that is not known."""
    rows = _rows(state / "journal.db", "SELECT value FROM meta WHERE key = 'clock_floor_ms'")
    with contextlib.suppress(ValueError, IndexError, TypeError):
        return int(rows[0][0])
    return 0


def seen_versions(state: Path) -> tuple[str, dict[str, int]]:
    """Return the registry whose metadata was seen (the SHA-256 of its first root), and each role's version."""
    anchor = _rows(state / "journal.db", "SELECT value FROM meta WHERE key = 'trust_anchor'")
    versions = _rows(state / "journal.db", "SELECT role, version FROM metadata_versions")
    return (str(anchor[0][0]) if anchor else ""), {str(role): int(version) for role, version in versions}


def _rows(path: Path, question: str) -> Sequence[tuple[Any, ...]]:
    try:
        if not path.is_file():
            return ()
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)) as db:
            return db.execute(question).fetchall()
    except (OSError, sqlite3.Error):
        return ()
