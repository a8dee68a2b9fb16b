"""Which camera's frame is next: turns by weight among the cameras that have one ready. Pure.

Start-time fair queueing: a turn moves a camera's own clock on by ``1 / weight``, and the camera whose clock is furthest
behind is next; of equals the one that waited longest. While cameras always have a frame their turns are as their
weights; one that had none for a while comes back at the clock of the last turn, neither owed what it missed nor last.
So every camera with a frame gets its turn: another one takes at most ``weight / own weight``, rounded up, and one more
in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from agent.types import CameraName

LARGEST_WEIGHT = 10
TURN = 2520
"""Divisible by every weight: clocks are whole numbers and never drift."""


class Scheduler:
    """The turns of one pipeline's cameras; those without a weight have 1."""

    def __init__(self, cameras: Iterable[CameraName], weights: Mapping[CameraName, int] | None = None) -> None:
        weights = weights or {}
        names = tuple(cameras)
        self._steps = {name: TURN // weights.get(name, 1) for name in names}
        self._clocks = dict.fromkeys(names, 0)
        self._served = {name: place - len(names) for place, name in enumerate(names)}
        self._turns = 0
        self._now = 0
        """The clock of whoever had the last turn, as it was before it."""

    def add(self, camera: CameraName, weight: int) -> None:
        """Let a camera take turns, from the clock of the last turn on; one that is known only gets another weight."""
        self._steps[camera] = TURN // weight
        self._clocks.setdefault(camera, self._now)
        self._served.setdefault(camera, self._turns)

    def remove(self, camera: CameraName) -> None:
        """Forget a camera."""
        for table in (self._steps, self._clocks, self._served):
            table.pop(camera, None)

    def next(self, has_frame: Callable[[CameraName], bool]) -> CameraName | None:
        """Return whose turn it is among the cameras for which ``has_frame``, and count the turn; None: none has."""
        ready = [name for name in self._clocks if has_frame(name)]
        if not ready:
            return None
        chosen = min(ready, key=lambda name: (max(self._clocks[name], self._now), self._served[name]))
        self._now = max(self._clocks[chosen], self._now)
        self._clocks[chosen] = self._now + self._steps[chosen]
        self._served[chosen] = self._turns
        self._turns += 1
        return chosen
