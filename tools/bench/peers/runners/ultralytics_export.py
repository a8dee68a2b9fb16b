"""Make an ONNX file that both Ultralytics' loop and ours read: YOLOv8n, by its own exporter.

``python -m tools.bench.peers.runners.ultralytics_export TARGET FILM SIDE``. No trained weights can be had offline, so
they are random (of a fixed seed), with batch normalisation settled on the film, and the head scaled so that scores
spread and about one cell in a hundred is reported: as much work as behind a real model, and detections to compare.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["YOLO_OFFLINE"] = "true"  # these are read when ultralytics is imported
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_VERBOSE"] = "false"

import cv2
import numpy as np
import torch
import ultralytics
from torch import nn

from tools.bench.peers.film import Film

ARCHITECTURE = "yolov8n.yaml"
SEED = 7
FRAMES, EVERY = 16, 30
SCORE_LOGIT = -0.6190
"""The logit of 0.35, the score from which detections are reported here."""

SHARE = 0.01
"""Of the cells: what a crowd gives."""

OPSET = 17


def frames(film: str, side: int) -> torch.Tensor:
    """Return frames of the film as a batch, letterboxed as Ultralytics does."""
    video, found = Film(film), []
    for number in range(FRAMES * EVERY):
        frame = video.read()
        if number % EVERY:
            continue
        ratio = side / max(frame.shape[:2])
        resized = cv2.resize(frame, (round(frame.shape[1] * ratio), round(frame.shape[0] * ratio)))
        padded = np.full((side, side, 3), 114, np.uint8)
        top, left = (side - resized.shape[0]) // 2, (side - resized.shape[1]) // 2
        padded[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
        found.append(padded[..., ::-1].transpose(2, 0, 1) / np.float32(255))
    return torch.from_numpy(np.stack(found).astype(np.float32))


def settle(model: nn.Module, batch: torch.Tensor) -> None:
    """Let batch normalisation learn what random layers put out, so that signals neither fade nor explode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        for part in batch.split(4):
            model(part)
    model.eval()


def liven(model: nn.Module, batch: torch.Tensor) -> None:
    """Scale the head's last layers: boxes of different sizes, and one logit for all strides that few cells exceed."""
    head = model.model[-1]  # Ultralytics' models hold their layers in a list
    with torch.no_grad():
        for layer in (branch[-1] for branch in head.cv2):
            layer.weight *= 2.5 / _seen(model, layer, batch).std()
            layer.bias.zero_()
        for layer in (branch[-1] for branch in head.cv3):
            logits = _seen(model, layer, batch)
            factor = 1.0 / logits.std()
            centred = (logits - logits.mean(dim=0)) * factor
            most = torch.quantile(centred.amax(dim=1), 1 - SHARE)
            layer.weight *= factor
            layer.bias *= factor
            layer.bias += SCORE_LOGIT - most - logits.mean(dim=0) * factor


def _seen(model: nn.Module, layer: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Return what a layer puts out, a row a cell."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _given, out: seen.append(out))
    model(batch)
    hook.remove()
    return torch.cat([out.permute(0, 2, 3, 1).flatten(0, 2) for out in seen])


def main() -> None:
    """Make the file."""
    target, film, side = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.manual_seed(SEED)
    made = ultralytics.YOLO(ARCHITECTURE)
    batch = frames(film, side)
    settle(made.model, batch)
    liven(made.model, batch)
    with tempfile.TemporaryDirectory() as folder:
        made.model.pt_path = made.model.yaml_file = str(Path(folder) / "model.yaml")
        written = made.export(format="onnx", imgsz=side, simplify=False, opset=OPSET, device="cpu", verbose=False)
        shutil.move(written, target)


if __name__ == "__main__":
    main()
