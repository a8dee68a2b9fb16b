"""The records of changes of the configuration: what is in force, on probation, past and refused. Pure.

The words of ``Kind`` and ``Outcome`` and the names of fields lie on disks in the field: never rename one.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from agent.config.confirm import Vitals
from agent.config.desired import Overlay

Kind = Literal["first", "file", "patch", "desired", "revert"]
MOST_REBOOTS = 3
"""Ends of the host in a probation after which the change is undone: it may be the cause of them."""

Outcome = Literal["kept", "probation", "undone"]


class Standing(msgspec.Struct, frozen=True):
    """What is in force: the overlay, over the file whose bytes have this SHA-256."""

    revision: int
    overlay: Overlay
    file: str

    def since(
        self,
        at_ms: int,
        who: str,
        kind: Kind,
        paths: tuple[str, ...],
        outcome: Outcome = "kept",
        reason: str = "",
    ) -> Past:
        """Return the line of history that says how this came to be in force."""
        return Past(self.revision, at_ms, who, kind, paths, outcome, reason, self.overlay, self.file)


class Change(msgspec.Struct, frozen=True):
    """A change on probation, and what holds again where it is undone.

    ``before``: how the device did just before. ``planned_restart``: it begins with the next start of the agent, which
    is then no sign that anything went wrong. ``boot_id``: the boot of the kernel on which it began; ``reboots``: how
    often it was cut off by the end of one.
    """

    revision: int
    at_ms: int
    who: str
    kind: Kind
    paths: tuple[str, ...]
    previous: Standing
    needs_confirm: bool = False
    planned_restart: bool = False
    before: Vitals | None = None
    boot_id: str = ""
    reboots: int = 0

    def cut_by_reboot(self, boot_id: str) -> bool:
        """Tell whether the host went down meanwhile (a mains cut, say), and not too often to go on for that."""
        return bool(self.boot_id and boot_id) and self.boot_id != boot_id and self.reboots < MOST_REBOOTS


class Past(msgspec.Struct, frozen=True):
    """One change of the history, what became of it, and what held from it on."""

    revision: int
    at_ms: int
    who: str
    kind: Kind
    paths: tuple[str, ...]
    outcome: Outcome
    reason: str
    overlay: Overlay
    file: str


class RefusedFile(msgspec.Struct, frozen=True):
    """Bytes of the file that are not taken again by themselves, and why."""

    file: str
    reason: str


class Trial(msgspec.Struct, frozen=True):
    """How a change goes on probation; see :class:`Change`."""

    needs_confirm: bool = False
    planned_restart: bool = False
    before: Vitals | None = None


def digest_of(text: bytes) -> str:
    """Return the name that a file's bytes have here, their SHA-256."""
    return hashlib.sha256(text).hexdigest()
