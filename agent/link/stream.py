"""One stream of the backlog, and the letters that are in memory only: what :mod:`agent.link.backlog` is made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.link.wire import Letter

READ_BYTES = 256 * 1024
"""Most that is read from the disk at once, and one letter."""

READY = 256
"""Letters of one stream that are at hand, and :data:`READ_BYTES` of them."""

ALL_READY_BYTES = 4 * 1024 * 1024
"""Bytes of all streams together; beyond, a stream has one read at hand at most."""

MOST_UNSAVED, MOST_UNSAVED_BYTES = 2000, 4 * 1024 * 1024


@dataclass
class Stream:
    """One stream. ``newest``: the id of its last letter; up to ``old_to`` they waited through an outage."""

    number: int
    name: str
    behind: int = 0
    read_to: int = 0
    newest: int = 0
    old_to: int = 0
    ready: OrderedDict[int, Letter] = field(default_factory=OrderedDict)
    tail: OrderedDict[int, Letter] = field(default_factory=OrderedDict)
    """Unsaved letters that come after those behind."""
    bytes: int = 0

    @property
    def first(self) -> int | None:
        """The id of the letter whose turn it is, or the least that it may have; None where none waits."""
        if self.ready:
            return next(iter(self.ready))
        return self.read_to + 1 if self.behind else next(iter(self.tail), None)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self.ready) + self.behind + len(self.tail)

    @property
    def low(self) -> bool:
        """Whether more should be read."""
        return self.behind > 0 and len(self.ready) < READY // 2 and self.bytes < READ_BYTES // 2

    @property
    def full(self) -> bool:
        """Whether enough are at hand."""
        return len(self.ready) >= READY or self.bytes >= READ_BYTES


class Numbers(NamedTuple):
    """How many letters wait, are out, are in memory only; bytes in memory."""

    waiting: int
    out: int
    unsaved: int
    bytes: int


class Unsaved:
    """Letters that could not be written, by id; bounded by :data:`MOST_UNSAVED` and :data:`MOST_UNSAVED_BYTES`."""

    def __init__(self) -> None:
        self._letters: dict[int, Letter] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._letters)

    def add(self, letter: Letter) -> None:
        """Hold one more."""
        self._letters[letter.id] = letter
        self._bytes += letter.size

    def remove(self, letter_id: int) -> bool:
        """Let go of one; return whether it was held."""
        letter = self._letters.pop(letter_id, None)
        if letter is None:
            return False
        self._bytes -= letter.size
        return True

    def in_order(self) -> tuple[Letter, ...]:
        """Return all, oldest first."""
        return tuple(self._letters[letter_id] for letter_id in sorted(self._letters))

    def too_much(self, needed: Container[int]) -> Letter | None:
        """Return what must go, as there are too many: the oldest of the lowest priority that is not ``needed``."""
        if len(self._letters) <= MOST_UNSAVED and self._bytes <= MOST_UNSAVED_BYTES:
            return None
        free = (one for one in self._letters.values() if one.id not in needed)
        return min(free, key=lambda one: (one.priority, one.id), default=None)
