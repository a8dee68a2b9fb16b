"""What the router asks of a durable memory of commands, so that one with an ``id`` runs once. Pure."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Fresh(msgspec.Struct, frozen=True):
    """Never seen before; remembered from now on."""


class Pending(msgspec.Struct, frozen=True):
    """Seen and not answered: it runs, or the agent ended while it ran."""

    verb: str


class Answered(msgspec.Struct, frozen=True):
    """Seen and answered with these bytes."""

    verb: str
    answer: bytes


class CommandMemory(Protocol):
    """Kept by the journal. ``remember`` is called on the thread ``lookout-commands``, ``answer`` on any."""

    def remember(self, command_id: str, verb: str) -> Fresh | Pending | Answered:
        """Say whether the id is known; durable when this returns. Raises :class:`~agent.errors.StorageError`."""

    def answer(self, command_id: str, payload: bytes) -> None:
        """Keep the answer for the next time. Raises :class:`~agent.errors.StorageError`."""
