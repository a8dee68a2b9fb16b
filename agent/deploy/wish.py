"""The configuration's wish: ``pipelines.<name>.model``, deployed when it was edited or the journal has no model.

Otherwise the journal holds: what an operator deployed outlives a restart. A wish that only the surroundings stood in
the way of (no network at the first start) is tried again, with full jitter. Control thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.clock import NS_PER_S
from agent.deploy.machine import TERMINAL, State
from agent.deploy.row import Row
from agent.deploy.timers import Timers

RETRY_S = (5.0, 300.0)
"""The first delay and the longest."""


class Wish:
    """What the configuration wants of one pipeline; ``deploy`` begins it and says itself what is wrong with it."""

    def __init__(self, model: str | None, timers: Timers, deploy: Callable[[str], None]) -> None:
        self.model = model
        self._timers = timers
        self._deploy = deploy
        self._failures = 0

    def renew(self, model: str | None) -> None:
        """Want another model; trying the one before again is over."""
        if model != self.model:
            self.model = model
            self.overruled()
            self.fulfilled()

    def consider(self, row: Row, *, at_boot: bool) -> None:
        """Deploy the model where it was edited; at boot also where nothing is current."""
        if self.model is None or row.state is State.PROBATION:
            return
        nothing = at_boot and row.current is None and row.state in TERMINAL
        if self.model != row.config_model or nothing:
            self._deploy(self.model)

    def failed(self, reference: str | None, now_ns: int, random: float) -> None:
        """Try again later: the surroundings stood in the way. ``random``: 0..1."""
        if self.model is None or reference != self.model:
            return
        first_s, longest_s = RETRY_S
        delay_s = min(longest_s, first_s * 2.0 ** min(self._failures, 10)) * (0.5 + 0.5 * random)
        self._failures += 1
        model = self.model
        self._timers.set("wish", now_ns + round(delay_s * NS_PER_S), lambda: self._deploy(model))

    def overruled(self) -> None:
        """Another deployment has begun."""
        self._timers.cancel("wish")

    def fulfilled(self) -> None:
        """Something was deployed."""
        self._failures = 0
