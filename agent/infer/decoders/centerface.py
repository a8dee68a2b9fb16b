"""CenterFace: heatmap ``(1, 1, h, w)``, log sizes ``(1, 2, h, w)``, centre offsets ``(1, 2, h, w)`` at stride 4.

Sizes come before offsets, as in its export, each with the vertical part first; landmarks ``(1, 10, h, w)``, where there
are any, are left alone. Centre = (cell + offset + 0.5) * stride, size = exp(log size) * stride, and the box reaches one
size right and down from its top left corner clipped to the input: after ``decode`` of CenterFace
(github.com/Star-Clouds/CenterFace, ``prj-python/centerface.py``). One class; the heatmap has the sigmoid applied unless
``logits: true``.
"""

from __future__ import annotations

import numpy as np

from agent.errors import ModelError
from agent.infer.decoders.base import Candidates, Params, Shape, Size, check_names, flag, whole_number
from agent.infer.decoders.sigmoid import least_logit, sigmoid


def expect_centerface(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the three outputs' shapes. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    check_names(params, ("stride", "logits"))
    flag(params, "logits")
    stride = whole_number(params, "stride", 4)
    width, height = input_size
    if width % stride or height % stride:
        raise ModelError(
            f"decoder.stride {stride}: it does not divide the input's size, {width}x{height}", field="decoder.stride"
        )
    if num_classes != 1:
        raise ModelError(f"labels: CenterFace has one class, the manifest has {num_classes}", field="labels")
    rows, columns = height // stride, width // stride
    return (1, 1, rows, columns), (1, 2, rows, columns), (1, 2, rows, columns)


def decode_centerface(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``: sizes and offsets are read only there. ``num_classes`` is 1."""
    del num_classes
    stride = params.get("stride", 4)
    logits = params.get("logits", False)
    heatmap = next(output for output in outputs if output.shape[1] == 1)[0, 0]
    log_sizes, offsets = [output for output in outputs if output.shape[1] == 2][:2]
    rows, columns = np.nonzero(heatmap >= (least_logit(score_floor) if logits else score_floor))
    scores = heatmap[rows, columns]
    if logits:
        scores = sigmoid(scores)
        kept = scores >= score_floor
        rows, columns, scores = rows[kept], columns[kept], scores[kept]
    with np.errstate(over="ignore"):  # an infinite box is refused by the caller, in words
        sizes = np.exp(log_sizes[0][:, rows, columns]) * stride
    cell = np.stack([rows, columns]).astype(np.float32)
    corners = (cell + offsets[0][:, rows, columns] + np.float32(0.5)) * stride - sizes / 2
    limit = np.array([[input_size[1]], [input_size[0]]], np.float32)
    corners = np.clip(corners, 0.0, limit)
    ends = np.minimum(corners + sizes, limit)
    boxes = np.stack([corners[1], corners[0], ends[1], ends[0]], axis=1)
    return Candidates(boxes, scores, np.zeros(len(scores), np.int32))
