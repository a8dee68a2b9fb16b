"""An operator's rollback after commit: load the previous release first, give current up only once it is warm.

Previous was committed once: it is verified and loaded again, without trial or probation, and the release given up stays
as previous, so that a second rollback undoes the first. Where previous cannot be loaded nothing changes. Where memory
is too short for both, current is unloaded first, and comes back if previous cannot be loaded. Control thread only.
"""

from __future__ import annotations

from typing import Protocol

from agent.deploy.keeper import Keeper
from agent.deploy.loading import Loaded
from agent.deploy.records import OnDone, SlotRelease
from agent.deploy.row import Row
from agent.errors import LookoutError

REASON = "rolled back by the operator"


class Owner(Protocol):
    """The driver, as far as a withdrawal needs it."""

    row: Row

    def withdraw(self, reason: str) -> None:
        """Make previous current, durably."""
        ...

    def say(self, note: str | None) -> None:
        """Show a note in the status."""
        ...

    def lacks_memory_for(self, slot: SlotRelease) -> str | None:
        """Return why a release cannot be loaded beside the one that serves; None: it can."""
        ...

    def answer(self, on_done: OnDone | None, *, ok: bool, code: str | None = None, reason: str | None = None) -> None:
        """Tell how it ended."""
        ...


class Withdrawal:
    """The rollback under way, if one is."""

    def __init__(self, keeper: Keeper, owner: Owner) -> None:
        self._keeper = keeper
        self._owner = owner
        self._on_done: OnDone | None = None
        self._reason = REASON
        self.on = False

    def begin(self, previous: SlotRelease, on_done: OnDone | None, reason: str = REASON) -> None:
        """Bring ``previous`` back; ``reason`` is what the journal will say."""
        self.on, self._on_done, self._reason = True, on_done, reason
        self._owner.say(f"rolling back to {previous}")
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
        previous = self._owner.row.previous
        if isinstance(result, LookoutError):
            self._keeper.reload()
            reason = f"rollback failed: {result.message}"
            self._owner.say(reason)
            self._owner.answer(on_done, ok=False, code=result.code, reason=reason)
        elif previous is not None and previous.digest == slot.digest:
            self._owner.withdraw(self._reason)
            self._keeper.serve_previous(result, self._reason)
            self._owner.answer(on_done, ok=True)
        else:  # current died too often meanwhile, and previous took its place already
            if result is not None:
                self._keeper.restored(slot, result)
            self._owner.answer(on_done, ok=self._keeper.runs(slot))
