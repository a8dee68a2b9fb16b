"""SSDLite of torchvision with random heads: boxes and scores apart in three forms, and TensorFlow's operator on top.

- ``boxes_scores_labels``: the model's own answer, boxes, labels and scores after its post-processing.
- ``boxes_scores``: what its heads say, boxes decoded by its ``BoxCoder``, logits with the background first; the
  reference is a softmax, the best class, a threshold and ``torchvision.ops.batched_nms``.
- ``ssd``: ``TFLite_Detection_PostProcess`` on the same heads, written out below after
  ``tensorflow/lite/kernels/detection_postprocess.cc`` (fast NMS, one class a box); the reference scales its corners.

Run by torch on real pictures, not exported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.infer.references import making, recording  # first: it sets the environment

# isort: split
import numpy as np
import torch
import torchvision
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

SIDE, LABELS = 320, 91
SCORE, IOU = 0.25, 0.5


class Spread(torch.nn.Module):
    """A head's features with the same mean and deviation in every picture."""

    def __init__(self, below: torch.nn.Module, channels: int) -> None:
        super().__init__()
        self.below, self.level = below, torch.nn.InstanceNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.below(x)
        return self.level(x) if x.shape[-1] > 1 else x


def model_of(batch: torch.Tensor) -> torch.nn.Module:
    torch.manual_seed(5)
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, score_thresh=SCORE, nms_thresh=IOU)
    making.settle(model.backbone, batch)
    heads = model.head
    for branch in [*heads.classification_head.module_list, *heads.regression_head.module_list]:
        branch[0] = Spread(branch[0], branch[1].in_channels)
    with torch.no_grad():
        features = list(model.backbone(batch).values())
        for x, boxes, classes in zip(
            features, heads.regression_head.module_list, heads.classification_head.module_list, strict=True
        ):
            boxes[1].weight *= 1.0 / boxes(x).std()
            logits = classes(x)
            classes[1].weight *= 3.0 / logits.std()
            classes[1].bias.zero_()
        every = torch.cat([heads_of(model.eval(), tensor[None])[1] for tensor in batch])
        low, high = 0.0, 30.0
        for _ in range(20):  # about twenty boxes a picture shall score
            middle = (low + high) / 2
            shifted = every + torch.nn.functional.one_hot(torch.tensor(0), LABELS) * middle
            many = (torch.softmax(shifted, -1)[:, 1:].amax(1) > SCORE).sum() > 20 * len(batch)
            low, high = (middle, high) if many else (low, middle)
        for classes in heads.classification_head.module_list:
            classes[1].bias[::LABELS] = low
    return model


def heads_of(model: torch.nn.Module, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Encoded boxes, logits and default boxes (xyxy) of one picture."""
    from torchvision.models.detection.image_list import ImageList

    features = list(model.backbone(tensor).values())
    out = model.head(features)
    anchors = model.anchor_generator(ImageList(tensor, [(SIDE, SIDE)]), features)[0]
    return out["bbox_regression"][0], out["cls_logits"][0], anchors


def tflite_detection_postprocess(
    encoded: np.ndarray, scores: np.ndarray, anchors: np.ndarray, most: int = 40
) -> list[np.ndarray]:
    """The operator: boxes ``ty tx th tw`` with scales 10 10 5 5, anchors ``y x h w``, label 0 is the background."""
    y = encoded[:, 0] / 10 * anchors[:, 2] + anchors[:, 0]
    x = encoded[:, 1] / 10 * anchors[:, 3] + anchors[:, 1]
    h = 0.5 * np.exp(encoded[:, 2] / 5) * anchors[:, 2]
    w = 0.5 * np.exp(encoded[:, 3] / 5) * anchors[:, 3]
    boxes = np.stack([y - h, x - w, y + h, x + w], 1)
    best = scores[:, 1:].max(1)
    order = [index for index in np.argsort(-best, kind="stable") if best[index] >= 0.05]
    chosen: list[int] = []
    for index in order:
        if len(chosen) == most:
            break
        if all(_iou(boxes[index], boxes[other]) <= 0.6 for other in chosen):
            chosen.append(int(index))
    out = [np.zeros((1, most, 4), np.float32), np.zeros((1, most), np.float32), np.zeros((1, most), np.float32)]
    out[0][0, : len(chosen)] = boxes[chosen]
    out[1][0, : len(chosen)] = scores[chosen, 1:].argmax(1)
    out[2][0, : len(chosen)] = best[chosen]
    return [*out, np.array([len(chosen)], np.float32)]


def _iou(one: np.ndarray, two: np.ndarray) -> float:
    sides = np.maximum(np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2]), 0)
    inter = sides[0] * sides[1]
    return inter / (np.prod(one[2:] - one[:2]) + np.prod(two[2:] - two[:2]) - inter)


def labels_form(model: torch.nn.Module, tensor: torch.Tensor) -> tuple[list[np.ndarray], np.ndarray]:
    found = model.postprocess_detections(*_for_postprocess(model, tensor))[0]
    boxes, scores, labels = (found[name].numpy() for name in ("boxes", "scores", "labels"))
    rows = np.concatenate([boxes, scores[:, None], labels[:, None] - 1], 1)
    return [boxes, labels.astype(np.int64), scores], rows


def _for_postprocess(model: torch.nn.Module, tensor: torch.Tensor):
    encoded, logits, anchors = heads_of(model, tensor)
    return {"bbox_regression": encoded[None], "cls_logits": logits[None]}, [anchors], [(SIDE, SIDE)]


def pair_form(model: torch.nn.Module, tensor: torch.Tensor) -> tuple[list[np.ndarray], np.ndarray]:
    encoded, logits, anchors = heads_of(model, tensor)
    boxes = recording.trim(model.box_coder.decode_single(encoded, anchors).numpy())[None] / np.float32(SIDE)
    table = recording.trim(logits.numpy())[None]
    kept = torch.softmax(logits, -1)[:, 1:].max(1).values.numpy() > 0.22
    nothing = np.zeros(LABELS, np.float32)
    nothing[0] = 20.0
    boxes, table = recording.thin(boxes, kept, 0.0), recording.thin(table, kept, nothing)
    scores, label = torch.softmax(torch.from_numpy(table[0]), -1)[:, 1:].max(1)
    mask = scores > SCORE
    found = torch.from_numpy(boxes[0])[mask] * SIDE
    keep = torchvision.ops.batched_nms(found, scores[mask], label[mask], IOU)
    rows = torch.cat([found, scores[mask, None], label[mask, None].float()], 1)[keep].numpy()
    return [boxes, table], rows


def tflite_form(model: torch.nn.Module, tensor: torch.Tensor) -> tuple[list[np.ndarray], np.ndarray]:
    encoded, logits, anchors = (part.numpy() for part in heads_of(model, tensor))
    centres, sizes = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    yxhw = np.concatenate([centres[:, ::-1], sizes[:, ::-1]], 1) / SIDE
    scores = torch.softmax(torch.from_numpy(logits), -1).numpy()
    outputs = [recording.trim(out) for out in tflite_detection_postprocess(encoded[:, [1, 0, 3, 2]], scores, yxhw)]
    rows = [
        [*(np.array([box[1], box[0], box[3], box[2]]) * SIDE), score, label]
        for box, label, score in list(zip(*(out[0] for out in outputs[:3]), strict=True))[: int(outputs[3][0])]
        if score > SCORE
    ]
    return outputs, np.array(rows).reshape(-1, 6)


FORMS = {
    "boxes_scores_labels": (
        labels_form, "boxes_scores", {"labels": True, "class_offset": 1, "nms": "none"},
        [("boxes", "tensor(float)"), ("labels", "tensor(int64)"), ("scores", "tensor(float)")], [None] * 3,
        "torchvision's SSD.postprocess_detections",
    ),
    "boxes_scores": (
        pair_form, "boxes_scores", {"normalised": True, "activation": "softmax", "background": "first"},
        [("boxes", "tensor(float)"), ("scores", "tensor(float)")], [-1, -1],
        "torchvision's BoxCoder and batched_nms, the best class of each box",
    ),
    "ssd": (
        tflite_form, "ssd", {"class_offset": 0},
        [
            ("TFLite_Detection_PostProcess", "tensor(float)"), ("TFLite_Detection_PostProcess:1", "tensor(float)"),
            ("TFLite_Detection_PostProcess:2", "tensor(float)"), ("TFLite_Detection_PostProcess:3", "tensor(float)"),
        ],
        [None] * 4, "TFLite_Detection_PostProcess, written out",
    ),
}  # fmt: skip


def make(name: str) -> None:
    function, kind, params, info, axes, words = FORMS[name]
    if name == "ssd":
        params = {**params, "outputs": [output for output, _ in info]}
    spec = recording.spec_of(
        kind, params, classes=LABELS - 1, iou=IOU, most=300, name="images", shape=(1, 3, SIDE, SIDE), color="RGB",
        resize="stretch", scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
    )  # fmt: skip
    frames = making.pictures()[:40]
    inputs = [torch.from_numpy(tensor) for tensor in making.tensors(spec, frames)]
    model = model_of(torch.cat(inputs[:8]))

    def cases() -> Iterator[recording.Case]:
        for frame, tensor in zip(frames, inputs, strict=True):
            with torch.no_grad():
                outputs, rows = function(model, tensor)
            size = (frame.shape[1], frame.shape[0])
            rows = rows.astype(np.float64)
            rows[:, :4] = making.back_to_picture(rows[:, :4], spec.input, size)
            yield recording.Case(size, outputs, making.visible(rows))

    words = f"torchvision {torchvision.__version__} ssdlite320_mobilenet_v3_large with random weights; {words}"
    made = recording.Recording(spec, SCORE, words, info, making.worth(cases()))
    recording.save(making.HERE / f"{name}.npz", made, axes)


if __name__ == "__main__":
    for name in sys.argv[1:] or FORMS:
        make(name)
