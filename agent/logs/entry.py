"""A record on its way out: cleaned, with its line of JSON, which everything that keeps or sends it shares. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.logs.processors import LEVELS, as_json


@dataclass(frozen=True)
class Entry:
    """One record that is logged. ``json`` holds no newline and no secret."""

    record: Mapping[str, Any]
    json: bytes

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Entry:
        """Make one of a cleaned record."""
        return cls(record, as_json(record))

    @property
    def level(self) -> str:
        """Its level's name."""
        return str(self.record.get("level", "info"))


@dataclass(frozen=True)
class Wanted:
    """Which records somebody asks for: of ``level`` and above, of one ``part`` (or child), with ``grep`` in them.

    ``grep`` is plain text, found in the record's JSON, large and small letters alike.
    """

    level: str = "debug"
    part: str | None = None
    grep: str | None = None

    def takes(self, record: Mapping[str, Any], json: bytes) -> bool:
        """Tell whether this one is asked for."""
        if LEVELS.get(str(record.get("level")), 50) < LEVELS[self.level]:
            return False
        if self.part is not None and self.part not in (record.get("part"), record.get("child")):
            return False
        return self.grep is None or self.grep.casefold() in json.decode("utf-8", "replace").casefold()


class Sink(Protocol):
    """A place that entries are written to, by one thread at a time. Writing never raises; what fails is counted."""

    @property
    def lost(self) -> int:
        """Entries that could not be written since the start."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the newest could not be written, in words; None while all is well."""
        ...

    def write(self, entries: list[Entry]) -> None:
        """Write them in their order."""
        ...

    def close(self) -> None:
        """Free what is held."""
        ...
