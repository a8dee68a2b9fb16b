"""Golden images: does a model see in them what its manifest says any device must see.

Matching is greedy and aware of labels: what was seen, best score first, claims the unclaimed expected
detection of its label with the highest IoU, if IoU and score lie within the tolerance. More than was
expected is no fault, unless nothing at all was expected. Results differ in the last digits between CPUs,
hence tolerances and never equality. Pure: the device's trial and the publisher's check call the same
function.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.types import Box


class Tolerance(msgspec.Struct, frozen=True):
    """How far a device may differ: lowest IoU, largest difference of scores, lowest share matched in an image."""

    iou: float = 0.8
    score: float = 0.1
    min_matched: float = 0.9


class Sighting(msgspec.Struct, frozen=True):
    """Something expected or seen; ``box`` is None for a classification, which is matched by label and score alone."""

    label: str
    score: float
    box: Box | None = None

    def __str__(self) -> str:
        place = "" if self.box is None else " at [" + ", ".join(f"{side:.0f}" for side in self.box) + "]"
        return f"{self.label} {self.score:.2f}{place}"


class Comparison(msgspec.Struct, frozen=True):
    """The verdict on one image; ``reason`` is empty when it passed."""

    matched: int
    expected: int
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the image passed."""
        return not self.reason


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two ``xyxy`` boxes, 0 where either is empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def _overlap(expected: Sighting, seen: Sighting) -> float:
    """IoU, or 1 where the task knows no boxes."""
    if expected.box is None or seen.box is None:
        return 1.0 if expected.box is seen.box else 0.0
    return iou(expected.box, seen.box)


def _claim(expected: Sequence[Sighting], seen: Sequence[Sighting], tolerance: Tolerance) -> set[int]:
    """Return the indices of ``expected`` that something in ``seen`` matched."""
    claimed: set[int] = set()
    for found in sorted(seen, key=lambda sighting: -sighting.score):
        best, best_overlap = None, tolerance.iou
        for index, wanted in enumerate(expected):
            if index in claimed or wanted.label != found.label:
                continue
            if abs(wanted.score - found.score) > tolerance.score:
                continue
            overlap = _overlap(wanted, found)
            if overlap >= best_overlap:
                best, best_overlap = index, overlap
        if best is not None:
            claimed.add(best)
    return claimed


def _what_was_seen(wanted: Sighting, seen: Sequence[Sighting], tolerance: Tolerance) -> str:
    """Say in words what came nearest to ``wanted``."""
    if not seen:
        return "nothing was seen"
    nearest = max(seen, key=lambda found: (found.label == wanted.label, _overlap(wanted, found), found.score))
    overlap = _overlap(wanted, nearest)
    if nearest.label != wanted.label:
        elsewhere = max(seen, key=lambda found: (_overlap(wanted, found), found.score))
        return f"no {wanted.label} was seen, nearest is {elsewhere}"
    if overlap < tolerance.iou:
        return f"best match IoU {overlap:.2f} ({nearest}; {tolerance.iou:.2f} needed)"
    if abs(nearest.score - wanted.score) > tolerance.score:
        return f"best match IoU {overlap:.2f} has score {nearest.score:.2f} (within {tolerance.score:.2f} needed)"
    return f"its match {nearest} was claimed by another"


def compare(
    image: str,
    expected: Sequence[Sighting],
    seen: Sequence[Sighting],
    tolerance: Tolerance,
    *,
    reporting_score: float,
) -> Comparison:
    """Compare what was ``seen`` in ``image`` with what was ``expected``.

    ``image`` names the picture in the reason. ``reporting_score`` is the manifest's threshold: where
    nothing is expected, nothing may be seen above it (plus the tolerance).
    """
    if not expected:
        loud = [found for found in seen if found.score > reporting_score + tolerance.score]
        reason = f"{image}: nothing was expected, {max(loud, key=lambda s: s.score)} was seen" if loud else ""
        return Comparison(0, 0, reason)
    claimed = _claim(expected, seen, tolerance)
    if len(claimed) >= tolerance.min_matched * len(expected) - 1e-9:
        return Comparison(len(claimed), len(expected))
    missing = [wanted for index, wanted in enumerate(expected) if index not in claimed]
    worst = max(missing, key=lambda wanted: wanted.score)
    reason = (
        f"{image}: expected {worst}, {_what_was_seen(worst, seen, tolerance)}; "
        f"{len(claimed)} of {len(expected)} matched, {tolerance.min_matched:.0%} needed"
    ).replace("%", " %")
    return Comparison(len(claimed), len(expected), reason)
