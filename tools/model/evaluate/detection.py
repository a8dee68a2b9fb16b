"""How good a detector is: COCO's mean average precision, through the product's own preprocessing, decoder and NMS.

What is measured is what a device would see, except for the limits: everything above a score of 0.001 counts, NMS is at
0.65 and 300 detections are allowed, the field's habit, so that figures may be set beside published ones. Run as
``python -m tools.model.evaluate.detection MANIFEST DATASET``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.errors import InputError, LookoutError
from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.registry.manifest import load_manifest, release_digest
from agent.types import ModelSpec
from tools.model.dataset import Dataset, read_dataset

SCORE_FLOOR = 0.001
NMS_IOU = 0.65
MAX_DETECTIONS = 300


@dataclass(frozen=True)
class Evaluation:
    """mAP 0..1 over IoU 0.50 to 0.95 and at 0.50, and the mean time of a picture, decoding apart."""

    images: int
    map_50_95: float
    map_50: float
    mean_ms: float


def evaluation_spec(spec: ModelSpec) -> ModelSpec:
    """Return ``spec`` with the limits under which figures are compared."""
    return msgspec.structs.replace(spec, nms_iou=NMS_IOU, max_detections=MAX_DETECTIONS)


def evaluate(
    model: Path,
    spec: ModelSpec,
    dataset: Dataset,
    *,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int = 0,
) -> Evaluation:
    """Measure the model file ``model`` on ``dataset``. Raises :class:`~agent.errors.LookoutError`."""
    if spec.task != "detect":
        raise InputError(f"task {spec.task}: only detectors have a mean average precision")
    if dataset.classes and len(dataset.classes) != spec.num_classes:
        raise InputError(
            f"classes.txt has {len(dataset.classes)} classes, the manifest {spec.num_classes} labels: "
            "they must be the same, in the same order"
        )
    session = Session.load(model, providers=providers, threads=threads, spin=False)
    detector = Detector(evaluation_spec(spec), session, score_floor=SCORE_FLOOR)
    truths, found, spent_s = [], [], 0.0
    for picture in dataset.pictures:
        pixels = picture.pixels()
        started = time.perf_counter()
        answer = detector(pixels)
        spent_s += time.perf_counter() - started
        assert answer.detections is not None  # spec.task is detect
        height, width = pixels.shape[:2]
        truths.append(to_pixels(picture.truth, width, height))
        found.append(answer.detections)
    map_50_95, map_50 = mean_average_precision(truths, found, spec.num_classes)
    return Evaluation(len(truths), map_50_95, map_50, spent_s / len(truths) * 1e3)


def to_pixels(truth: np.ndarray, width: int, height: int) -> np.ndarray:
    """Turn rows ``class_id cx cy w h`` (relative) into ``x1 y1 x2 y2 class_id`` (pixels)."""
    half = truth[:, 3:5] / 2
    corners = np.concatenate([truth[:, 1:3] - half, truth[:, 1:3] + half], axis=1)
    return np.concatenate([corners * [width, height, width, height], truth[:, 0:1]], axis=1)


def mean_average_precision(
    truths: Sequence[np.ndarray], detections: Sequence[np.ndarray], num_classes: int
) -> tuple[float, float]:
    """Return COCO's mAP 50-95 and mAP 50 over pictures.

    ``truths``: rows ``x1 y1 x2 y2 class_id``; ``detections``: rows ``x1 y1 x2 y2 score class_id``; one array a picture.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # of the extra "workshop", needed here only

    truth = COCO(
        {
            "images": [{"id": index} for index in range(len(truths))],
            "annotations": list(_annotations(truths)),
            "categories": [{"id": index, "name": str(index)} for index in range(num_classes)],
        }
    )
    results = list(_results(detections))
    if not results:
        return 0.0, 0.0  # older evaluators cannot read an empty list
    judge = COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=_silent)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return float(judge.stats[0]), float(judge.stats[1])


def _annotations(truths: Sequence[np.ndarray]) -> Iterable[dict[str, Any]]:
    identity = 0
    for image, rows in enumerate(truths):
        for x1, y1, x2, y2, class_id in rows.tolist():
            identity += 1  # from 1: 0 means "not matched" to the evaluator
            yield {
                "id": identity,
                "image_id": image,
                "category_id": int(class_id),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }


def _results(detections: Sequence[np.ndarray]) -> Iterable[dict[str, Any]]:
    for image, rows in enumerate(detections):
        for x1, y1, x2, y2, score, class_id in rows.tolist():
            yield {
                "image_id": image,
                "category_id": int(class_id),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }


def _silent(*_: object) -> None:
    """Swallow the evaluator's table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate from the command line; return the exit code (0 fine, 2 bad input)."""
    options = _parser().parse_args(arguments)
    try:
        result = _evaluate_manifest(options)
    except LookoutError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        print(
            f"{result.images} images: mAP 50-95 {result.map_50_95:.1%}, mAP 50 {result.map_50:.1%}, "
            f"{result.mean_ms:.1f} ms a picture"
        )
    return 0


def _evaluate_manifest(options: argparse.Namespace) -> Evaluation:
    try:
        data = options.manifest.read_bytes()
    except OSError as error:
        raise InputError(f"{options.manifest}: the manifest cannot be read: {error.strerror}") from error
    manifest = load_manifest(data)
    if not 0 <= options.variant < len(manifest.variants):
        raise InputError(f"--variant {options.variant}: the manifest has {len(manifest.variants)}, from 0")
    model = options.model or options.manifest.parent / manifest.variants[options.variant].file.path
    spec = manifest.spec(options.variant, release_digest(data))
    dataset = read_dataset(options.dataset).half(options.half)
    return evaluate(model, spec, dataset, threads=options.threads)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.model.evaluate.detection", description=__doc__)
    parser.add_argument("manifest", type=Path, help="manifest.json, the model file beside it")
    parser.add_argument("dataset", type=Path, help="folder of images/, labels/ and classes.txt")
    parser.add_argument("--model", type=Path, help="another model file than the manifest's")
    parser.add_argument("--variant", type=int, default=0, help="which variant of the manifest, from 0")
    parser.add_argument("--half", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--threads", type=int, default=0, help="0: one fewer than the cores")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
