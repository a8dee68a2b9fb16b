"""YOLOv5, YOLOv7, NanoDet-Plus, RetinaFace: each project's head and post-processing, on random features of pictures.

Head and post-processing are restated here in torch after the projects' sources, which each function names and
``check_heads`` holds them against; the features below the heads are a small random pyramid. Networks are run by torch,
not exported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from math import ceil

from tests.infer.references import making, recording  # first: it sets the environment

# isort: split
import numpy as np
import torch
import torchvision
from torch import nn

CLASSES = 20
ANCHORS5 = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
ANCHORS7 = [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]]
STRIDES = [8, 16, 32]


class Pyramid(nn.Module):
    """Random features at strides 8, 16, 32, 64, each picture's with mean 0 and deviation 1, and a layer on each."""

    def __init__(self, outputs: list[int], levels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*[self.block(a, b) for a, b in ((3, 16), (16, 32), (32, 48))])
        self.further = nn.ModuleList([self.block(48, 48) for _ in range(levels - 1)])
        self.level = nn.InstanceNorm2d(48)
        self.heads = nn.ModuleList(
            [nn.ModuleList([nn.Conv2d(48, channels, 1) for channels in outputs]) for _ in range(levels)]
        )

    @staticmethod
    def block(channels: int, more: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, more, 3, 2, 1), nn.BatchNorm2d(more), nn.ReLU())

    def forward(self, x: torch.Tensor) -> list[list[torch.Tensor]]:
        x = self.stem(x)
        found = [x]
        for block in self.further:
            x = block(x)
            found.append(x)
        return [[head(self.level(part)) for head in heads] for part, heads in zip(found, self.heads, strict=True)]


def network(outputs: list[int], levels: int, batch: torch.Tensor) -> Pyramid:
    torch.manual_seed(11)
    net = Pyramid(outputs, levels)
    making.settle(net, batch)
    return net


def rows(out: torch.Tensor, per: int) -> torch.Tensor:
    """``(b, anchors * per, h, w)`` as ``(b * anchors * h * w, per)``."""
    b, c, h, w = out.shape
    return out.view(b, c // per, per, h, w).permute(0, 1, 3, 4, 2).reshape(-1, per)


def liven(net: Pyramid, batch: torch.Tensor, number: int, per: int, spread: float, at: float, share: float) -> None:
    """Shape the logits of each level's head ``number``; its anchors' channels are shaped alike."""
    with torch.no_grad():
        levels = net(batch)
    for level, heads in zip(levels, net.heads, strict=True):
        layer, logits = heads[number], rows(level[number], per)
        scale = torch.nn.Linear(1, per)
        with torch.no_grad():
            scale.weight.fill_(1.0)
            scale.bias.fill_(0.0)
        making.shape_logits(scale, logits, spread, at, share)
        times = layer.out_channels // per
        with torch.no_grad():
            factor = scale.weight[0, 0]
            layer.weight *= factor
            layer.bias *= factor
            layer.bias += scale.bias.repeat(times)


# --- YOLOv5 and YOLOv7 -----------------------------------------------------------------------------------------------


def detect(levels: list[torch.Tensor], anchors: list[list[int]]) -> torch.Tensor:
    """``Detect.forward`` in inference (github.com/ultralytics/yolov5 and WongKinYiu/yolov7, ``models/yolo.py``)."""
    z = []
    for x, anchor, stride in zip(levels, anchors, STRIDES, strict=True):
        bs, _, ny, nx, no = x.shape
        yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
        grid = torch.stack((xv, yv), 2).view((1, 1, ny, nx, 2)).float()
        anchor_grid = torch.tensor(anchor).float().view(1, -1, 1, 1, 2)
        y = x.sigmoid()
        y[..., 0:2] = (y[..., 0:2] * 2.0 - 0.5 + grid) * stride
        y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * anchor_grid
        z.append(y.view(bs, -1, no))
    return torch.cat(z, 1)


def non_max_suppression(prediction: torch.Tensor, conf_thres: float, iou_thres: float, max_wh: int) -> np.ndarray:
    """``non_max_suppression`` (``utils/general.py`` of both), ``multi_label`` off, one picture."""
    x = prediction[0][prediction[0, :, 4] > conf_thres].clone()
    x[:, 5:] *= x[:, 4:5]
    box = torchvision.ops.box_convert(x[:, :4], "cxcywh", "xyxy")
    conf, j = x[:, 5:].max(1, keepdim=True)
    x = torch.cat((box, conf, j.float()), 1)[conf.view(-1) > conf_thres]
    x = x[x[:, 4].argsort(descending=True)]
    keep = torchvision.ops.nms(x[:, :4] + x[:, 5:6] * max_wh, x[:, 4], iou_thres)
    return x[keep[:300]].numpy()


def make_yolo(name: str, anchors: list[list[int]], max_wh: int, *, grid: bool) -> None:
    score, iou = 0.25, 0.45
    params = {} if name == "yolov5" else {"grid": grid, **({} if grid else {"anchors": anchors})}
    spec = recording.spec_of(
        name.split("_")[0], params, classes=CLASSES, iou=iou, most=300,
        name="images", shape=(1, 3, 320, 320), color="RGB", scale=1 / 255,
    )  # fmt: skip
    frames = making.pictures()
    inputs = [torch.from_numpy(tensor) for tensor in making.tensors(spec, frames)]
    batch = torch.cat(inputs[:8])
    net = network([3 * 4, 3, 3 * CLASSES], 3, batch)
    liven(net, batch, 0, 4, spread=1.0, at=10.0, share=1e-9)
    liven(net, batch, 1, 1, spread=1.0, at=-0.85, share=0.004)
    liven(net, batch, 2, CLASSES, spread=1.0, at=1.5, share=0.7)
    for heads in net.heads:  # boxes about their anchors
        with torch.no_grad():
            heads[0].bias.zero_()

    def cases() -> Iterator[recording.Case]:
        for frame, tensor in zip(frames, inputs, strict=True):
            with torch.no_grad():
                levels = [five_d(level) for level in net(tensor)]
            if grid:
                whole = recording.trim(detect(levels, anchors).numpy())
                outputs = [recording.thin(whole, whole[0, :, 4] > 0.24, 0.0)]
                prediction = torch.from_numpy(outputs[0])
            else:
                whole = [recording.trim(level.numpy()) for level in levels]
                outputs = [recording.thin(level, level[..., 4] > -1.2, -20.0) for level in whole]
                prediction = detect([torch.from_numpy(level) for level in outputs], anchors)
            found = non_max_suppression(prediction, score, iou, max_wh)
            yield case(frame, spec, outputs, found)

    outputs = ["output"] if grid else ["p3", "p4", "p5"]
    where = "ultralytics/yolov5" if name == "yolov5" else "WongKinYiu/yolov7"
    keep(name, spec, score, f"Detect and non_max_suppression of github.com/{where}, restated", outputs, cases())


def five_d(level: list[torch.Tensor]) -> torch.Tensor:
    """Boxes, objectness and classes of a level as ``(1, 3, h, w, 5 + classes)``."""
    parts = []
    for part, per in zip(level, (4, 1, CLASSES), strict=True):
        b, _, h, w = part.shape
        parts.append(part.view(b, 3, per, h, w).permute(0, 1, 3, 4, 2))
    return torch.cat(parts, -1).contiguous()


# --- NanoDet-Plus ----------------------------------------------------------------------------------------------------


def make_nanodet_plus() -> None:
    """``_forward_onnx`` and ``get_bboxes`` (github.com/RangiLyu/nanodet, ``nanodet_plus_head.py``), best class a cell.

    416 is no multiple of the stride 64: levels have ``ceil(side / stride)`` cells.
    """
    side, strides, score, iou, reg_max = 416, (8, 16, 32, 64), 0.3, 0.6, 7
    spec = recording.spec_of(
        "nanodet_plus", {"reg_max": reg_max}, classes=CLASSES, iou=iou, most=100, name="data",
        shape=(1, 3, side, side), resize="stretch", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395),
    )  # fmt: skip
    frames = making.pictures()
    inputs = [torch.from_numpy(tensor) for tensor in making.tensors(spec, frames)]
    batch = torch.cat(inputs[:8])
    net = network([CLASSES, 4 * (reg_max + 1)], 4, batch)
    liven(net, batch, 0, CLASSES, spread=1.0, at=-0.85, share=0.008)
    liven(net, batch, 1, 4 * (reg_max + 1), spread=2.0, at=10.0, share=1e-9)

    def cases() -> Iterator[recording.Case]:
        for frame, tensor in zip(frames, inputs, strict=True):
            with torch.no_grad():
                levels = net(tensor)
            parts = [torch.cat([c.sigmoid(), r], 1).flatten(start_dim=2) for c, r in levels]
            whole = recording.trim(torch.cat(parts, 2).permute(0, 2, 1).numpy())
            outputs = [recording.thin(whole, whole[0, :, :CLASSES].max(1) > 0.28, 0.0)]
            preds = torch.from_numpy(outputs[0][0])
            priors = []
            for stride in strides:  # get_single_level_center_priors: no half cell
                count = ceil(side / stride)
                y, x = torch.meshgrid(torch.arange(count) * stride, torch.arange(count) * stride, indexing="ij")
                priors.append(torch.stack([x.flatten(), y.flatten(), torch.full((count**2,), stride)], -1).float())
            prior = torch.cat(priors)
            project = torch.softmax(preds[:, CLASSES:].reshape(-1, reg_max + 1), 1) @ torch.arange(reg_max + 1.0)
            dis = project.reshape(-1, 4) * prior[:, 2:3]
            boxes = torch.cat([prior[:, :2] - dis[:, :2], prior[:, :2] + dis[:, 2:]], 1).clamp(0, side)
            conf, label = preds[:, :CLASSES].max(1)
            yield case(frame, spec, outputs, by_class(boxes, conf, label, score, iou))

    keep(
        "nanodet_plus", spec, score, "NanoDetPlusHead.get_bboxes of github.com/RangiLyu/nanodet, restated, best class",
        ["output"], cases(),
    )  # fmt: skip


# --- RetinaFace ------------------------------------------------------------------------------------------------------


def make_retinaface() -> None:
    """``PriorBox``, ``decode`` and the steps of ``detect.py`` (github.com/biubug6/Pytorch_Retinaface).

    ``py_cpu_nms`` there counts a pixel more on each side; ``torchvision.ops.nms`` in its place does not.
    """
    height, width, score, iou = 240, 320, 0.5, 0.4
    min_sizes, steps, variances = [[16, 32], [64, 128], [256, 512]], STRIDES, [0.1, 0.2]
    spec = recording.spec_of(
        "retinaface", {"min_sizes": min_sizes, "steps": steps, "variances": variances}, classes=1, iou=iou, most=750,
        name="input0", shape=(1, 3, height, width), mean=(104.0, 117.0, 123.0),
    )  # fmt: skip
    frames = making.pictures()
    inputs = [torch.from_numpy(tensor) for tensor in making.tensors(spec, frames)]
    batch = torch.cat(inputs[:8])
    net = network([8, 4, 20], 3, batch)
    liven(net, batch, 0, 4, spread=1.0, at=10.0, share=1e-9)
    for heads in net.heads:
        with torch.no_grad():
            heads[0].bias.zero_()
    liven(net, batch, 1, 2, spread=1.0, at=3.0, share=1e-9)
    with torch.no_grad():
        margins = [rows(level[1], 2) for level in net(batch)]
        for heads, margin in zip(net.heads, margins, strict=True):
            shift = torch.quantile((margin[:, 1] - margin[:, 0])[:200000], 0.995)
            heads[1].bias += torch.tensor([0.0, -shift]).repeat(2)

    def cases() -> Iterator[recording.Case]:
        for frame, tensor in zip(frames, inputs, strict=True):
            with torch.no_grad():
                levels = net(tensor)
            flat = [
                torch.cat([level[i].permute(0, 2, 3, 1).reshape(1, -1, per) for level in levels], 1)
                for i, per in enumerate((4, 2, 10))
            ]
            flat[1] = torch.softmax(flat[1], -1)
            kept = flat[1][0, :, 1].numpy() > 0.48
            outputs = [recording.thin(recording.trim(part.numpy()), kept, 0.0) for part in flat[:2]]
            loc, conf = (torch.from_numpy(part[0]) for part in outputs)
            anchors = []
            for k, step in enumerate(steps):
                for i, j in product(range(ceil(height / step)), range(ceil(width / step))):
                    for min_size in min_sizes[k]:
                        anchors += [(j + 0.5) * step / width, (i + 0.5) * step / height]
                        anchors += [min_size / width, min_size / height]
            priors = torch.tensor(anchors).view(-1, 4)
            boxes = torch.cat(
                (
                    priors[:, :2] + loc[:, :2] * variances[0] * priors[:, 2:],
                    priors[:, 2:] * torch.exp(loc[:, 2:] * variances[1]),
                ),
                1,
            )
            boxes[:, :2] -= boxes[:, 2:] / 2
            boxes[:, 2:] += boxes[:, :2]
            boxes *= torch.tensor([width, height, width, height])
            found = by_class(boxes, conf[:, 1], torch.zeros(len(conf)), score, iou)
            yield case(frame, spec, outputs, found)

    words = "PriorBox, decode and detect.py of github.com/biubug6/Pytorch_Retinaface, restated"
    keep("retinaface", spec, score, words, ["loc", "conf"], cases())


# --- all -------------------------------------------------------------------------------------------------------------


def by_class(boxes: torch.Tensor, conf: torch.Tensor, label: torch.Tensor, score: float, iou: float) -> np.ndarray:
    mask = conf > score
    boxes, conf, label = boxes[mask], conf[mask], label[mask].float()
    kept = torchvision.ops.batched_nms(boxes, conf, label, iou)
    return torch.cat([boxes, conf[:, None], label[:, None]], 1)[kept].numpy()


def case(frame: np.ndarray, spec, outputs: list[np.ndarray], found: np.ndarray) -> recording.Case:
    size = (frame.shape[1], frame.shape[0])
    found = found.astype(np.float64).reshape(-1, 6)
    found[:, :4] = making.back_to_picture(found[:, :4], spec.input, size)
    return recording.Case(size, outputs, making.visible(found))


def keep(name: str, spec, score: float, words: str, outputs: list[str], cases: Iterator[recording.Case]) -> None:
    info = [(output, "tensor(float)") for output in outputs]
    made = recording.Recording(spec, score, words, info, making.worth(cases, most=60))
    recording.save(making.HERE / f"{name}.npz", made, [-1] * len(outputs))


MAKERS = {
    "yolov5": lambda: make_yolo("yolov5", ANCHORS5, 7680, grid=True),
    "yolov7": lambda: make_yolo("yolov7", ANCHORS7, 4096, grid=True),
    "yolov7_raw": lambda: make_yolo("yolov7_raw", ANCHORS7, 4096, grid=False),
    "nanodet_plus": make_nanodet_plus,
    "retinaface": make_retinaface,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or MAKERS:
        MAKERS[name]()
