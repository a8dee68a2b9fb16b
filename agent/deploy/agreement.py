"""How far a candidate agrees with current on the same live frames. Pure.

Boxes above :data:`SCORE` are matched one to one, within a label, the best overlap first, from IoU :data:`IOU` on. F1
is over all frames together, so that a crowded frame weighs more than an empty one; where neither release saw anything
at all they agree. Classifiers are compared by their first class.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from agent.deploy.golden import Sighting, iou
from agent.deploy.records import LabelCounts, ShadowReport

IOU = 0.5
SCORE = 0.3
LABELS = 20
"""Labels reported at most: those seen most often."""

KEPT_TIMES = 1000


def match(current: Sequence[Sighting], candidate: Sequence[Sighting]) -> list[tuple[int, int, float]]:
    """Return pairs of indices and their IoU: each box at most once, the best overlap first."""
    pairs = [
        (overlap, first, second)
        for first, one in enumerate(current)
        for second, other in enumerate(candidate)
        if one.label == other.label and one.box is not None and other.box is not None
        and (overlap := iou(one.box, other.box)) >= IOU
    ]  # fmt: skip
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    taken_first: set[int] = set()
    taken_second: set[int] = set()
    matched = []
    for overlap, first, second in pairs:
        if first not in taken_first and second not in taken_second:
            taken_first.add(first)
            taken_second.add(second)
            matched.append((first, second, overlap))
    return matched


class Tally:
    """Sums over the frames that both answered; one owner."""

    def __init__(self, *, boxes: bool) -> None:
        self.frames = 0
        self._boxes = boxes
        self._matched = self._current = self._candidate = self._equal = 0
        self._overlap = self._shift = 0.0
        self._counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._times: tuple[list[float], list[float]] = ([], [])

    def add(
        self, current: Sequence[Sighting], candidate: Sequence[Sighting], current_ms: float, candidate_ms: float
    ) -> None:
        """Compare one frame; times are those inside the workers."""
        self.frames += 1
        if self._boxes:
            self._add_boxes(_loud(current), _loud(candidate))
        else:
            self._add_classes(current[:1], candidate[:1])
        if len(self._times[0]) < KEPT_TIMES:
            self._times[0].append(current_ms)
            self._times[1].append(candidate_ms)

    def _add_boxes(self, current: list[Sighting], candidate: list[Sighting]) -> None:
        self._count(current, candidate)
        for first, second, overlap in match(current, candidate):
            self._matched += 1
            self._overlap += overlap
            self._shift += candidate[second].score - current[first].score

    def _add_classes(self, current: Sequence[Sighting], candidate: Sequence[Sighting]) -> None:
        self._count(current, candidate)
        if [one.label for one in current] == [one.label for one in candidate]:
            self._equal += 1
            for one, other in zip(current, candidate, strict=True):
                self._matched += 1
                self._shift += other.score - one.score

    def _count(self, current: Sequence[Sighting], candidate: Sequence[Sighting]) -> None:
        self._current += len(current)
        self._candidate += len(candidate)
        self._counts[0].update(one.label for one in current)
        self._counts[1].update(one.label for one in candidate)

    def report(self, *, wanted: int, seconds: float, stopped: str | None = None) -> ShadowReport:
        """Sum up."""
        f1 = top1 = None
        if self.frames and self._boxes:
            seen = self._current + self._candidate
            f1 = 2 * self._matched / seen if seen else 1.0
        elif self.frames:
            top1 = self._equal / self.frames
        return ShadowReport(
            frames=self.frames,
            wanted=wanted,
            seconds=seconds,
            agreement=f1 if self._boxes else top1,
            f1=f1,
            top1=top1,
            mean_iou=self._overlap / self._matched if self._boxes and self._matched else None,
            score_shift=self._shift / self._matched if self._matched else None,
            counts=self._label_counts(),
            latency_ratio=self._latency_ratio(),
            stopped=stopped,
        )

    def _label_counts(self) -> dict[str, LabelCounts]:
        current, candidate = self._counts
        return {
            label: LabelCounts(current[label], candidate[label])
            for label, _ in (current + candidate).most_common(LABELS)
        }

    def _latency_ratio(self) -> float | None:
        current, candidate = self._times
        before = statistics.median(current) if current else 0.0
        return statistics.median(candidate) / before if before > 0 else None


def verdict(report: ShadowReport, min_agreement: float | None) -> str | None:
    """Return why the candidate is refused, None where it may serve. Raises nothing: too few frames are a reason too."""
    if min_agreement is None:
        return None
    if report.stopped is not None:
        return (
            f"agreement of at least {min_agreement:g} was asked for, and only {report.frames} of {report.wanted} "
            f"frames could be compared: {report.stopped}"
        )
    if report.agreement is None or report.agreement < min_agreement:
        what = "first classes" if report.top1 is not None else "matched F1"
        seen = "nothing" if report.agreement is None else f"{report.agreement:.3f}"
        return (
            f"it agrees with the current model too little on {report.frames} live frames: {what} {seen}, at least "
            f"{min_agreement:g} needed"
        )
    return None


def _loud(seen: Sequence[Sighting]) -> list[Sighting]:
    return [one for one in seen if one.score >= SCORE]
