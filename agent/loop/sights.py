"""What became of a camera's boxes in the last seconds, counted frame by frame. Pure: the frame's time comes in."""

from __future__ import annotations

from agent.clock import NS_PER_S
from agent.vision.whynot import Sights

HALF_NS = 5 * NS_PER_S
"""Two halves are kept: what is told covers the last 5 to 10 seconds."""


class _Half:
    __slots__ = ("began_ns", "below", "best", "boxes", "frames", "gated", "masked", "misshapen", "unwanted")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.frames = self.gated = self.boxes = self.unwanted = self.below = self.misshapen = self.masked = 0
        self.best: tuple[float, str, float] = (0.0, "", 0.0)


class Tally:
    """One camera's counters; owned by the pipeline's thread."""

    def __init__(self) -> None:
        self._now: _Half | None = None
        self._before: _Half | None = None

    def add(
        self,
        at_ns: int,
        *,
        boxes: int,
        unwanted: int = 0,
        below: int = 0,
        misshapen: int = 0,
        masked: int = 0,
        best: tuple[float, str, float] | None = None,
    ) -> None:
        """Count a frame's boxes, and those that were not reported by the first reason that spoke against each.

        ``best``: score, label and that label's threshold.
        """
        half = self._half(at_ns)
        half.frames += 1
        half.boxes += boxes
        half.unwanted += unwanted
        half.below += below
        half.misshapen += misshapen
        half.masked += masked
        if best is not None:
            half.best = max(half.best, best)

    def gated(self, at_ns: int) -> None:
        """Count a frame that the motion gate left out."""
        self._half(at_ns).gated += 1

    def sights(self, now_ns: int) -> Sights:
        """Sum up."""
        self._turn(now_ns)
        halves = [half for half in (self._before, self._now) if half is not None]
        score, label, threshold = max((half.best for half in halves), default=(0.0, "", 0.0))
        return Sights(
            frames=sum(half.frames for half in halves),
            gated=sum(half.gated for half in halves),
            boxes=sum(half.boxes for half in halves),
            unwanted=sum(half.unwanted for half in halves),
            below=sum(half.below for half in halves),
            misshapen=sum(half.misshapen for half in halves),
            masked=sum(half.masked for half in halves),
            best_score=score,
            best_label=label,
            threshold=threshold,
        )

    def _half(self, at_ns: int) -> _Half:
        self._turn(at_ns)
        if self._now is None:
            self._now = _Half(at_ns)
        return self._now

    def _turn(self, now_ns: int) -> None:
        if self._now is not None and now_ns - self._now.began_ns >= HALF_NS:
            self._before, self._now = self._now, None
        if self._before is not None and now_ns - self._before.began_ns >= 2 * HALF_NS:
            self._before = None
