"""How much is written in a day, from a counter that is looked at now and then. Pure.

Points of the last day are kept, one every :data:`STEP_S` and so at most some hundred and fifty.
"""

from __future__ import annotations

from collections import deque

from agent.clock import NS_PER_S

DAY_S = 86_400
STEP_S = 600.0
LEAST_S = 600.0
"""What a shorter time says of a day is worth nothing."""

RECENT_S = 3600.0
"""A rate is that of this time, where there is as much past."""


class Wear:
    """See the module. Amounts are megabytes of a counter that never goes down; an agent that starts counts anew."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, float]] = deque()

    def add(self, now_ns: int, written_mb: float) -> None:
        """Take the counter's value of this moment."""
        points = self._points
        if points and written_mb < points[-1][1]:
            points.clear()
        if not points or now_ns - points[-1][0] >= STEP_S * NS_PER_S:
            points.append((now_ns, written_mb))
        while len(points) > 1 and now_ns - points[1][0] >= DAY_S * NS_PER_S:
            points.popleft()  # the next one is a day old or more itself

    def last_day_mb(self, now_ns: int, written_mb: float) -> float:
        """Return what was written in the last 24 hours, or since the beginning where that is shorter ago."""
        base = next((mb for at_ns, mb in self._points if now_ns - at_ns <= DAY_S * NS_PER_S), written_mb)
        return max(0.0, written_mb - base)

    def mb_per_day(self, now_ns: int, written_mb: float) -> float | None:
        """Return the rate of the last hour, as megabytes a day; None before there is a past of ten minutes."""
        old = [point for point in self._points if now_ns - point[0] >= LEAST_S * NS_PER_S]
        if not old:
            return None
        within = [point for point in old if now_ns - point[0] <= RECENT_S * NS_PER_S]
        at_ns, mb = within[0] if within else old[-1]
        return max(0.0, (written_mb - mb) * DAY_S * NS_PER_S / (now_ns - at_ns))
