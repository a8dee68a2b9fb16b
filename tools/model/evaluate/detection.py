"""How good detections are: COCO's mean average precision and what it is made of. Pure, but for the evaluator.

Truths are rows ``x1 y1 x2 y2 class_id``, detections rows ``x1 y1 x2 y2 score class_id``, both in pixels, one array a
picture. All figures are 0..1; None where the data set has nothing to judge by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tools.model.datasets.records import Picture
from tools.model.evaluate.predict import SCORE_FLOOR, evaluation_spec

__all__ = ["SCORE_FLOOR", "evaluation_spec"]

_AT_50, _AT_75 = 0, 5  # places among the evaluator's IoU thresholds, 0.50 to 0.95 in steps of 0.05
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)  # places among its ranges of area: up to 32x32, 96x96, and above
_LOWEST = 1e-9


@dataclass(frozen=True)
class ClassScore:
    """One class: its number, how many objects of it the truth has, and its average precision."""

    class_id: int
    objects: int
    ap_50_95: float
    ap_50: float


@dataclass(frozen=True)
class DetectionScores:
    """COCO's figures of one model, and its curve at IoU 0.50: the mean precision of the classes at each recall."""

    map_50_95: float
    map_50: float
    map_75: float
    small: float | None
    medium: float | None
    large: float | None
    per_class: tuple[ClassScore, ...]
    recalls: tuple[float, ...]
    precisions: tuple[float, ...]


@dataclass(frozen=True)
class Truth:
    """What is to be seen in one picture, in pixels; ``crowd`` rows count for nothing, ``areas`` as in ``Picture``."""

    rows: np.ndarray
    crowd: np.ndarray = field(default_factory=lambda: np.zeros((0, 5)))
    areas: np.ndarray | None = None

    @classmethod
    def of(cls, picture: Picture, size: tuple[int, int]) -> Truth:
        """Return the truth of a picture of this width and height."""
        return cls(to_pixels(picture.truth, *size), to_pixels(picture.crowd, *size), picture.areas)


def to_pixels(truth: np.ndarray, width: int, height: int) -> np.ndarray:
    """Turn rows ``class_id cx cy w h`` (relative) into ``x1 y1 x2 y2 class_id`` (pixels)."""
    half = truth[:, 3:5] / 2
    corners = np.concatenate([truth[:, 1:3] - half, truth[:, 1:3] + half], axis=1)
    return np.concatenate([corners * [width, height, width, height], truth[:, 0:1]], axis=1)


def mean_average_precision(
    truths: Sequence[np.ndarray], detections: Sequence[np.ndarray], num_classes: int
) -> tuple[float, float]:
    """Return COCO's mAP 50-95 and mAP 50 over pictures; 0 where the truth holds nothing."""
    scores = score_detections([Truth(rows) for rows in truths], detections, num_classes)
    return scores.map_50_95, scores.map_50


def score_detections(truths: Sequence[Truth], detections: Sequence[np.ndarray], num_classes: int) -> DetectionScores:
    """Judge the detections of a model as COCO does (at most 100 a picture)."""
    counts = np.zeros(num_classes, np.int64)
    for truth in truths:
        np.add.at(counts, truth.rows[:, 4].astype(np.int64), 1)
    table = _precisions(truths, detections, num_classes)
    known = np.flatnonzero(counts)
    curve = table[_AT_50, :, known, _ALL].mean(axis=0) if len(known) else np.zeros(table.shape[1])
    return DetectionScores(
        map_50_95=_mean(table[:, :, :, _ALL]) or 0.0,
        map_50=_mean(table[_AT_50, :, :, _ALL]) or 0.0,
        map_75=_mean(table[_AT_75, :, :, _ALL]) or 0.0,
        small=_mean(table[:, :, :, _SMALL]),
        medium=_mean(table[:, :, :, _MEDIUM]),
        large=_mean(table[:, :, :, _LARGE]),
        per_class=tuple(
            ClassScore(
                int(number),
                int(counts[number]),
                _mean(table[:, :, number, _ALL]) or 0.0,
                _mean(table[_AT_50, :, number, _ALL]) or 0.0,
            )
            for number in known
        ),
        recalls=tuple(np.linspace(0, 1, table.shape[1]).tolist()),
        precisions=tuple(curve.tolist()),
    )


def _precisions(truths: Sequence[Truth], detections: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """Return precisions ``(IoU threshold, recall, class, range of area)``; -1 where the truth has no such object."""
    from faster_coco_eval import COCO, COCOeval_faster  # of the extra "workshop", needed here only

    truth = COCO(
        {
            "images": [{"id": index} for index in range(len(truths))],
            "annotations": list(_annotations(truths)),
            "categories": [{"id": index, "name": str(index)} for index in range(num_classes)],
        }
    )
    # The evaluator cannot read an empty list: one detection of no worth, outside every picture, stands in for it.
    results = list(_results(detections)) or [
        {"image_id": 0, "category_id": 0, "bbox": [-9.0, -9.0, 1.0, 1.0], "score": _LOWEST}
    ]
    judge = COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=_silent)
    judge.evaluate()
    judge.accumulate()
    table: np.ndarray = np.asarray(judge.eval["precision"])[..., -1]
    return table


def _mean(table: np.ndarray) -> float | None:
    valid = table[table > -1]
    return float(valid.mean()) if valid.size else None


def _annotations(truths: Sequence[Truth]) -> Iterable[dict[str, Any]]:
    identity = 0
    for image, truth in enumerate(truths):
        areas = truth.areas if truth.areas is not None else (truth.rows[:, 2:4] - truth.rows[:, :2]).prod(axis=1)
        rows = [(row, float(area), 0) for row, area in zip(truth.rows.tolist(), areas, strict=True)]
        rows += [(row, (row[2] - row[0]) * (row[3] - row[1]), 1) for row in truth.crowd.tolist()]
        for (x1, y1, x2, y2, class_id), area, crowd in rows:
            identity += 1  # from 1: 0 means "not matched" to the evaluator
            yield {
                "id": identity,
                "image_id": image,
                "category_id": int(class_id),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": area,
                "iscrowd": crowd,
            }


def _results(detections: Sequence[np.ndarray]) -> Iterable[dict[str, Any]]:
    for image, rows in enumerate(detections):
        for x1, y1, x2, y2, score, class_id in rows.tolist():
            yield {
                "image_id": image,
                "category_id": int(class_id),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }


def _silent(*_: object) -> None:
    """Swallow the evaluator's table."""
