"""YOLOv8, YOLO11, YOLO12 and kin: one output ``(1, 4 + classes, cells)``, a column a cell: ``x y w h class…``.

``x y`` is the box's centre, all four in input pixels, the sigmoid is applied, there is no objectness. After
``non_max_suppression`` of Ultralytics (github.com/ultralytics/ultralytics, ``ultralytics/utils/nms.py``,
``multi_label`` off). Models for masks or key points write ``extra`` further numbers a cell, which are left alone; with
``rows: true`` the output was transposed, ``(1, cells, 4 + classes)``.
"""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Candidates, Params, Shape, Size, check_names, flag, strides_of, whole_number
from agent.infer.decoders.boxes import from_centres


def expect_yolov8(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the one output's shape. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    check_names(params, ("strides", "extra", "rows"))
    width, height = input_size
    cells = sum((width // stride) * (height // stride) for stride in strides_of(params, input_size))
    numbers = 4 + num_classes + whole_number(params, "extra", 0, least=0)
    return ((1, cells, numbers),) if flag(params, "rows") else ((1, numbers, cells),)


def decode_yolov8(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: boxes are read only there."""
    del input_size
    table = outputs[0][0].T if params.get("rows", False) else outputs[0][0]
    likely = np.flatnonzero(table[4 : 4 + num_classes].max(axis=0) >= score_floor)
    found = table[: 4 + num_classes, likely].T
    class_ids = found[:, 4:].argmax(axis=1)
    scores = found[np.arange(len(found)), 4 + class_ids]
    return Candidates(from_centres(found), scores, class_ids.astype(np.int32))
