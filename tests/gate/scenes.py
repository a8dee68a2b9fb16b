"""What the parts of the loop are given when their cost is counted: a frame, outputs, a crowd. Always the same."""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Params
from agent.infer.decoders.table import DECODERS
from agent.types import CameraName, Detection, Digest, FrameRef, InputSpec, ModelName, ReleaseId, Result, Timings

HITS = 40
"""Cells of a model's output in which something is seen."""

SIZE = (416, 416)
CLASSES = 80
RELEASE = ReleaseId(ModelName("yolox-nano"), "1.2.0", Digest("a" * 64))

INPUTS = {
    "float, pixels as they are": InputSpec(name="x", shape=(1, 3, 416, 416)),
    "float, normalised": InputSpec(
        name="x", shape=(1, 3, 416, 416), mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4)
    ),
    "float, RGB, last": InputSpec(name="x", shape=(1, 416, 416, 3), layout="NHWC", color="RGB", scale=1 / 255),
    "bytes": InputSpec(name="x", shape=(1, 3, 416, 416), dtype="uint8"),
    "bytes, last": InputSpec(name="x", shape=(1, 416, 416, 3), layout="NHWC", dtype="uint8"),
}

FAMILIES: dict[str, Params] = {"yolox": {}, "yolov5": {}, "yolov8": {}, "nanodet": {}}


def frame() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)


def outputs_of(family: str) -> list[np.ndarray]:
    """What a model of the family would answer to a frame with :data:`HITS` objects."""
    chance = np.random.default_rng(2)
    expected = DECODERS[family].expect(input_size=SIZE, params=FAMILIES[family], num_classes=CLASSES)
    outputs = [chance.uniform(0, 0.01, shape).astype(np.float32) for shape in expected]
    scores = outputs[0][0].T if family == "yolov8" else outputs[0][0]
    rows = chance.choice(len(scores), HITS, replace=False)
    first = {"yolox": 5, "yolov5": 5, "yolov8": 4, "nanodet": 0}[family]
    if first:
        scores[rows, 0:4] = chance.uniform(1, 3 if family == "yolox" else 200, (HITS, 4))
    if first == 5:
        scores[rows, 4] = 0.9
    scores[rows, first + chance.integers(0, CLASSES, HITS)] = 0.9
    return outputs


def crowd(count: int, step: int = 0) -> np.ndarray:
    """Rows of ``count`` people who walk to the right, in a worker's answer."""
    chance = np.random.default_rng(3)
    corners = chance.uniform(0, 600, (count, 2)) + np.array([3 * step, 0])
    rows = np.zeros((count, 6), np.float32)
    rows[:, 0:2], rows[:, 2:4] = corners, corners + chance.uniform(30, 80, (count, 2))
    rows[:, 4] = chance.uniform(0.5, 0.95, count)
    return rows


def frame_ref(number: int = 0, camera: str = "front") -> FrameRef:
    at_ns = number * 40_000_000
    return FrameRef(CameraName(camera), 1, 0, number, number, at_ns, 1_790_000_000_000 + at_ns // 1_000_000, 1280, 720)


def result(count: int) -> Result:
    found = tuple(
        Detection(0, "person", 0.87, (100.125 + number, 200.25, 300.375 + number, 400.4), number)
        for number in range(count)
    )
    return Result(frame_ref(), RELEASE, found, None, Timings(0.1, 0.5, 6.5, 0.1), 21.3)
