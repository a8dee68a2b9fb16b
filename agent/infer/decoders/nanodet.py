"""NanoDet: at each stride class scores ``(1, cells, classes)`` and box distributions ``(1, cells, 4 * (reg_max + 1))``.

Outputs are told apart by shape, not by order; where both have one shape, the scores come first, as in NanoDet's export.
The scores have the sigmoid applied unless ``logits: true``. Each side's distance from the cell's centre, in strides, is
the mean of a distribution over 0..reg_max: softmax, then the dot product with 0..reg_max. The centre is that of the
cell, (column + 0.5) * stride, and boxes are clipped to the input. After ``decode_infer`` and ``disPred2Bbox`` of
NanoDet (github.com/RangiLyu/nanodet, ``demo_ncnn/nanodet.cpp``), best class of each cell only.
"""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import (
    Candidates,
    Params,
    Shape,
    Size,
    any_in_row,
    cells,
    check_names,
    flag,
    strides_of,
    whole_number,
)
from agent.infer.decoders.boxes import of_columns, within
from agent.infer.decoders.sigmoid import least_logit, sigmoid


def expect_nanodet(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the outputs' shapes, two a stride. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    check_names(params, ("strides", "reg_max", "logits"))
    flag(params, "logits")
    bins = whole_number(params, "reg_max", 7) + 1
    width, height = input_size
    shapes: list[Shape] = []
    for stride in strides_of(params, input_size):
        count = (width // stride) * (height // stride)
        shapes += [(1, count, num_classes), (1, count, 4 * bins)]
    return tuple(shapes)


def decode_nanodet(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: distributions are read only for cells that do."""
    bins = params.get("reg_max", 7) + 1
    logits = params.get("logits", False)
    least = least_logit(score_floor) if logits else score_floor
    levels = [
        _likely(outputs, cells(input_size, (stride,)), num_classes, bins, least)
        for stride in params.get("strides", (8, 16, 32))
    ]
    found, sides, cell = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    class_ids = found.argmax(axis=1)
    scores = found[np.arange(len(found)), class_ids]
    if logits:
        scores = sigmoid(scores)
        kept = scores >= score_floor
        scores, class_ids, sides, cell = scores[kept], class_ids[kept], sides[kept], cell[kept]
    boxes = within(_boxes(sides.reshape(-1, 4, bins), cell), input_size)
    return Candidates(boxes, scores, class_ids.astype(np.int32))


def _likely(
    outputs: list[np.ndarray], cell: np.ndarray, num_classes: int, bins: int, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, distributions and cells of one level where some class reaches ``least``."""
    scores, distributions = _find(outputs, len(cell), num_classes, bins)
    rows = any_in_row(scores >= least)
    return scores.take(rows, axis=0), distributions.take(rows, axis=0), cell.take(rows, axis=0)


def _boxes(sides: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return xyxy from ``(n, 4, bins)`` distributions of the distances to left, top, right, bottom."""
    column, row, stride = cell.T
    far = distances(sides) * stride[:, np.newaxis]
    x, y = (column + np.float32(0.5)) * stride, (row + np.float32(0.5)) * stride
    return of_columns(x - far[:, 0], y - far[:, 1], x + far[:, 2], y + far[:, 3])


def distances(sides: np.ndarray) -> np.ndarray:
    """Return ``(n, 4)`` means over 0..reg_max, in strides, of ``(n, 4, bins)`` distributions before their softmax."""
    bins = sides.shape[2]
    weights = sides.reshape(-1, bins).T.copy()  # a bin a row: numpy goes along rows several times faster than across
    weights -= weights.max(axis=0)
    np.exp(weights, out=weights)
    means: np.ndarray = (np.arange(bins, dtype=np.float32) @ weights) / weights.sum(axis=0)
    return means.reshape(-1, 4)


def _find(outputs: list[np.ndarray], count: int, num_classes: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return this level's scores and distributions: by their shape, the scores first where both have the same."""
    level = [output for output in outputs if output.shape[1] == count]
    scores = next(output for output in level if output.shape[2] == num_classes)
    distributions = next(output for output in level if output.shape[2] == 4 * bins and output is not scores)
    return scores[0], distributions[0]
