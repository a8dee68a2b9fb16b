"""An operator's rollback after commit: load the previous release first, give current up only once it is warm.

Previous was committed once: it is verified and loaded again, without trial or probation, and the release given up stays
as previous, so that a second rollback undoes the first. Where previous cannot be loaded nothing changes. Where memory
is too short for both, current is unloaded first, and comes back if previous cannot be loaded. Control thread only.
"""

from __future__ import annotations

from typing import Protocol

from agent.deploy.course import Course
from agent.deploy.keeper import Keeper
from agent.deploy.loading import Loaded
from agent.deploy.machine import Signal
from agent.deploy.records import OnDone, SlotRelease
from agent.errors import LookoutError

REASON = "rolled back by the operator"


class Owner(Protocol):
    """Who takes the orders, as far as a withdrawal needs it."""

    def lacks_memory_for(self, slot: SlotRelease) -> str | None:
        """Return why a release cannot be loaded beside the one that serves; None: it can."""
        ...


class Withdrawal:
    """The rollback under way, if one is."""

    def __init__(self, course: Course, keeper: Keeper, owner: Owner) -> None:
        self._course = course
        self._keeper = keeper
        self._owner = owner
        self._on_done: OnDone | None = None
        self._reason = REASON
        self.on = False

    def begin(self, previous: SlotRelease, on_done: OnDone | None, reason: str = REASON) -> None:
        """Bring ``previous`` back; ``reason`` is what the journal will say."""
        self.on, self._on_done, self._reason = True, on_done, reason
        self._course.say(f"rolling back to {previous}")
        if self._keeper.is_warm(previous):
            self._loaded(previous, None)
            return
        short = self._owner.lacks_memory_for(previous)
        if short is None:
            self._keeper.bring_back(previous, self._loaded)
        else:
            self._keeper.unload(short, lambda: self._keeper.bring_back(previous, self._loaded))

    def _loaded(self, slot: SlotRelease, result: Loaded | LookoutError | None) -> None:
        """Go on with the loaded release, None where it is warm."""
        self.on = False
        on_done, self._on_done = self._on_done, None
        previous = self._course.row.previous
        if isinstance(result, LookoutError):
            self._keeper.reload()
            reason = f"rollback failed: {result.message}"
            self._course.say(reason)
            self._course.answer(on_done, ok=False, code=result.code, reason=reason)
        elif previous is not None and previous.digest == slot.digest:
            self._course.enter(Signal.WITHDRAW, reason=self._reason, keep_former=True)
            self._keeper.serve_previous(result, self._reason)
            self._course.answer(on_done, ok=True)
        else:  # current died too often meanwhile, and previous took its place already
            if result is not None:
                self._keeper.restored(slot, result)
            self._course.answer(on_done, ok=self._keeper.runs(slot))
