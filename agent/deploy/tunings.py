"""What models cost on this host under different options, remembered over restarts; lives in the journal's file.

Keyed by release, variant and host (processor and ONNX Runtime): an update of either is measured anew. A record that
cannot be read is none, and is said in the log. Bounded. Any thread.
"""

from __future__ import annotations

import msgspec
import structlog

from agent.database import Database
from agent.deploy.tables import to_json
from agent.errors import StorageError
from agent.types import Digest, RunCost, RunOptions

MOST = 1000

log = structlog.get_logger(part="deploy")


class Tuning(msgspec.Struct, frozen=True):
    """``asked``: the options that were to be measured; ``costs``: what was, options beside those as well."""

    asked: tuple[RunOptions, ...]
    costs: tuple[RunCost, ...]

    def among(self, options: tuple[RunOptions, ...]) -> tuple[RunCost, ...]:
        """Return the costs of these options, with or without a memory arena."""
        return tuple(cost for cost in self.costs if msgspec.structs.replace(cost.options, arena=True) in options)


class Tunings:
    """The tunings of ``host``."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    def find(self, digest: Digest, variant: int) -> Tuning | None:
        """Return what is remembered; None: nothing, or nothing that can be read."""
        try:
            with self._database.reading() as db:
                found = db.execute(
                    "SELECT record FROM tunings WHERE digest = ? AND variant = ? AND host = ?",
                    (digest, variant, self._host),
                ).fetchone()
            return None if found is None else msgspec.json.decode(found[0], type=Tuning)
        except (StorageError, ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
            log.warning("tuning.unreadable", digest=digest, variant=variant, problem=str(error))
            return None

    def keep(self, digest: Digest, variant: int, tuning: Tuning) -> None:
        """Remember; where that cannot be written, it is measured again at the next trial."""
        try:
            with self._database.transaction() as db:
                db.execute(
                    "INSERT OR REPLACE INTO tunings VALUES (?, ?, ?, ?)",
                    (digest, variant, self._host, to_json(tuning)),
                )
                db.execute(
                    "DELETE FROM tunings WHERE rowid NOT IN (SELECT rowid FROM tunings ORDER BY rowid DESC LIMIT ?)",
                    (MOST,),
                )
        except StorageError as error:
            log.warning("tuning.not_kept", digest=digest, variant=variant, problem=error.message)
