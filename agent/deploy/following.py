"""What to do about a pipeline at rest, now that the registry was asked what is new and what was yanked. Pure.

A channel is followed wherever it points, a range only upwards (downwards where its publisher yanked what serves and the
device is told to heed that). A release that was taken up once for a reference is not taken up again for it, whatever
became of it: an operator's rollback holds until the reference means something else.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Mapping
from typing import Literal

import msgspec

from agent.deploy.machine import State
from agent.deploy.records import SlotRelease
from agent.deploy.row import Row
from agent.errors import ReferenceError  # noqa: A004 - the field's word, see agent.errors
from agent.process.messages import Resolved, Surveyed
from agent.registry.floor import below_floor
from agent.registry.reference import Reference, parse_reference, precedence
from agent.types import Digest

OnYank = Literal["warn", "rollback"]

FOLLOWING = frozenset({State.COMMITTED, State.FAILED, State.ROLLED_BACK})
"""States at rest in which the last reference is still what the operator wants; a cancelled one is not."""


class Do(enum.Enum):
    """What a driver does."""

    NOTHING = enum.auto()
    DEPLOY = enum.auto()
    """The reference means another release now."""
    ROLL_BACK = enum.auto()
    """What serves was yanked; previous was not."""


class Notice(msgspec.Struct, frozen=True):
    """``yanked``: why the publisher withdrew the release that serves, None where it did not."""

    do: Do = Do.NOTHING
    yanked: str | None = None


def named(slot: SlotRelease) -> str:
    """Return ``model:version``."""
    return f"{slot.model}:{slot.version}"


def followed(row: Row) -> Reference | None:
    """Return the channel or range that the pipeline follows, None where it holds one version or nothing."""
    if row.reference is None or row.state not in FOLLOWING:
        return None
    try:
        reference = parse_reference(row.reference)
    except ReferenceError:
        return None
    return reference if reference.kind != "version" else None


def named_version(text: str | None) -> str | None:
    """Return the version that a reference names itself; None of a channel or range."""
    try:
        reference = None if text is None else parse_reference(text)
    except ReferenceError:
        return None
    return reference.value if reference is not None and reference.kind == "version" else None


def taken(reference: object, digest: str) -> str:
    """Return the note of a release that was taken up for a reference."""
    return f"{reference} {digest}"


def notice(
    row: Row,
    found: Surveyed,
    *,
    last_taken: str | None,
    quarantined: Container[Digest],
    floors: Mapping[str, str],
    on_yank: OnYank,
) -> Notice:
    """Return what the survey means for the pipeline of ``row``, which is at rest."""
    yanked = found.yanked.get(named(row.current)) if row.current is not None else None
    heed = yanked is not None and on_yank == "rollback"
    reference = followed(row)
    resolved = found.resolved.get(str(reference)) if reference is not None else None
    if reference is not None and resolved is not None and resolved.problem is None:
        fresh = taken(reference, resolved.digest) != last_taken and Digest(resolved.digest) not in quarantined
        if fresh and _leads_on(reference, resolved, row.current, downwards=heed):
            return Notice(Do.DEPLOY, yanked)
    previous = row.previous
    if (
        heed
        and row.state is not State.ROLLED_BACK  # previous is what somebody had a reason to leave
        and previous is not None
        and named(previous) not in found.yanked
        and previous.digest not in quarantined
        and not below_floor(previous.model, previous.version, floors)
    ):
        return Notice(Do.ROLL_BACK, yanked)
    return Notice(Do.NOTHING, yanked)


def _leads_on(reference: Reference, resolved: Resolved, current: SlotRelease | None, *, downwards: bool) -> bool:
    """Tell whether what the reference means is to take the place of ``current``."""
    if current is None or current.model != reference.model:
        return True
    if current.digest == resolved.digest:
        return False
    if reference.kind == "channel" or downwards:
        return True
    return bool(precedence(resolved.version) > precedence(current.version))
