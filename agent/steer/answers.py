"""What the verbs ``config/*`` answer and refuse with. Pure.

Field names and codes are constants of the wire. Everything in an answer may be shown to anybody: secrets are hidden
before it is made.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from agent.errors import CommandError, LookoutError
from agent.link.messages import KeyProblem


class OnProbation(CommandError):
    """Another change is on probation: one at a time."""

    code = "busy"


class NothingPending(CommandError):
    """There is no change on probation, or another one than was meant."""

    code = "nothing_pending"


class OldConnection(CommandError):
    """The confirmation came over the connection that the change was to replace, which proves nothing."""

    code = "old_connection"


class UnknownRevision(CommandError):
    """The history does not go back to that revision."""

    code = "unknown_revision"


class ManagedByDesired(CommandError):
    """A ``desired`` names the model of that pipeline; only a newer one changes it."""

    code = "managed_by_desired"


class NotApplied(LookoutError):
    """A part could not take the change; what was in force before is in force again."""

    code = "not_applied"


class Stopping(LookoutError):
    """The agent ends: nothing is changed any more."""

    code = "stopping"


class Leaf(msgspec.Struct, frozen=True):
    """A key that a change changes, and what holds before and after it (null: nothing)."""

    path: str
    before: Any
    after: Any


class Pending(msgspec.Struct, frozen=True):
    """A change on probation: it undoes itself in ``left_s``, at ``until``, unless it proves good.

    ``needs_confirm``: and unless ``config/confirm`` comes over a connection made after it. ``begins``: ``restart``
    where it takes effect, and is judged, only with the next start of the agent; ``until`` and ``left_s`` are then null.
    """

    revision: int
    kind: str
    paths: tuple[str, ...]
    needs_confirm: bool
    until: str | None = None
    left_s: float | None = None
    begins: Literal["now", "restart"] = "now"


class Entry(msgspec.Struct, frozen=True):
    """A change of the history: ``outcome`` is what became of it (kept, probation, undone), ``reason`` why."""

    revision: int
    at: str
    who: str
    kind: str
    paths: tuple[str, ...]
    outcome: str
    reason: str


class ConfigView(msgspec.Struct, frozen=True):
    """Answer of ``config/get``.

    ``config`` is what is in force at the path that was asked for, defaults too; ``sources`` says of each key there
    where its value comes from (those not named have their default). ``overlay`` is the remote layer, ``models`` the
    references that ``desired`` (``epoch``, ``version``) wants. ``errors`` and ``file`` as in ``reported``.
    """

    revision: int
    path: str
    config: Any
    sources: dict[str, str]
    overlay: dict[str, Any]
    models: dict[str, str]
    epoch: int
    version: int
    pending: Pending | None
    restart_needed: tuple[str, ...]
    errors: tuple[KeyProblem, ...]
    file: str
    history: tuple[Entry, ...] | UnsetType = UNSET


class Changed(msgspec.Struct, frozen=True):
    """Answer of ``config/patch`` and ``config/revert``.

    ``revision`` is what is in force now: the same as before where nothing changed or it was only tried (``dry_run``).
    ``changes``: the keys that differ. ``pending`` says how the change must prove itself; null: it holds.
    ``restart_needed``: keys that hold from the next start on.
    """

    revision: int
    changes: tuple[Leaf, ...]
    pending: Pending | None = None
    restart_needed: tuple[str, ...] = ()
    dry_run: bool = False


class Confirmed(msgspec.Struct, frozen=True):
    """Answer of ``config/confirm``: ``kept``, or (``pending``) noted until the device has shown that it does well."""

    revision: int
    kept: bool
    pending: Pending | None = None
