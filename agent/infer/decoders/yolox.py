"""YOLOX: one output ``(1, cells, 5 + classes)``, rows ``x y w h objectness class…``, sigmoid applied by the model.

As exported, ``x y w h`` are still relative to their cell: centre = (xy + cell) * stride, size = exp(wh) * stride, cells
in the order of ``strides``. With ``decoded: true`` (exported with ``--decode_in_inference``) they are pixels already.
The score is objectness times the best class; after ``demo_postprocess`` and ``postprocess`` of YOLOX
(github.com/Megvii-BaseDetection/YOLOX, ``yolox/utils/demo_utils.py``, ``yolox/utils/boxes.py``).
"""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Candidates, Params, Shape, Size, cells_by_column, check_names, flag, strides_of
from agent.infer.decoders.boxes import of_columns


def expect_yolox(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the one output's shape. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    check_names(params, ("strides", "decoded"))
    flag(params, "decoded")
    width, height = input_size
    anchors = sum((width // stride) * (height // stride) for stride in strides_of(params, input_size))
    return ((1, anchors, 5 + num_classes),)


def decode_yolox(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: objectness is looked at first, since no score exceeds it."""
    rows = next(output for output in outputs if output.shape[-1] == 5 + num_classes)[0]
    likely = (rows[:, 4] >= score_floor).nonzero()[0]
    found = rows.take(likely, axis=0)
    class_ids = found[:, 5:].argmax(axis=1)
    scores = found[:, 4] * found[np.arange(len(found)), 5 + class_ids]
    kept = (scores >= score_floor).nonzero()[0]
    if len(kept) < len(found):
        likely, found, class_ids, scores = likely[kept], found[kept], class_ids[kept], scores[kept]
    x, y, width, height = found[:, 0:4].T.copy()
    if not params.get("decoded", False):
        strides = tuple(params.get("strides", (8, 16, 32)))
        column, row, stride = cells_by_column(input_size, strides).take(likely, axis=1)
        x, y = (x + column) * stride, (y + row) * stride
        with np.errstate(over="ignore"):  # an infinite box is refused by the caller, in words
            width, height = np.exp(width) * stride, np.exp(height) * stride
    across, down = width / 2, height / 2
    boxes = of_columns(x - across, y - down, x + across, y + down)
    return Candidates(boxes, scores, class_ids.astype(np.int32))
