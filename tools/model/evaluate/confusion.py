"""Which classes a model takes for which. Pure.

A confusion is a table of counts: a row for each class that is there, and a last one for what is there only in the
model's eyes; a column for each class that the model says, and a last one for what it does not see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.vision.overlap import overlaps as iou_matrix
from tools.model.agreement import IOU
from tools.model.evaluate.detection import Truth

SCORE = 0.3


def confuse_boxes(truths: Sequence[Truth], detections: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """Return ``(num_classes + 1, num_classes + 1)`` counts of objects.

    Detections of at least :data:`SCORE` take, best first, the object that they overlap most, by at least IoU 0.5,
    whatever its class. What lies on a crowd is no false alarm.
    """
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for truth, rows in zip(truths, detections, strict=True):
        kept = rows[rows[:, 4] >= SCORE]
        kept = kept[np.argsort(-kept[:, 4], kind="stable")]
        overlaps = iou_matrix(kept[:, :4], truth.rows[:, :4])
        crowded = _cover(kept[:, :4], truth.crowd[:, :4])
        free = np.ones(len(truth.rows), bool)
        for place, class_id in enumerate(kept[:, 5].astype(int)):
            shares = np.where(free, overlaps[place], 0.0)
            best = int(shares.argmax()) if len(shares) else -1
            if best >= 0 and shares[best] >= IOU:
                counts[int(truth.rows[best, 4]), class_id] += 1
                free[best] = False
            elif not crowded[place]:
                counts[num_classes, class_id] += 1
        np.add.at(counts[:, num_classes], truth.rows[free, 4].astype(int), 1)
    return counts


def confuse_classes(labels: Sequence[int], best: Sequence[int], num_classes: int) -> np.ndarray:
    """Return the counts of pictures by true class and first answer (-1: none), of the same shape."""
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(counts, (np.array(labels, int), np.array([num_classes if one < 0 else one for one in best], int)), 1)
    return counts


def most_confused(counts: np.ndarray, most: int) -> np.ndarray:
    """Return the numbers of at most ``most`` classes that occur or are said, those most often mistaken first chosen.

    In order of their numbers. The last row and column are no class.
    """
    inner = counts[:-1, :-1]
    wrong = inner.sum(axis=0) + inner.sum(axis=1) - 2 * inner.diagonal()
    seen = counts[:-1].sum(axis=1) + counts[:, :-1].sum(axis=0)
    order = np.lexsort((-seen, -wrong))
    chosen: np.ndarray = np.sort(order[seen[order] > 0][:most])
    return chosen


def _cover(boxes: np.ndarray, crowds: np.ndarray) -> np.ndarray:
    """Tell for each box whether half of it or more lies within one of ``crowds``."""
    low = np.maximum(boxes[:, None, :2], crowds[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    inside = np.clip(high - low, 0.0, None).prod(axis=2)
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.finfo(np.float32).tiny)
    covered: np.ndarray = (inside / areas[:, None] >= IOU).any(axis=1)
    return covered
