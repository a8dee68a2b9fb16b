"""DETR and RT-DETR: for each query logits ``(1, queries, …)`` and a box ``(1, queries, 4)``, centre and size in shares.

``detr``: a softmax over the classes and a last column that means no object; the best class of each query. After
``DetrImageProcessor.post_process_object_detection`` (github.com/huggingface/transformers,
``models/detr/image_processing_detr.py``); Conditional-DETR and kin are ``rtdetr`` in this.

``rtdetr``: a sigmoid; the best ``top`` (default: as many as queries) of all pairs of query and class, so that a query
may be answered twice. After ``RTDetrImageProcessor.post_process_object_detection`` (there,
``models/rt_detr/image_processing_rt_detr.py``) and ``RTDETRPostProcessor`` (github.com/lyuwenyu/RT-DETR). With
``joined: true`` boxes and scores, sigmoid applied, stand in one output ``(1, queries, 4 + classes)``, as Ultralytics
exports it; there the best class of each query is taken, as ``RTDETRPredictor.postprocess`` does.

Neither needs NMS. An RT-DETR exported with its post-processing writes labels, boxes and scores: ``boxes_scores`` with
``labels: true`` and ``nms: none`` reads them.
"""

from __future__ import annotations

import numpy as np

from agent.errors import OutputError
from agent.infer.decoders.base import Candidates, Expected, Output, Params, Size, check_names, flag, whole_number
from agent.infer.decoders.boxes import from_centres, in_pixels
from agent.infer.decoders.boxes_scores import best_classes
from agent.infer.decoders.sigmoid import least_logit, sigmoid

_BOXES = Output(((1, -1, 4),), "boxes", ("pred_boxes", "boxes", "box"))
_LOGITS = ("logits", "pred_logits", "scores", "score", "cls", "class")


def expect_detr(*, input_size: Size, params: Params, num_classes: int) -> tuple[Expected, ...]:
    """Return the two outputs. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    del input_size
    check_names(params, ())
    return Output(((1, -1, num_classes + 1),), "logits", _LOGITS), _BOXES


def decode_detr(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return the queries that score at least ``score_floor``."""
    del params, num_classes
    logits, boxes = _pair(outputs)
    kept, scores, class_ids = best_classes(logits, "softmax", "last", score_floor)
    return Candidates(in_pixels(from_centres(boxes[kept]), input_size), scores, class_ids)


def expect_rtdetr(*, input_size: Size, params: Params, num_classes: int) -> tuple[Expected, ...]:
    """Return the outputs. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    del input_size
    if flag(params, "joined"):
        check_names(params, ("joined",))
        return ((1, -1, 4 + num_classes),)
    check_names(params, ("joined", "top"))
    whole_number(params, "top", 300)
    return Output(((1, -1, num_classes),), "logits", _LOGITS), _BOXES


def decode_rtdetr(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return the pairs of query and class that score at least ``score_floor``, the best ``top`` of them."""
    if params.get("joined", False):
        rows = outputs[0][0]
        kept, scores, class_ids = best_classes(rows[:, 4:], "none", "none", score_floor)
        return Candidates(in_pixels(from_centres(rows[kept]), input_size), scores, class_ids)
    logits, boxes = _pair(outputs)
    flat = logits.reshape(-1)
    pairs = np.flatnonzero(flat >= least_logit(score_floor))
    pairs = pairs[np.argsort(-flat[pairs], kind="stable")[: params.get("top", len(boxes))]]
    scores = sigmoid(flat[pairs])
    pairs, scores = pairs[scores >= score_floor], scores[scores >= score_floor]
    found = in_pixels(from_centres(boxes[pairs // num_classes]), input_size)
    return Candidates(found, scores, (pairs % num_classes).astype(np.int32))


def _pair(outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    logits, boxes = outputs[0][0], outputs[1][0]
    if len(logits) != len(boxes):
        raise OutputError(
            f"outputs: {len(boxes)} boxes and {len(logits)} rows of logits do not belong together; name the right ones "
            "in decoder.outputs"
        )
    return logits, boxes
