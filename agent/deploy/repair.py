"""A release that was damaged on disk: it is fetched again by itself, as long as only the surroundings stand in the way.

Serving does not wait for it: previous serves meanwhile, where there is one. The release comes back the way every one
does, through trial and probation. Control thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.clock import NS_PER_S
from agent.deploy.machine import State
from agent.deploy.records import SlotRelease
from agent.deploy.row import Row
from agent.deploy.timers import Timers
from agent.registry.pace import full_jitter_s

FIRST_S, LONGEST_S = 10.0, 600.0


class Repair:
    """The repair that is due; ``deploy`` begins it, and may be refused."""

    def __init__(self, timers: Timers, deploy: Callable[[str], None]) -> None:
        self._timers = timers
        self._deploy = deploy
        self._reference: str | None = None
        self._failures = 0

    def begin(self, slot: SlotRelease, row: Row) -> None:
        """Fetch ``slot`` again, by the reference that brought it where that is known: it is then still followed."""
        followed = row.state is State.COMMITTED and row.reference is not None
        self._reference = row.reference if followed else f"{slot.model}:{slot.version}"
        if self._reference is not None:
            self._deploy(self._reference)

    def begun(self, reference: str) -> None:
        """Take note of a deployment: another one than the repair takes its place."""
        if reference != self._reference:
            self.over()

    def failed(self, reference: str | None, now_ns: int, random: float) -> None:
        """Try again later, if it was the repair that failed for want of a network or a disk. ``random``: 0..1."""
        if self._reference is None or reference != self._reference:
            return
        self._failures += 1
        delay_s = FIRST_S / 2 + full_jitter_s(self._failures, FIRST_S, LONGEST_S, random)
        again = self._reference
        self._timers.set("repair", now_ns + round(delay_s * NS_PER_S), lambda: self._deploy(again))

    def over(self) -> None:
        """Forget it."""
        self._reference, self._failures = None, 0
        self._timers.cancel("repair")
