"""Whether journal, store and broker tell the same story of a device that is running."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any, NamedTuple

from agent.errors import LookoutError
from agent.registry.store import Store
from agent.types import Digest
from tests.integration.device import PIPELINE, Device

from .onlooker import Onlooker

SLOTS = ("current", "previous", "candidate")


class Journalled(NamedTuple):
    """The journal's row of the pipeline; slots as digests."""

    state: str
    reference: str | None
    current: str | None
    previous: str | None
    candidate: str | None


def journalled(device: Device) -> Journalled | None:
    """Read the journal beside the agent, changing nothing; None while it is being written."""
    path = device.state / "journal.db"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2)) as db:
            row = db.execute(
                "SELECT state, reference, current, previous, candidate FROM pipelines WHERE pipeline = ?", (PIPELINE,)
            ).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else Journalled(row[0], row[1], *(_digest(slot) for slot in row[2:]))


def disagreement(device: Device, person: Onlooker) -> str | None:
    """Return in words where the three differ at this moment; None where they agree on a release that is sound."""
    row, report, answer = journalled(device), person.report, person.answer
    if row is None or report is None or answer is None:
        return f"one is silent: journal {row}, broker {report}, detections {answer}"
    told = Journalled(report["state"], report["reference"], *(_told(report[slot]) for slot in SLOTS))
    if told != row:
        return f"the journal has {row}, the broker {told}"
    serving = _told(report["serving"])
    may_serve = {row.current, row.candidate} if row.state == "probation" else {row.current}
    if serving not in may_serve:
        return f"{serving} serves by the report, the journal has {row}"
    if answer.digest != serving:
        return f"detections come from {answer.digest}, the report says {serving}"
    return _unsound(device, answer.digest)


def _unsound(device: Device, digest: str) -> str | None:
    try:
        Store(device.state / "store").verify(Digest(digest))
    except LookoutError as error:
        return f"the store: {error.message}"
    return None


def _digest(slot: str | None) -> str | None:
    return None if slot is None else str(json.loads(slot)["digest"])


def _told(slot: dict[str, Any] | None) -> str | None:
    return None if slot is None else str(slot["digest"])
