"""How far two models see the same: F1 of one's detections against the other's, at a fixed IoU and score.

Steadier than mAP on few images, and needs no labels. Both sides are cut at the same score first, then matched greedily,
best score first, within a class. A detection close to the cut that only one side keeps counts against agreement, as it
would for the person who receives it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from agent.vision.overlap import overlaps as iou_matrix

IOU = 0.5
SCORE = 0.3


@dataclass(frozen=True)
class Agreement:
    """Counts over any number of frames; add two to have those of both.

    ``matched`` pairs, ``missed`` (only the reference saw it), ``extra`` (only the other did).
    """

    matched: int = 0
    missed: int = 0
    extra: int = 0
    iou_sum: float = 0.0
    score_gap_sum: float = 0.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.matched + other.matched,
            self.missed + other.missed,
            self.extra + other.extra,
            self.iou_sum + other.iou_sum,
            self.score_gap_sum + other.score_gap_sum,
        )

    @property
    def f1(self) -> float:
        """2 matched / (2 matched + missed + extra); 1 where neither saw anything."""
        total = 2 * self.matched + self.missed + self.extra
        return 2 * self.matched / total if total else 1.0

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the matched pairs; 0 without any."""
        return self.iou_sum / self.matched if self.matched else 0.0

    @property
    def mean_score_gap(self) -> float:
        """Mean absolute difference of the scores of matched pairs; 0 without any."""
        return self.score_gap_sum / self.matched if self.matched else 0.0


def compare(reference: np.ndarray, other: np.ndarray, *, iou: float = IOU, score: float = SCORE) -> Agreement:
    """Compare the detections of one frame: float rows ``x1 y1 x2 y2 score class_id`` each, in any order."""
    wanted = _cut(reference, score)
    found = _cut(other, score)
    overlaps = iou_matrix(found[:, :4], wanted[:, :4])
    overlaps[found[:, 5][:, None] != wanted[:, 5][None, :]] = 0.0
    matched, iou_sum, gap_sum = 0, 0.0, 0.0
    for row in range(len(found)):
        best = int(overlaps[row].argmax()) if len(wanted) else 0
        if not len(wanted) or overlaps[row, best] < iou:
            continue
        matched += 1
        iou_sum += float(overlaps[row, best])
        gap_sum += abs(float(found[row, 4]) - float(wanted[best, 4]))
        overlaps[:, best] = 0.0
    return Agreement(matched, len(wanted) - matched, len(found) - matched, iou_sum, gap_sum)


def over(frames: Iterable[tuple[np.ndarray, np.ndarray]], *, iou: float = IOU, score: float = SCORE) -> Agreement:
    """Compare frame by frame, ``(reference, other)`` each, and add the counts up."""
    return sum((compare(one, two, iou=iou, score=score) for one, two in frames), Agreement())


def _cut(detections: np.ndarray, score: float) -> np.ndarray:
    """Those of at least ``score``, best first, as float64."""
    rows = np.asarray(detections, dtype=np.float64).reshape(-1, 6)
    rows = rows[rows[:, 4] >= score]
    return rows[np.argsort(-rows[:, 4], kind="stable")]
