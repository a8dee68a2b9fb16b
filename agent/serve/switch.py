"""Which worker serves a pipeline: its slots ``current``, ``previous`` and ``candidate``. Pure, one owner thread.

A candidate is proposed (it may get frames, it does not serve), then promoted: in one assignment it is current and the
former current is previous, kept warm. Whoever leaves its slot is handed to the caller, who lets its frames in flight
finish and closes it. A worker that dies is removed; where it was current, the warm previous serves at once. ``W`` is
compared by identity.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from agent.errors import ProgrammingError

W = TypeVar("W")


class Switch(Generic[W]):
    """The slots of one pipeline."""

    def __init__(self) -> None:
        self.current: W | None = None
        self.previous: W | None = None
        self.candidate: W | None = None

    def workers(self) -> tuple[W, ...]:
        """Return the workers in the slots, current first."""
        return tuple(w for w in (self.current, self.previous, self.candidate) if w is not None)

    def __contains__(self, worker: W) -> bool:
        return any(worker is one for one in self.workers())

    def propose(self, worker: W) -> W | None:
        """Make ``worker`` the candidate; return the candidate it replaces. Raises ProgrammingError if it has a slot."""
        if worker in self:
            raise ProgrammingError(f"{worker!r} has a slot already and cannot be a candidate")
        replaced, self.candidate = self.candidate, worker
        return replaced

    def promote(self) -> W | None:
        """Candidate → current → previous; return the former previous, which nobody needs any more."""
        if self.candidate is None:
            raise ProgrammingError("promote without a candidate: propose one first")
        retired = self.previous if self.current is not None else None
        if self.current is not None:
            self.previous = self.current
        self.current, self.candidate = self.candidate, None
        return retired

    def back(self) -> W | None:
        """Previous → current; return the former current, if any. Raises ProgrammingError without a previous."""
        if self.previous is None:
            raise ProgrammingError("no previous worker to go back to")
        retired, self.current, self.previous = self.current, self.previous, None
        return retired

    def drop_previous(self) -> W | None:
        """Empty the slot ``previous`` and return who was in it."""
        retired, self.previous = self.previous, None
        return retired

    def remove(self, worker: W) -> bool:
        """Take a worker that died or hung out of its slot; where it was current, previous serves: then True."""
        if worker is self.candidate:
            self.candidate = None
        if worker is self.previous:
            self.previous = None
        if worker is not self.current:
            return False
        self.current, self.previous = self.previous, None
        return self.current is not None
