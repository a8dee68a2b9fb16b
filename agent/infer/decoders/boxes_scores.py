"""Boxes and scores apart: boxes ``(1, n, 4)``, scores ``(1, n, classes)``, or ``(1, n)`` where there is one class.

The plain form in which many models end (YOLO-NAS, YOLOv4 for PyTorch, SSD without its last step, graphs cut by hand).
With ``labels: true`` there is a third output: scores are ``(1, n)``, and labels ``(1, n)`` are class numbers, as
torchvision's detectors and the exported post-processing of RT-DETR write them. The leading 1 may be missing throughout.

``form`` says how a box is written: ``xyxy`` (the default), ``yxyx``, ``xywh`` (top left corner and size) or ``cxcywh``
(centre and size); ``normalised: true``: in shares of the input's sides. ``activation``: what is still to be applied to
the scores, ``none``, ``sigmoid`` or ``softmax``. ``background``: the scores have a column more for it, ``first`` or
``last``. ``class_offset``: the number among ``labels`` that means the manifest's first (torchvision: 1). The best class
of each box is taken. Overlaps are merged unless ``nms: none``, where the model has done it.

The reference is torchvision's own answer (``SSD.postprocess_detections`` of SSDLite), and for raw pairs a softmax, a
threshold on the best class and torchvision's ``batched_nms``. RetinaNet and Faster R-CNN write the form with labels.
"""

from __future__ import annotations

import numpy as np

from agent.errors import OutputError
from agent.infer.decoders.base import (
    Candidates,
    Expected,
    Output,
    Params,
    Size,
    check_names,
    flag,
    one_of,
    whole_number,
)
from agent.infer.decoders.boxes import FORMS, in_pixels, to_xyxy
from agent.infer.decoders.sigmoid import least_logit, sigmoid

_ACTIVATIONS = ("none", "sigmoid", "softmax")
_BACKGROUNDS = ("none", "first", "last")
_BOXES = ("boxes", "box", "dets", "loc")
_SCORES = ("scores", "score", "conf", "prob", "cls", "logits")
_LABELS = ("labels", "label", "classes", "class")


def expect_boxes_scores(*, input_size: Size, params: Params, num_classes: int) -> tuple[Expected, ...]:
    """Return the two or three outputs. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    del input_size
    check_names(params, ("form", "normalised", "activation", "background", "labels", "class_offset"))
    one_of(params, "form", FORMS, "xyxy")
    one_of(params, "activation", _ACTIVATIONS, "none")
    flag(params, "normalised")
    whole_number(params, "class_offset", 0, least=0)
    columns = num_classes + (one_of(params, "background", _BACKGROUNDS, "none") != "none")
    boxes = Output(((1, -1, 4), (-1, 4), (1, -1, 1, 4)), "boxes", _BOXES)
    if flag(params, "labels"):
        return (
            boxes,
            Output(((1, -1), (-1,)), "scores", _SCORES),
            Output(((1, -1), (-1,)), "labels", _LABELS, whole=True),
        )
    single = ((1, -1), (-1,)) if columns == 1 else ()
    return boxes, Output(((1, -1, columns), (-1, columns), *single), "scores", _SCORES)


def decode_boxes_scores(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``. Raises :class:`OutputError`: not as many scores as boxes."""
    boxes = outputs[0].reshape(-1, 4)
    if params.get("labels", False):
        scores, labels = outputs[1].reshape(-1), outputs[2].reshape(-1)
        _check_count(len(boxes), len(scores), len(labels))
        kept = np.flatnonzero(scores >= score_floor)
        scores = scores[kept]
        class_ids = np.rint(labels[kept]).astype(np.int32) - params.get("class_offset", 0)
    else:
        background = params.get("background", "none")
        table = outputs[1].reshape(-1, num_classes + (background != "none"))
        _check_count(len(boxes), len(table))
        kept, scores, class_ids = best_classes(table, params.get("activation", "none"), background, score_floor)
    found = to_xyxy(boxes[kept], params.get("form", "xyxy"))
    return Candidates(in_pixels(found, input_size) if params.get("normalised", False) else found, scores, class_ids)


def best_classes(
    table: np.ndarray, activation: str, background: str, floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which rows of ``(n, classes)`` have a class that scores at least ``floor``, its score and its number."""
    if activation == "softmax":
        weights = np.exp(table - table.max(axis=1, keepdims=True))
        table = weights / weights.sum(axis=1, keepdims=True)
    table = {"first": table[:, 1:], "last": table[:, :-1]}.get(background, table)
    best = table.max(axis=1)
    if activation == "sigmoid":
        kept = np.flatnonzero(best >= least_logit(floor))
        scores = sigmoid(best[kept])
        kept, scores = kept[scores >= floor], scores[scores >= floor]
    else:
        kept = np.flatnonzero(best >= floor)
        scores = best[kept]
    return kept, scores, table[kept].argmax(axis=1).astype(np.int32)


def _check_count(boxes: int, *others: int) -> None:
    if any(count != boxes for count in others):
        raise OutputError(
            f"outputs: {boxes} boxes and {', '.join(map(str, others))} scores or labels: they do not belong together; "
            "name the right ones in decoder.outputs"
        )
