"""YOLOv5: one output ``(1, 3 * cells, 5 + classes)``, rows ``x y w h objectness class…``, decoded by the model.

``x y`` is the box's centre, all four in input pixels, the sigmoid is applied. The score is objectness times the best
class; after ``non_max_suppression`` of YOLOv5 (github.com/ultralytics/yolov5, ``utils/general.py``, ``multi_label``
off). YOLOv7 with its grid in the file writes the same rows. ``anchors_per_cell`` is 3 unless said otherwise; P6 models
have the further stride 64.
"""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Candidates, Params, Shape, Size, check_names, strides_of, whole_number
from agent.infer.decoders.boxes import from_centres


def expect_yolov5(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the one output's shape. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    check_names(params, ("strides", "anchors_per_cell"))
    width, height = input_size
    cells = sum((width // stride) * (height // stride) for stride in strides_of(params, input_size))
    return ((1, cells * whole_number(params, "anchors_per_cell", 3), 5 + num_classes),)


def decode_yolov5(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: objectness is looked at first, since no score exceeds it."""
    del input_size, params
    rows = next(output for output in outputs if output.shape[-1] == 5 + num_classes)[0]
    found = rows[np.flatnonzero(rows[:, 4] >= score_floor)]
    class_ids = found[:, 5:].argmax(axis=1)
    scores = found[:, 4] * found[np.arange(len(found)), 5 + class_ids]
    kept = np.flatnonzero(scores >= score_floor)
    return Candidates(from_centres(found[kept]), scores[kept], class_ids[kept].astype(np.int32))
