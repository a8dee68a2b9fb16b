"""What the ``make_*`` scripts share: pictures, and random networks whose scores look like a trained model's.

These scripts are run by hand, in an environment of their own (never the product's)::

    python -m venv /tmp/references && /tmp/references/bin/pip install torch==2.14.1 torchvision==0.29.1 \\
        opencv-python-headless onnx onnxruntime msgspec structlog transformers pyyaml requests psutil pillow \\
        matplotlib polars && /tmp/references/bin/pip install --no-deps ultralytics onnxscript onnx-ir
    /tmp/references/bin/python -m tests.infer.references.make_ultralytics      # from the repository's root

Weights are random: no score means anything. Each head's last layer is scaled and shifted so that about two cells in a
hundred pass the threshold and boxes differ in size, which is what post-processing has to cope with.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("YOLO_CONFIG_DIR", "/tmp/references-ultralytics")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import cv2
import numpy as np
import torch
from torch import nn

from agent.infer.preprocess import Preprocessor
from agent.types import InputSpec, ModelSpec
from tests.infer.references import recording

HERE = Path(__file__).parent
PICTURES = 22


def pictures(shared: Path = HERE.parents[3] / "shared") -> list[np.ndarray]:
    """The pictures of coco128, BGR."""
    return [cv2.imread(str(path)) for path in sorted((shared / "data/coco128/images").glob("*.jpg"))]


def worth(cases: Iterable[recording.Case], most: int = 30) -> list[recording.Case]:
    """The first pictures that hold some detections and not too many.

    Left out are those in which two detections score the same: which of two equals comes first is anyone's choice.
    """
    found, counts = [], []
    for case in cases:
        scores = case.expected[:, 4]
        counts.append(len(scores))
        if 1 <= len(scores) <= most and len(np.unique(scores)) == len(scores):
            found.append(case)
        if len(found) == PICTURES:
            return found
    raise SystemExit(
        f"only {len(found)} pictures with 1 to {most} detections, others hold {counts}: shape the scores otherwise"
    )


def tensors(spec: ModelSpec | InputSpec, frames: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Each picture as the model's input."""
    input_spec = spec.input if isinstance(spec, ModelSpec) else spec
    preprocess = Preprocessor(input_spec)
    made = []
    for frame in frames:
        buffer = preprocess.buffer()
        preprocess(frame, buffer)
        made.append(buffer.tensor.copy())
    return made


def settle(model: nn.Module, batch: torch.Tensor, rounds: int = 4) -> None:
    """Let batch normalisation learn what random layers put out, so that signals neither fade nor explode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        for part in batch.split(max(1, len(batch) // rounds)):
            model(part)
    model.eval()


def shape_logits(layer: nn.Conv2d | nn.Linear, logits: torch.Tensor, spread: float, at: float, share: float) -> None:
    """Scale and shift ``layer`` so that logits spread by ``spread`` and ``share`` of the cells exceed ``at``.

    ``logits``: ``(cells, classes)``, what the layer put out before.
    """
    factor = spread / logits.std().item()
    centred = (logits - logits.mean(dim=0)) * factor
    quantile = np.quantile(centred.amax(dim=1).detach().numpy(), 1 - share)
    with torch.no_grad():
        layer.weight *= factor
        layer.bias *= factor
        layer.bias += torch.as_tensor(at - quantile, dtype=torch.float32) - logits.mean(dim=0) * factor


def back_to_picture(boxes: np.ndarray, spec: InputSpec, size: tuple[int, int]) -> np.ndarray:
    """Boxes of a top-left letterboxed or stretched input in pixels of the picture, clipped: written out anew."""
    width, height = size
    if spec.resize == "stretch":
        scale = np.array([spec.width / width, spec.height / height] * 2)
    else:
        ratio = min(spec.width / width, spec.height / height)
        scale = np.array([round(width * ratio) / width, round(height * ratio) / height] * 2)
    return np.clip(boxes / scale, 0, [width, height, width, height])


def visible(rows: np.ndarray) -> np.ndarray:
    """Rows of which something lies in the picture: a box clipped to nothing is no detection for the product."""
    return rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]
