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
    """Kept by the journal; any thread. Every method raises :class:`~agent.errors.StorageError`."""

    def remember(self, command_id: str, verb: str) -> Fresh | Pending | Answered:
        """Say whether the id is known; durable when this returns."""
        ...

    def answer(self, command_id: str, payload: bytes) -> None:
        """Keep the answer for the next time."""
        ...

    def forget(self, command_id: str) -> None:
        """Drop an id: its command may be sent again."""
        ...

    def pending(self) -> tuple[tuple[str, str], ...]:
        """Return ``(id, verb)`` of every command without an answer, the oldest first."""
        ...
