"""End-to-end YOLO (YOLOv10, YOLO26, and any Ultralytics model exported with ``nms=True``): ``(1, rows, 6)``.

Ultralytics since 8.4 exports the end-to-end head only with ``nms=False``; else these models write ``yolov8``'s output.

Rows are ``x1 y1 x2 y2 score class`` in input pixels, usually 300, best first, filled up with rows that score 0. Nothing
overlaps that should not, so that there is no NMS. After the end-to-end branch of ``non_max_suppression`` of Ultralytics
(github.com/ultralytics/ultralytics, ``ultralytics/utils/nms.py``). ``extra`` further numbers a row (masks, key points)
are left alone.
"""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Candidates, Params, Shape, Size, check_names, whole_number


def expect_yolo_end2end(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the one output's shape. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    del input_size, num_classes
    check_names(params, ("extra",))
    return ((1, -1, 6 + whole_number(params, "extra", 0, least=0)),)


def decode_yolo_end2end(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``."""
    del input_size, params, num_classes
    rows = outputs[0][0]
    found = rows[rows[:, 4] >= score_floor]
    return Candidates(found[:, 0:4], found[:, 4], np.rint(found[:, 5]).astype(np.int32))
