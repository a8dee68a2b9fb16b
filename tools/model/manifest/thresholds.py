"""The score from which a detection is worth reporting: where F1 over a labelled dataset is best. Pure but for the run.

F1 is flat near its peak, so of the scores within half a point of the best one the middle is taken: as far as can be
from both sides, where other pictures would fall.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.vision.overlap import overlaps as iou_matrix
from tools.model.agreement import IOU

SCORES = tuple(round(0.1 + 0.05 * step, 2) for step in range(17))
FLAT = 0.005


def best_score(truths: Sequence[np.ndarray], detections: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the score with the best F1, and that F1.

    ``truths``: rows ``x1 y1 x2 y2 class_id`` of each picture; ``detections``: rows ``x1 y1 x2 y2 score class_id`` in
    the same pixels, best first, of the same pictures.
    """
    wanted = sum(len(truth) for truth in truths)
    hits = [_hits(truth, found) for truth, found in zip(truths, detections, strict=True)]
    scores = np.concatenate([found[:, 4] for found in detections]) if detections else np.zeros(0)
    right = np.concatenate(hits) if hits else np.zeros(0, bool)
    rates = [_f1(int(right[scores >= cut].sum()), int((scores >= cut).sum()), wanted) for cut in SCORES]
    best = max(rates, default=0.0)
    near = [score for score, rate in zip(SCORES, rates, strict=True) if rate >= best - FLAT]
    return near[len(near) // 2], best


def _hits(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Tell which detections are right: each claims the object of its class that it overlaps most, best score first.

    A detection's verdict depends only on those that score higher, so one pass serves every cut.
    """
    overlaps = iou_matrix(found[:, :4], truth[:, :4])
    overlaps[found[:, 5][:, None] != truth[:, 4][None, :]] = 0.0
    right = np.zeros(len(found), bool)
    for row in range(len(found)):
        best = int(overlaps[row].argmax()) if len(truth) else 0
        if len(truth) and overlaps[row, best] >= IOU:
            right[row] = True
            overlaps[:, best] = 0.0
    return right


def _f1(right: int, found: int, wanted: int) -> float:
    return 2 * right / (found + wanted) if found + wanted else 0.0
