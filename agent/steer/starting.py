"""What the steward begins with, of what was chosen at the start of the agent. Pure but for the record it reads."""

from __future__ import annotations

from agent.config.boot import Chosen, Resume
from agent.config.confirm import Vitals
from agent.errors import StorageError
from agent.steer.answers import Pending
from agent.steer.inforce import InForce


def begun_with(chosen: Chosen) -> InForce:
    """Return what is in force; a change that was undone last is told until another one comes."""
    reason = chosen.reverted or _undone_last(chosen)
    refused = chosen.record.refused_desired
    undone = reason and refused is not None and refused > (chosen.overlay.epoch, chosen.overlay.version)
    return InForce(
        loaded=chosen.loaded,
        text=chosen.text,
        digest=chosen.file,
        overlay=chosen.overlay,
        revision=chosen.revision,
        state="reverted" if reason else "committed",
        reason=reason,
        errors=chosen.notes,
        refused=refused if undone else None,
    )


def resumed(chosen: Chosen, resume: Resume) -> tuple[InForce | None, Vitals | None, Pending]:
    """Return what holds again if the change is undone (None: unknown), how the device did before it, and the change."""
    change = resume.change
    pending = Pending(change.revision, change.kind, change.paths, change.needs_confirm)
    return _former(chosen, resume), change.before, pending


def _former(chosen: Chosen, resume: Resume) -> InForce | None:
    previous = resume.change.previous
    try:
        text = chosen.record.text(previous.file)
    except StorageError:
        text = None
    if resume.before is None or text is None:
        return None
    return InForce(
        loaded=resume.before,
        text=text,
        digest=previous.file,
        overlay=previous.overlay,
        revision=previous.revision,
    )


def _undone_last(chosen: Chosen) -> str:
    """Return why the last change was undone by the device itself; empty where it was not."""
    try:
        newest = chosen.record.history()[:1]
    except StorageError:
        return ""
    return next((past.reason for past in newest if past.kind == "revert" and past.who == "lookout"), "")
