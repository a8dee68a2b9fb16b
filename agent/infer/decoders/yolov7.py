"""YOLOv7: with its grid in the file (``grid: true``, the default) it writes the rows of YOLOv5, all decoded.

Without (``grid: false``) there is one output a stride, ``(1, anchors, rows, columns, 5 + classes)``, raw. With the
sigmoid over everything: centre = (xy * 2 - 0.5 + cell) * stride, size = (wh * 2) ** 2 * anchor, score = objectness
times the best class; after ``Detect`` and ``non_max_suppression`` of YOLOv7 (github.com/WongKinYiu/yolov7,
``models/yolo.py``, ``utils/general.py``). ``anchors`` then must be given as in the model's yaml, a list a stride:
width, height, width, height… in input pixels. Raw YOLOv5 heads are read the same way.
"""

from __future__ import annotations

import numpy as np

from agent.errors import ModelError
from agent.infer.decoders.base import (
    Candidates,
    Params,
    Shape,
    Size,
    check_names,
    flag,
    numbers_of,
    strides_of,
)
from agent.infer.decoders.boxes import from_centres
from agent.infer.decoders.sigmoid import least_logit, sigmoid
from agent.infer.decoders.yolov5 import decode_yolov5, expect_yolov5


def expect_yolov7(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the outputs' shapes. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    if flag(params, "grid", default=True):
        return expect_yolov5(
            input_size=input_size,
            params={name: value for name, value in params.items() if name != "grid"},
            num_classes=num_classes,
        )
    check_names(params, ("grid", "strides", "anchors"))
    strides = strides_of(params, input_size)
    anchors = _anchors_of(params, len(strides))
    width, height = input_size
    return tuple(
        (1, len(sizes) // 2, height // stride, width // stride, 5 + num_classes)
        for stride, sizes in zip(strides, anchors, strict=True)
    )


def _anchors_of(params: Params, levels: int) -> list[tuple[float, ...]]:
    """Return the anchors of each level. Raises :class:`ModelError`."""
    value = params.get("anchors")
    lists = value if isinstance(value, list | tuple) else ()
    if len(lists) != levels or any(isinstance(sizes, list | tuple) and len(sizes) % 2 for sizes in lists):
        raise ModelError(
            f"decoder.anchors {value!r}: without its grid the model's anchors are needed, a list a stride ({levels}) "
            "of width, height, width, height…, as in the model's yaml",
            field="decoder.anchors",
        )
    return [numbers_of({"anchors": sizes}, "anchors", None) for sizes in lists]


def decode_yolov7(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: objectness is looked at first, since no score exceeds it."""
    if params.get("grid", True):
        return decode_yolov5(
            outputs, input_size=input_size, params={}, num_classes=num_classes, score_floor=score_floor
        )
    levels = []
    for stride, sizes in zip(params.get("strides", (8, 16, 32)), params["anchors"], strict=True):
        grid = (input_size[1] // stride, input_size[0] // stride)
        level = next(output for output in outputs if output.shape[2:4] == grid)[0]
        levels.append(_level(level, stride, np.array(sizes, np.float32).reshape(-1, 2), score_floor))
    rows, scores, class_ids = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    return Candidates(from_centres(rows), scores, class_ids.astype(np.int32))


def _level(
    level: np.ndarray, stride: int, anchors: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centres and sizes, scores and classes of what one stride's head ``(anchors, h, w, 5 + classes)`` found."""
    anchor, row, column = np.nonzero(level[..., 4] >= least_logit(floor))
    found = level[anchor, row, column]
    class_ids = found[:, 5:].argmax(axis=1)
    scores = sigmoid(found[:, 4]) * sigmoid(found[np.arange(len(found)), 5 + class_ids])
    kept = np.flatnonzero(scores >= floor)
    shares = sigmoid(found[kept, 0:4]) * 2
    cell = np.stack([column[kept], row[kept]], axis=1).astype(np.float32)
    centres = (shares[:, 0:2] - np.float32(0.5) + cell) * stride
    sizes = shares[:, 2:4] ** 2 * anchors[anchor[kept]]
    return np.concatenate([centres, sizes], axis=1), scores[kept], class_ids[kept]
