"""The demo's first act: from a float model somebody published to an INT8 one whose loss and gain are measured.

CenterFace as it ships declares a batch of ten 32x32 pictures; here it gets the clip's shape doubled (352x288). Every
fourth frame calibrates; agreement is measured on the others only. Pre- and post-processing are the device's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from agent.errors import InputError
from agent.infer.detector import Detector
from agent.infer.preprocess import Preprocessor
from agent.infer.session import Session
from agent.types import DecoderSpec, Digest, InputSpec, ModelName, ModelSpec, ReleaseId
from tools.model import agreement
from tools.model.agreement import Agreement
from tools.model.clean import clean
from tools.model.quantize import static as quantize
from tools.model.timing import interleaved_medians_ms

WIDTH, HEIGHT = 352, 288
CALIBRATE_EVERY = 4
LABELS = ("face",)
NMS_IOU = 0.3
SCORE_FLOOR = 0.1
INPUT = InputSpec(name="input.1", shape=(1, 3, HEIGHT, WIDTH), color="RGB", pad=0)
DECODER = DecoderSpec(kind="centerface", params={"stride": 4})


@dataclass(frozen=True)
class ModelFile:
    """A model file and what was measured of it. ``latency_ms``: median of ``session.run`` at one thread."""

    path: Path
    precision: str
    latency_ms: float

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size


@dataclass(frozen=True)
class Workshop:
    """What the workshop hands on. ``agreement``: INT8 against float on ``compared`` frames that did not calibrate."""

    fp32: ModelFile
    int8: ModelFile
    agreement: Agreement
    compared: int
    recipe: str
    calibration: quantize.Calibration

    @property
    def speed_up(self) -> float:
        """How many times faster INT8 is than the cleaned float model."""
        return self.fp32.latency_ms / self.int8.latency_ms


def read_clip(path: Path) -> list[np.ndarray]:
    """Return every frame of the clip, BGR. Raises :class:`InputError` when there is none."""
    capture = cv2.VideoCapture(str(path))
    try:
        frames = []
        while (answer := capture.read())[0]:
            frames.append(answer[1])
    finally:
        capture.release()
    if not frames:
        raise InputError(f"{path}: OpenCV finds no frame in it; delete the demo's cache and start again")
    return frames


def spec() -> ModelSpec:
    """Return what inference must know of the demo's model."""
    release = ReleaseId(ModelName("faces"), "0.0.0", Digest("0" * 64))
    return ModelSpec(release, "detect", INPUT, DECODER, num_classes=len(LABELS), nms_iou=NMS_IOU)


def detector(path: Path, wanted: ModelSpec | None = None) -> Detector:
    """Load a model file (the demo's own unless a spec is given) as the device would, with one thread."""
    session = Session.load(path, providers=("CPUExecutionProvider",), threads=1, spin=False)
    return Detector(wanted or spec(), session, score_floor=SCORE_FLOOR)


def detections(model: Detector, frame: np.ndarray) -> np.ndarray:
    """Return rows ``x1 y1 x2 y2 score class_id`` of one frame."""
    found = model(frame).detections
    assert found is not None, "a detector answers with detections"
    return found


def make_models(original: Path, frames: Sequence[np.ndarray], folder: Path, *, rounds: int) -> Workshop:
    """Clean, quantize and measure; the files go into ``folder``. Raises :class:`~agent.errors.ModelError`."""
    fp32, int8 = folder / "centerface.fp32.onnx", folder / "centerface.int8.onnx"
    clean(original, fp32, input_shape=INPUT.shape)
    calibration = quantize.quantize(fp32, int8, [tensor(frame) for frame in frames[::CALIBRATE_EVERY]])
    one, two = detector(fp32), detector(int8)
    latency = measure(one, two, frames[0], rounds=rounds)
    unseen = [frame for index, frame in enumerate(frames) if index % CALIBRATE_EVERY]
    agreed = agreement.over((detections(one, frame), detections(two, frame)) for frame in unseen)
    return Workshop(
        fp32=ModelFile(fp32, "fp32", latency["fp32"]),
        int8=ModelFile(int8, "int8", latency["int8"]),
        agreement=agreed,
        compared=len(unseen),
        recipe=str(quantize.PLAIN),
        calibration=calibration,
    )


def tensor(frame: np.ndarray) -> np.ndarray:
    """Return the input tensor that the device would make of ``frame``."""
    preprocessor = Preprocessor(INPUT)
    buffer = preprocessor.buffer()
    preprocessor(frame, buffer)
    return buffer.tensor


def measure(fp32: Detector, int8: Detector, frame: np.ndarray, *, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of both models' bare run, taking turns."""
    buffer = fp32.buffer()
    fp32.preprocess(frame, buffer)
    return interleaved_medians_ms({"fp32": lambda: fp32.run(buffer), "int8": lambda: int8.run(buffer)}, rounds=rounds)
