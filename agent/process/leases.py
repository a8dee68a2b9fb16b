"""Who may touch which slot of a ring: a pure ledger, kept by one owner (the pipeline's thread).

A slot goes ``free → writing → ready → leased(n) → free``. Only a free slot is granted, so there are never two writers
and never a writer beside a reader. A reader that died or hangs keeps its leases until it was *reaped*: before that it
may still read. Illegal moves are bugs: :class:`~agent.errors.ProgrammingError` names slot, state and move.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from agent.errors import ProgrammingError


class LeaseCounts(NamedTuple):
    """How many slots are in each state; they add up to the ring's slots."""

    free: int
    writing: int
    ready: int
    leased: int


class _State(Enum):
    FREE = "free"
    WRITING = "writing"
    READY = "ready"
    LEASED = "leased"


class Leases:
    """The ledger of one ring of ``slots`` slots, all free at first."""

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ProgrammingError(f"a ring needs at least one slot, not {slots}")
        self._states = [_State.FREE] * slots
        self._readers: list[set[str]] = [set() for _ in range(slots)]
        # Freed last, granted first: that slot is warm in the cache, and one never touched costs no memory.
        self._free = list(range(slots - 1, -1, -1))

    def grant(self) -> int | None:
        """Give a free slot to the writer (free → writing); None when there is none."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._states[slot] = _State.WRITING
        return slot

    def ready(self, slot: int) -> None:
        """Take note that the slot holds a whole frame (writing → ready)."""
        self._expect("ready", slot, _State.WRITING)
        self._states[slot] = _State.READY

    def lease(self, slot: int, reader: str) -> None:
        """Let ``reader`` read the slot (ready or leased → leased); once a reader and slot."""
        self._expect("lease", slot, _State.READY, _State.LEASED)
        if reader in self._readers[slot]:
            raise ProgrammingError(f"slot {slot} is leased to {reader} already: cannot lease it twice")
        self._readers[slot].add(reader)
        self._states[slot] = _State.LEASED

    def release(self, slot: int, reader: str) -> None:
        """End ``reader``'s lease; the last reader out frees the slot."""
        self._expect("release", slot, _State.LEASED)
        if reader not in self._readers[slot]:
            raise ProgrammingError(f"slot {slot} is leased, but not to {reader}: cannot release it")
        self._leave(slot, reader)

    def reads(self, slot: int, reader: str) -> bool:
        """Tell whether the slot is leased to ``reader``."""
        return reader in self._readers[slot]

    def discard(self, slot: int) -> None:
        """Free a frame that nobody wanted (ready → free)."""
        self._expect("discard", slot, _State.READY)
        self._set_free(slot)

    def reclaim(self, reader: str) -> tuple[int, ...]:
        """End every lease of a reader that was reaped; return the slots that became free by it."""
        held = [slot for slot, readers in enumerate(self._readers) if reader in readers]
        return tuple(slot for slot in held if self._leave(slot, reader))

    def reclaim_writer(self) -> tuple[int, ...]:
        """Free every slot that a writer which was reaped held (writing → free); return them."""
        writing = tuple(slot for slot, state in enumerate(self._states) if state is _State.WRITING)
        for slot in writing:
            self._set_free(slot)
        return writing

    def counts(self) -> LeaseCounts:
        """Return how many slots are in each state."""
        count = self._states.count
        return LeaseCounts(count(_State.FREE), count(_State.WRITING), count(_State.READY), count(_State.LEASED))

    def _leave(self, slot: int, reader: str) -> bool:
        self._readers[slot].discard(reader)
        if self._readers[slot]:
            return False
        self._set_free(slot)
        return True

    def _set_free(self, slot: int) -> None:
        self._states[slot] = _State.FREE
        self._free.append(slot)

    def _expect(self, move: str, slot: int, *legal: _State) -> None:
        if not 0 <= slot < len(self._states):
            raise ProgrammingError(f"slot {slot} does not exist (0 to {len(self._states) - 1}): cannot {move} it")
        if self._states[slot] not in legal:
            raise ProgrammingError(f"slot {slot} is {self._states[slot].value}: cannot {move} it")
