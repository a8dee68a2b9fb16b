"""Further families that can be told from a graph: YOLO and kin, SSD, DETR, RetinaFace, plain boxes and scores.

The same rules as in :mod:`tools.model.manifest.families`, whose rows are tried first.
"""

from __future__ import annotations

import math
from typing import Any

from agent.infer.decoders.retinaface import MIN_SIZES, STEPS
from agent.types import TensorInfo
from tools.model.manifest.families import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NANODET_MEAN,
    NANODET_STD,
    Family,
    Proposal,
    count_cells,
    unless_inside,
)
from tools.model.manifest.graph import Graph

YOLO = {"color": "RGB", "resize": "letterbox", "anchor": "center", "pad": 114, "scale": 1 / 255}
YOLO_DOUBT = "pixels are fed as RGB 0..1, letterboxed about the centre with grey 114, as Ultralytics and YOLOv7 train"
YOLOV7_ANCHORS = [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]]
RETINAFACE_MEAN = (104.0, 117.0, 123.0)
_P5, _P6 = (8, 16, 32), (8, 16, 32, 64)
_COCO, _TENSORFLOW_COCO = 80, 90


def yolov5(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for three rows a cell: x y w h, objectness, classes, decoded."""
    for strides in (_P5, _P6):
        total = 3 * sum(count_cells(size, strides))
        for output in _of_rank(graph, 3):
            if output.shape[1] == total and output.shape[2] > 5:
                return Proposal(
                    "yolov5", output.shape[2] - 5, {"strides": list(strides)}, _fed(graph, YOLO), 0.25, 0.45,
                    doubts=(YOLO_DOUBT,),
                )  # fmt: skip
    return None


def yolov7(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for YOLOv7's raw heads: at each stride anchors, rows, columns, and numbers as YOLOv5's."""
    width, height = size
    heads = {out.shape[2:4]: out for out in _of_rank(graph, 5)}
    levels = [heads.get((height // stride, width // stride)) for stride in _P5]
    if any(level is None or level.shape[1] != 3 or level.shape[4] < 6 for level in levels):
        return None
    assert levels[0] is not None
    return Proposal(
        "yolov7",
        levels[0].shape[4] - 5,
        {"grid": False, "strides": list(_P5), "anchors": YOLOV7_ANCHORS},
        _fed(graph, YOLO),
        0.25,
        0.45,
        doubts=(YOLO_DOUBT, "the file holds no anchors: those of yolov7.yaml are taken; yolov7-tiny and YOLOv5 differ"),
    )


def yolov8(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for a column (or a row) a cell: x y w h, classes, and what masks or key points need."""
    for strides in (_P5, _P6):
        total = sum(count_cells(size, strides))
        for output in _of_rank(graph, 3):
            _, first, second = output.shape
            if total not in (first, second) or min(first, second) < 5:
                continue
            rows = first == total
            if rows and strides == _P6:
                continue  # NanoDet-Plus writes this
            numbers = (second if rows else first) - 4
            named = _named(graph)
            extra = numbers - named if 0 < named < numbers else 0
            params: dict[str, Any] = {"strides": list(strides)}
            params |= {"extra": extra} if extra else {}
            params |= {"rows": True} if rows else {}
            return Proposal("yolov8", numbers - extra, params, _fed(graph, YOLO), 0.25, 0.5, doubts=(YOLO_DOUBT,))
    return None


def yolo_end2end(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for one short list of rows: corners, score, class."""
    del size
    outputs = _of_rank(graph, 3)
    if len(graph.outputs) != 1 or not outputs or outputs[0].shape[2] != 6 or not 1 <= outputs[0].shape[1] <= 1000:
        return None
    named = _named(graph)
    unknown = f"how many classes there are is not in the file: {_COCO} is taken"
    doubts = (YOLO_DOUBT,) if named else (YOLO_DOUBT, unknown)
    return Proposal("yolo_end2end", named or _COCO, {}, _fed(graph, YOLO), 0.25, 0.5, doubts=doubts)


def nanodet_plus(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for one output with scores and 32 numbers of distributions a cell, at four strides."""
    total = sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in _P6)
    for output in _of_rank(graph, 3):
        if output.shape[1] == total and output.shape[2] > 32:
            logits = {} if "Sigmoid" in graph.tail_of(output.name) else {"logits": True}
            return Proposal(
                "nanodet_plus",
                output.shape[2] - 32,
                {"strides": list(_P6), "reg_max": 7, **logits},
                {"color": "BGR", "resize": "stretch", **unless_inside(graph, NANODET_MEAN, NANODET_STD, scale=1.0)},
                nms_iou=0.6,
                doubts=("pixels are fed as BGR with ImageNet's mean and deviation, stretched, as it is trained",),
            )
    return None


def retinaface(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for offsets, two scores and ten numbers of landmarks for each of its priors."""
    total = sum(
        math.ceil(size[0] / step) * math.ceil(size[1] / step) * len(sizes)
        for step, sizes in zip(STEPS, MIN_SIZES, strict=True)
    )
    outputs = _of_rank(graph, 3)
    if sorted(out.shape[2] for out in outputs if out.shape[1] == total) not in ([2, 4, 10], [2, 4]):
        return None
    conf = next(out for out in outputs if out.shape[2] == 2)
    softmax = {} if graph.made_by(conf.name) == "Softmax" else {"softmax": True}
    return Proposal(
        "retinaface",
        1,
        {"min_sizes": [list(sizes) for sizes in MIN_SIZES], "steps": list(STEPS), "variances": [0.1, 0.2], **softmax},
        {"color": "BGR", "resize": "letterbox", **unless_inside(graph, RETINAFACE_MEAN, (1.0, 1.0, 1.0), scale=1.0)},
        score=0.5,
        nms_iou=0.4,
        labels=("face",),
        doubts=("pixels are fed as BGR less 104 117 123, as RetinaFace is trained; its one class is called 'face'",),
    )


def ssd(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for TensorFlow's names of boxes, classes and scores."""
    del size
    names = {out.name.split(":")[0] for out in graph.outputs}
    if not {"detection_boxes", "detection_classes", "detection_scores"} <= names:
        return None
    named = _named(graph)
    return Proposal(
        "ssd",
        named or _TENSORFLOW_COCO,
        {"class_offset": 1},
        {"color": "RGB", "resize": "stretch"},
        doubts=(
            "pixels are fed as RGB 0..255, stretched, as the Object Detection API exports; classes count from 1",
            *(() if named else (f"how many classes there are is not in the file: {_TENSORFLOW_COCO} is taken",)),
        ),
    )


def detr(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for logits and boxes of queries, by DETR's names for them. RT-DETR ends in 300 queries, DETR in 100."""
    del size
    outputs = {out.name: out for out in _of_rank(graph, 3)}
    logits = outputs.get("logits") or outputs.get("pred_logits")
    boxes = outputs.get("pred_boxes")
    if logits is None or boxes is None or boxes.shape[2] != 4 or boxes.shape[1] != logits.shape[1]:
        return None
    sigmoid = logits.shape[1] >= 300
    doubt = (
        "300 queries or more are taken for a sigmoid (RT-DETR and kin); write 'detr' where a softmax is due"
        if sigmoid
        else "fewer than 300 queries are taken for a softmax with a last column for nothing (DETR); else write 'rtdetr'"
    )
    normal = {"scale": 1 / 255} if sigmoid else {"scale": 1 / 255, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return Proposal(
        "rtdetr" if sigmoid else "detr",
        logits.shape[2] - (not sigmoid),
        {},
        {"color": "RGB", "resize": "stretch", **_fed(graph, normal)},
        score=0.5,
        doubts=(doubt, "pixels are fed as RGB, stretched"),
    )


def boxes_scores(graph: Graph, size: tuple[int, int]) -> Proposal | None:
    """Look for two outputs of as many boxes as rows of scores."""
    del size
    if len(graph.outputs) != 2:
        return None
    for boxes, scores in (graph.outputs, graph.outputs[::-1]):
        if len(scores.shape) != 3 or boxes.shape != (*scores.shape[:2], 4):
            continue
        if "score" in boxes.name.lower() or "conf" in boxes.name.lower():
            continue
        ending = graph.made_by(scores.name)
        activation = {"Softmax": "none", "Sigmoid": "none"}.get(ending, "sigmoid")
        normalised = graph.made_by(boxes.name) == "Sigmoid"
        return Proposal(
            "boxes_scores",
            scores.shape[2],
            {"form": "xyxy", "normalised": normalised, "activation": activation, "background": "none"},
            {"color": "RGB", "resize": "letterbox", **_fed(graph, {"scale": 1 / 255})},
            doubts=(
                "boxes are taken for corners x1 y1 x2 y2 "
                + ("in shares of the input's sides" if normalised else "in input pixels")
                + ", no column of the scores for a background; correct decoder.form, normalised, background",
                "pixels are fed as RGB 0..1",
            ),
        )
    return None


def _of_rank(graph: Graph, rank: int) -> list[TensorInfo]:
    return [out for out in graph.outputs if len(out.shape) == rank and out.shape[0] == 1]


def _fed(graph: Graph, fields: dict[str, Any]) -> dict[str, Any]:
    """Return how pixels are fed, without the arithmetic that the graph does itself or that bytes do not take."""
    inside = graph.normalises or graph.input.dtype == "tensor(uint8)"
    return {name: value for name, value in fields.items() if not inside or name not in ("scale", "mean", "std")}


def _named(graph: Graph) -> int:
    """Return how many classes the exporter noted."""
    from tools.model.manifest.recognise import labels_in_metadata  # here: that module reads this one's table

    return len(labels_in_metadata(graph.metadata))


MORE: tuple[Family, ...] = (
    *(yolov5, yolov7, yolov8, nanodet_plus, retinaface, ssd, detr),
    *(yolo_end2end, boxes_scores),
)
"""Those that say least of themselves last."""
