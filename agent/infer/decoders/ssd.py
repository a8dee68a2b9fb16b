"""SSD with TensorFlow's post-processing inside: boxes ``(1, n, 4)``, classes and scores ``(1, n)``, and their number.

Boxes are ``y1 x1 y2 x2``, shares of the input's sides; classes are numbers, scores have the sigmoid applied, and NMS is
done. What lies beyond the number of detections is no detection; a file may lack that output. ``class_offset`` is the
number that means the first label: 1 (the default) as in TensorFlow's label maps, where 0 is the background, 0 after
TensorFlow Lite's operator. After ``TFLite_Detection_PostProcess``
(github.com/tensorflow/tensorflow, ``tensorflow/lite/kernels/detection_postprocess.cc``) and ``post_processing.py`` of
the Object Detection API (github.com/tensorflow/models).

Classes and scores have one shape: they are told apart by name (``detection_classes``, ``detection_scores``), else the
manifest names all in ``outputs``.
"""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Candidates, Expected, Output, Params, Size, check_names, whole_number
from agent.infer.decoders.boxes import in_pixels, to_xyxy

_OUTPUTS = (
    Output(((1, -1, 4),), "boxes", ("detection_boxes", "detection_box", "boxes", "box")),
    Output(((1, -1),), "classes", ("detection_classes", "detection_class", "classes", "class", "label"), whole=True),
    Output(((1, -1),), "scores", ("detection_scores", "detection_score", "scores", "score")),
    Output(((1,), (1, 1), ()), "number", ("num_detections", "num_detection", "num"), whole=True, optional=True),
)


def expect_ssd(*, input_size: Size, params: Params, num_classes: int) -> tuple[Expected, ...]:
    """Return the outputs. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    del input_size, num_classes
    check_names(params, ("class_offset",))
    whole_number(params, "class_offset", 1, least=0)
    return _OUTPUTS


def decode_ssd(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return what scores at least ``score_floor``, of the detections that are counted."""
    del num_classes
    boxes, classes, scores = (output[0] for output in outputs[:3])
    count = len(scores)
    if len(outputs) > len(_OUTPUTS) - 1:
        count = min(count, max(0, int(outputs[3].reshape(-1)[0])))
    kept = np.flatnonzero(scores[:count] >= score_floor)
    class_ids = np.rint(classes[kept]).astype(np.int32) - params.get("class_offset", 1)
    return Candidates(in_pixels(to_xyxy(boxes[kept], "yxyx"), input_size), scores[kept], class_ids)
