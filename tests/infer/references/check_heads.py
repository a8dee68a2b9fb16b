"""Holds what ``make_heads`` restates against the projects' own code, as packages on PyPI carry it.

    pip download --no-deps -d DL yolov5==7.0.14 yolov7-package==0.0.13 facexlib==0.3.0 && unzip each into FOLDER
    python -m tests.infer.references.check_heads FOLDER        (in an environment with torch and torchvision)

Nothing of these packages is imported or copied: the few functions that are compared are compiled from their sources.
Their outputs on the recordings were the same: 22 pictures each, differences of 0 (non_max_suppression of YOLOv5 and
YOLOv7, Detect of YOLOv7) and of 6e-5 pixels at most (PriorBox and decode of RetinaFace).
"""

from __future__ import annotations

import ast
import itertools
import math
import sys
import time
from pathlib import Path
from typing import Any

from tests.infer.references import make_heads, recording

# isort: split
import numpy as np
import torch
import torchvision

from agent.infer.decoders.retinaface import decode_retinaface

HERE = Path(__file__).parent


def taken(source: Path, *names: str) -> dict[str, Any]:
    """Compile the named functions and classes of a source file, and nothing else of it."""
    found: dict[str, Any] = {
        "torch": torch, "nn": torch.nn, "torchvision": torchvision, "np": np, "time": time, "ceil": math.ceil,
        "product": itertools.product,
    }  # fmt: skip
    wanted = [one for one in ast.parse(source.read_text()).body if getattr(one, "name", None) in names]
    exec(compile(ast.Module(wanted, []), str(source), "exec"), found)
    return found


def source(folder: Path, name: str) -> Path:
    return next(folder.rglob(name))


def check_suppression(name: str, theirs: Any, max_wh: int) -> None:
    kept = recording.load(HERE / f"{name}.npz")
    furthest = total = 0.0
    for case in kept.cases:
        rows = torch.from_numpy(case.outputs[0])
        real = theirs(rows.clone(), kept.score, kept.spec.nms_iou)[0].numpy()
        ours = make_heads.non_max_suppression(rows.clone(), kept.score, kept.spec.nms_iou, max_wh)
        assert real.shape == ours.shape, name
        furthest, total = max(furthest, float(np.abs(real - ours).max(initial=0))), total + len(real)
    print(f"{name}: {len(kept.cases)} pictures, {total:.0f} detections, largest difference {furthest:g}")


def check_detect(layer: Any) -> None:
    kept = recording.load(HERE / "yolov7_raw.npz")
    furthest = 0.0
    detect = layer(make_heads.CLASSES, make_heads.ANCHORS7, [1, 1, 1]).eval()
    detect.stride = torch.tensor(make_heads.STRIDES)
    detect.m = torch.nn.ModuleList([torch.nn.Identity()] * 3)
    for case in kept.cases:
        levels = [torch.from_numpy(output) for output in case.outputs]
        flat = [level.permute(0, 1, 4, 2, 3).reshape(1, -1, *level.shape[2:4]) for level in levels]
        real, _ = detect(flat)
        furthest = max(furthest, float((real - make_heads.detect(levels, make_heads.ANCHORS7)).abs().max()))
    print(f"yolov7_raw: {len(kept.cases)} pictures, largest difference {furthest:g}")


def check_retinaface(parts: dict[str, Any]) -> None:
    kept = recording.load(HERE / "retinaface.npz")
    width, height = kept.spec.input.width, kept.spec.input.height
    params = kept.spec.decoder.params
    about = {key: params[key] for key in ("min_sizes", "steps")} | {"clip": False, "variance": params["variances"]}
    priors = parts["PriorBox"](about | {"name": "Retinaface"}, image_size=(height, width)).forward()
    furthest = total = 0.0
    for case in kept.cases:
        offsets, scores = (torch.from_numpy(output[0]) for output in case.outputs)
        boxes = parts["decode"](offsets, priors, params["variances"]) * torch.tensor([width, height] * 2)
        found = decode_retinaface(
            case.outputs, input_size=(width, height), params=params, num_classes=1, score_floor=kept.score
        )
        real = boxes.numpy()[scores[:, 1].numpy() >= kept.score]
        assert real.shape == found.boxes.shape
        furthest, total = max(furthest, float(np.abs(real - found.boxes).max(initial=0))), total + len(real)
    print(f"retinaface: {len(kept.cases)} pictures, {total:.0f} candidates, largest difference {furthest:g} pixels")


def main() -> None:
    folder = Path(sys.argv[1])
    five, seven = source(folder, "yolov5/utils/general.py"), source(folder, "yolov7_package/utils/general.py")
    names = ("non_max_suppression", "xywh2xyxy", "box_iou")
    check_suppression("yolov5", taken(five, *names)["non_max_suppression"], 7680)
    check_suppression("yolov7", taken(seven, *names)["non_max_suppression"], 4096)
    check_detect(taken(source(folder, "yolov7_package/models/yolo.py"), "Detect")["Detect"])
    check_retinaface(taken(source(folder, "retinaface_utils.py"), "PriorBox", "decode"))


if __name__ == "__main__":
    main()
