"""NanoDet-Plus: one output ``(1, cells, classes + 4 * (reg_max + 1))``: class scores, then four distributions.

The scores have the sigmoid applied unless ``logits: true``. Each side's distance, in strides, is the mean of its
distribution over 0..reg_max, and is measured from the cell's corner, column * stride (NanoDet: from its centre).
Strides are 8, 16, 32 and 64; one that does not divide the input has a cell more. Boxes are clipped to the input. After
``get_bboxes`` of ``NanoDetPlusHead`` and ``decode_infer`` of its demo (github.com/RangiLyu/nanodet,
``nanodet/model/head/nanodet_plus_head.py``, ``demo_ncnn/nanodet.cpp``), best class of each cell only, as in the demo.
"""

from __future__ import annotations

import numpy as np

from agent.errors import ModelError
from agent.infer.decoders.base import (
    Candidates,
    Params,
    Shape,
    Size,
    any_in_row,
    cells,
    check_names,
    flag,
    whole_number,
)
from agent.infer.decoders.boxes import within
from agent.infer.decoders.nanodet import distances
from agent.infer.decoders.sigmoid import least_logit, sigmoid

STRIDES = (8, 16, 32, 64)


def expect_nanodet_plus(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the one output's shape. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    check_names(params, ("strides", "reg_max", "logits"))
    flag(params, "logits")
    value = params.get("strides", STRIDES)
    whole = isinstance(value, list | tuple) and value and all(type(stride) is int and stride > 0 for stride in value)
    if not whole:
        raise ModelError(f"decoder.strides {value!r}: a list of whole numbers is needed", field="decoder.strides")
    bins = whole_number(params, "reg_max", 7) + 1
    return ((1, len(cells(input_size, tuple(value))), num_classes + 4 * bins),)


def decode_nanodet_plus(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: distributions are read only for cells that do."""
    rows = outputs[0][0]
    logits = params.get("logits", False)
    likely = any_in_row(rows[:, :num_classes] >= (least_logit(score_floor) if logits else score_floor))
    found = rows.take(likely, axis=0)
    class_ids = found[:, :num_classes].argmax(axis=1)
    scores = found[np.arange(len(found)), class_ids]
    if logits:
        scores = sigmoid(scores)
        kept = scores >= score_floor
        found, class_ids, scores, likely = found[kept], class_ids[kept], scores[kept], likely[kept]
    cell = cells(input_size, tuple(params.get("strides", STRIDES)))[likely]
    sides = distances(found[:, num_classes:].reshape(len(found), 4, params.get("reg_max", 7) + 1)) * cell[:, 2:3]
    corners = cell[:, 0:2] * cell[:, 2:3]
    boxes = np.concatenate([corners - sides[:, 0:2], corners + sides[:, 2:4]], axis=1)
    return Candidates(within(boxes, input_size), scores, class_ids.astype(np.int32))
