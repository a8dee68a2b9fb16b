"""Whether two runners see the same. Pure.

Boxes are matched one to one, best score first, within a class; a pair agrees when their boxes overlap by at least
``iou`` and their scores differ by at most ``score``. A box whose score lies within ``score`` of the reporting threshold
may be missing on the other side: which side of the threshold it falls on is rounding. Both ways are looked at: what one
has and the other lacks counts, whoever has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tools.bench.peers.job import Row


class Tolerance(msgspec.Struct, frozen=True):
    """``share`` of all boxes above the threshold must agree."""

    iou: float
    score: float
    share: float

    def __str__(self) -> str:
        return f"{self.share:.0%} of the boxes at IoU ≥ {self.iou:g} and a score within {self.score:g}"


FLOAT = Tolerance(iou=0.9, score=0.02, share=0.99)
INT8 = Tolerance(iou=0.9, score=0.05, share=0.95)
"""INT8 kernels of two runtimes round differently, and each rounding goes through the rest of the network."""


class Verdict(msgspec.Struct, frozen=True):
    """How many ``boxes`` both have above the threshold, and how many are ``agreeing``.

    ``widest``: the largest difference of two agreeing scores.
    """

    boxes: int
    agreeing: int
    widest: float
    tolerance: Tolerance

    @property
    def share(self) -> float:
        """The share that agrees; 1 where nobody sees anything."""
        return self.agreeing / self.boxes if self.boxes else 1.0

    @property
    def same(self) -> bool:
        """Whether they see the same. Nothing at all proves nothing."""
        return self.boxes > 0 and self.share >= self.tolerance.share

    def __str__(self) -> str:
        if not self.boxes:
            return "no box on either side"
        return f"{self.share:.1%} of {self.boxes} boxes agree"


def compare(
    ours: Sequence[Sequence[Row]], theirs: Sequence[Sequence[Row]], *, threshold: float, tolerance: Tolerance
) -> Verdict:
    """Judge the detections of the same frames. Raises ValueError where the number of frames differs."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} frames and {len(theirs)}: both must have looked at the same")
    boxes = agreeing = 0
    widest = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        pairs = _pairs(mine, other, tolerance)
        widest = max([widest, *(abs(mine[a][4] - other[b][4]) for a, b in pairs)])
        for rows, matched in ((mine, {a for a, _ in pairs}), (other, {b for _, b in pairs})):
            counted, agreed = _count(rows, matched, threshold, tolerance.score)
            boxes += counted
            agreeing += agreed
    return Verdict(boxes, agreeing, widest, tolerance)


def _count(rows: Sequence[Row], matched: set[int], threshold: float, score: float) -> tuple[int, int]:
    """Return how many rows count, and how many of them have a partner."""
    sure = [place for place, row in enumerate(rows) if row[4] >= threshold]
    counted = [place for place in sure if place in matched or rows[place][4] >= threshold + score]
    return len(counted), sum(place in matched for place in counted)


def _pairs(mine: Sequence[Row], other: Sequence[Row], tolerance: Tolerance) -> list[tuple[int, int]]:
    """Return pairs of places that agree, each box in one pair at most."""
    left = set(range(len(other)))
    pairs = []
    for place in sorted(range(len(mine)), key=lambda one: -mine[one][4]):
        row = mine[place]
        near = [
            (overlap(row, other[b]), b)
            for b in left
            if other[b][5] == row[5] and abs(other[b][4] - row[4]) <= tolerance.score
        ]
        best = max(near, default=(0.0, -1))
        if best[0] >= tolerance.iou:
            left.discard(best[1])
            pairs.append((place, best[1]))
    return pairs


def overlap(one: Row, other: Row) -> float:
    """Return the intersection over union of two boxes; 0 for boxes without an area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return inside / (areas - inside)
