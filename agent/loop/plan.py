"""How a camera takes part in its pipeline: its weight, its gate, its frame rate over the day. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agent.vision.gate import GateSettings

MINUTES_A_DAY = 24 * 60


class Quiet(msgspec.Struct, frozen=True):
    """Hours of each day, local time, in which a camera gives at most ``max_fps``; minutes since midnight.

    ``begin`` is in it, ``end`` is not; one that begins after its end goes over midnight, and one that begins when it
    ends lasts all day.
    """

    begin: int
    end: int
    max_fps: float

    def holds(self, minute: int) -> bool:
        """Return whether it is quiet at this minute of the day."""
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


class CameraPlan(msgspec.Struct, frozen=True):
    """One camera. ``weight`` 1 to 10: its share of a busy worker. ``gate`` None: every frame goes to inference."""

    weight: int = 1
    max_fps: float | None = None
    quiet: tuple[Quiet, ...] = ()
    gate: GateSettings | None = None


def rate_limit(plan: CameraPlan, minute: int, governed_fps: float | None) -> float | None:
    """Return the camera's highest frame rate at a minute of the day: the lowest bound, None where none holds."""
    return _lowest((plan.max_fps, governed_fps, *(quiet.max_fps for quiet in plan.quiet if quiet.holds(minute))))


def _lowest(bounds: Iterable[float | None]) -> float | None:
    return min((bound for bound in bounds if bound is not None), default=None)
