"""The number of this start of the agent, the first half of every event's id: no two starts ever have the same.

It is kept in more than one file, each with a table ``meta``, so that one that is lost does not matter: the number goes
on from the highest that any of them knows. Where one knows none (it is new, or was damaged and rebuilt) or none can be
written, others may have been used that nobody remembers; then it is the present time in milliseconds, which no number
that counted starts one by one has reached. So a device that begins with an empty folder under a name that was used
before does not repeat ids either, as long as its clock did not go back.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from agent.database import Database
from agent.errors import StorageError

log = structlog.get_logger(part="link")

KEY = "start_number"


def claim_start(files: Iterable[Database], *, at_least: int, utc_ms: int) -> int:
    """Return a number that no start had, and remember it, durably where that can be done.

    ``at_least`` was used by an older version of this agent.
    """
    files = tuple(files)
    known = [_known(file) for file in files]
    number = max(at_least, *(one or 0 for one in known)) + 1
    if None in known:
        number = max(number, utc_ms)
    noted = [_note(file, number) for file in files]
    return number if any(noted) else max(number, utc_ms)


def _known(file: Database) -> int | None:
    """Return the number that a file remembers, None where it does not."""
    try:
        with file.reading() as db:
            found = db.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
    except StorageError as error:
        log.error("start.not_read", problem=error.message)  # noqa: TRY400 - says it all
        return None
    return int(found[0]) if found and found[0].isdigit() else None


def _note(file: Database, number: int) -> bool:
    try:
        with file.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (KEY, str(number)))
        file.flush()
    except StorageError as error:
        log.error("start.not_noted", problem=error.message)  # noqa: TRY400 - says it all
        return False
    return True
