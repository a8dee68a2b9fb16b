"""What a model answers on many pictures, through the agent's own preprocessing, decoder and NMS.

The field's limits replace the device's, so that figures may be set beside published ones: everything above a score of
0.001 counts, NMS is at 0.65, and 300 detections are allowed. A classifier answers its best five, whatever their scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.types import ModelSpec
from tools.model.datasets.records import Picture

SCORE_FLOOR = 0.001
NMS_IOU = 0.65
MAX_DETECTIONS = 300
TOP = 5


@dataclass(frozen=True)
class Predictions:
    """One entry a picture, in their order.

    ``detections``: float32 ``(n, 6)`` rows ``x1 y1 x2 y2 score class_id`` in pixels, best first (empty list for a
    classifier). ``classes``: float32 ``(k, 2)`` rows ``score class_id``, best first; None for a detector. ``sizes``:
    ``(width, height)``. ``mean_ms``: preprocessing, running and post-processing of a picture; reading it is not in it.
    """

    detections: list[np.ndarray]
    classes: list[np.ndarray] | None
    mean_ms: float
    sizes: list[tuple[int, int]]


def evaluation_spec(spec: ModelSpec, *, nms_iou: float = NMS_IOU, max_detections: int = MAX_DETECTIONS) -> ModelSpec:
    """Return ``spec`` with the limits under which figures are compared."""
    decoder = spec.decoder
    if spec.task == "classify":
        params: dict[str, Any] = {**decoder.params, "top": min(TOP, spec.num_classes)}
        decoder = msgspec.structs.replace(decoder, params=params)
    return msgspec.structs.replace(spec, nms_iou=nms_iou, max_detections=max_detections, decoder=decoder)


def predict(
    model: Path,
    spec: ModelSpec,
    pictures: Iterable[np.ndarray] | Sequence[Picture],
    *,
    threads: int = 1,
    score_floor: float = SCORE_FLOOR,
    nms_iou: float = NMS_IOU,
    max_detections: int = MAX_DETECTIONS,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    on_picture: Callable[[], None] | None = None,
) -> Predictions:
    """Run ``model`` on every picture (BGR uint8, or a :class:`Picture`), ``on_picture`` being called after each.

    Raises :class:`~agent.errors.ModelError` where file and spec contradict one another, :class:`InputError` for a
    picture that is none, :class:`OutputError` for answers that are no numbers.
    """
    classify = spec.task == "classify"
    limits = evaluation_spec(spec, nms_iou=nms_iou, max_detections=max_detections)
    session = Session.load(model, providers=providers, threads=threads, spin=False)
    detector = Detector(limits, session, score_floor=0.0 if classify else score_floor)
    found: list[np.ndarray] = []
    sizes: list[tuple[int, int]] = []
    spent_s = 0.0
    for picture in pictures:
        pixels = picture.pixels() if isinstance(picture, Picture) else picture
        started = time.perf_counter()
        answer = detector(pixels)
        spent_s += time.perf_counter() - started
        rows = answer.classes if classify else answer.detections
        assert rows is not None  # a detector answers as its spec's task says
        found.append(rows)
        sizes.append((pixels.shape[1], pixels.shape[0]))
        if on_picture is not None:
            on_picture()
    mean_ms = spent_s / len(found) * 1e3 if found else 0.0
    return Predictions([] if classify else found, found if classify else None, mean_ms, sizes)
