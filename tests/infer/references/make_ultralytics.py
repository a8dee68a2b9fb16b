"""YOLOv8, YOLO11, YOLO12, YOLOv10 and YOLO26 as Ultralytics builds, exports and reads them.

Architectures from the package's own yaml files with random weights, exported by its own exporter, run by ONNX Runtime,
read by its own ``non_max_suppression`` and ``scale_boxes``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.infer.references import making, recording  # first: it sets the environment

# isort: split
import numpy as np
import onnxruntime
import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.utils import nms, ops

SIZE = 320
SCORE, IOU, MOST = 0.25, 0.45, 300
AT = -1.0986  # the logit of 0.25
FAMILIES = {
    "yolov8": ("yolov8n.yaml", "yolov8", {}),
    "yolo11": ("yolo11n.yaml", "yolov8", {}),
    "yolo12": ("yolo12n.yaml", "yolov8", {}),
    "yolov8_seg": ("yolov8n-seg.yaml", "yolov8", {"extra": 32}),
    "yolov10": ("yolov10n.yaml", "yolo_end2end", {}),
    "yolo26": ("yolo26n.yaml", "yolo_end2end", {}),
}


def liven(model: torch.nn.Module, batch: torch.Tensor) -> None:
    """Give the head scores and boxes worth reading; the same spread of them in every picture."""
    head = model.model[-1]
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = True
    branches = [("cv2", "cv3"), ("one2one_cv2", "one2one_cv3")]
    for branch in (branch for pair in branches for name in pair for branch in getattr(head, name, None) or ()):
        branch[-2] = torch.nn.Sequential(branch[-2], torch.nn.InstanceNorm2d(branch[-1].in_channels))
    making.settle(model, batch)
    for boxes, classes in branches:
        if getattr(head, boxes, None) is None:
            continue
        for box_branch, class_branch in zip(getattr(head, boxes), getattr(head, classes), strict=True):
            for layer, act in ((box_branch[-1], _liven_boxes), (class_branch[-1], _liven_classes)):
                seen: list[torch.Tensor] = []
                hook = layer.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out))
                with torch.no_grad():
                    model(batch)
                hook.remove()
                act(layer, torch.cat([out.permute(0, 2, 3, 1).flatten(0, 2) for out in seen]))


def _liven_boxes(layer: torch.nn.Conv2d, out: torch.Tensor) -> None:
    whole = layer.out_channels == 4  # plain distances, not distributions
    with torch.no_grad():
        factor = (0.8 if whole else 2.5) / out.std().item()
        layer.weight *= factor
        layer.bias.fill_(2.0 if whole else 0.0)


def _liven_classes(layer: torch.nn.Conv2d, out: torch.Tensor) -> None:
    making.shape_logits(layer, out, spread=1.0, at=AT, share=0.01)


def reference(output: np.ndarray, kind: str, classes: int, size: tuple[int, int]) -> np.ndarray:
    """Ultralytics' answer in pixels of the picture."""
    prediction = torch.from_numpy(output.copy())
    shape = (size[1], size[0])
    end2end = kind == "yolo_end2end"
    found = nms.non_max_suppression(prediction, SCORE, IOU, max_det=MOST, nc=classes, end2end=end2end)[0]
    found[:, :4] = ops.scale_boxes((SIZE, SIZE), found[:, :4], shape)
    return making.visible(found[:, :6].numpy())


def make(name: str) -> None:
    file, kind, params = FAMILIES[name]
    torch.manual_seed(7)
    frames = making.pictures()
    spec = recording.spec_of(
        kind, params, classes=80, iou=IOU, most=MOST, name="images", shape=(1, 3, SIZE, SIZE), color="RGB",
        scale=1 / 255, anchor="center",
    )  # fmt: skip
    inputs = making.tensors(spec, frames)
    model = YOLO(file)
    liven(model.model, torch.from_numpy(np.concatenate(inputs[:8])))
    with tempfile.TemporaryDirectory() as folder:
        model.model.pt_path = model.model.yaml_file = str(Path(folder) / f"{name}.yaml")
        choice = {"nms": False} if kind == "yolo_end2end" else {}  # the exporter's word for the end-to-end head
        path = model.export(format="onnx", imgsz=SIZE, simplify=False, opset=17, **choice)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        Path(path).unlink()
    cases = making.worth(run(session, frames, inputs, kind))
    info = [(session.get_outputs()[0].name, session.get_outputs()[0].type)]
    words = f"ultralytics {ultralytics.__version__}, {file} with random weights, its exporter, its non_max_suppression"
    recording.save(
        making.HERE / f"{name}.npz",
        recording.Recording(spec, SCORE, words, info, cases),
        [1 if kind == "yolov8" else -1],
    )


def run(session: onnxruntime.InferenceSession, frames: list[np.ndarray], inputs: list[np.ndarray], kind: str):
    """Yield each picture's case."""
    for frame, tensor in zip(frames, inputs, strict=True):
        output = recording.trim(session.run(None, {session.get_inputs()[0].name: tensor})[0])
        size = (frame.shape[1], frame.shape[0])
        assert kind != "yolo_end2end" or output.shape[2] == 6, output.shape
        if kind == "yolov8":
            best = output[0, 4:84].max(axis=0)
            output = recording.thin(output, best > 0.23, 0.0, axis=1)
        yield recording.Case(size, [output], reference(output, kind, 80, size))


if __name__ == "__main__":
    for name in sys.argv[1:] or FAMILIES:
        make(name)
