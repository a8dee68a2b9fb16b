"""How good and how fast a candidate is beside the cleaned float model: cross-fitted, through the device's own code.

Pictures at even positions and at odd ones form two halves. A candidate is made twice, calibrated on each half, and each
file is asked about the other half only, so that no picture ever judges ranges that it helped to choose; the two halves'
answers are then scored together, as one set. The halves run side by side, one thread each.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from agent.errors import InputError, StorageError
from agent.infer.detector import Answer, Detector
from agent.infer.preprocess import Buffer
from agent.infer.session import Session
from agent.types import ModelSpec
from tools.model.datasets.records import Dataset, Picture
from tools.model.evaluate.agreement import SCORE, map_agreement
from tools.model.evaluate.detection import SCORE_FLOOR, evaluation_spec, mean_average_precision, to_pixels
from tools.model.quantize.budget import Figures
from tools.model.timing import interleaved_medians_ms

BURSTS = 4
LEAST_PICTURES = 16
MOST_PICTURES = 256
MOST_BYTES = 1_500_000_000
"""More pictures than fit into this, as tensors, are left out, evenly."""


@dataclass(frozen=True)
class Latency:
    """Median of the bare run at one thread, taking turns; ``speed_up``: how many times faster than float."""

    float_ms: float
    int8_ms: float

    @property
    def speed_up(self) -> float:
        """Float's time over INT8's."""
        return self.float_ms / self.int8_ms


class Judge:
    """Holds the prepared pictures, the float model's answers and its session. Not for several threads.

    Raises :class:`InputError`: too few pictures, pictures that cannot be read, classes that do not match the model's.
    """

    def __init__(self, cleaned: Path, spec: ModelSpec, dataset: Dataset) -> None:
        self.spec = evaluation_spec(spec)
        check_classes(dataset, spec)
        pictures = _thinned(dataset, spec)
        self.labelled = any(picture.label is not None or len(picture.truth) for picture in pictures)
        self._labels = [picture.label for picture in pictures]
        self._float = self._detector(cleaned)
        self._buffers: list[Buffer] = []
        self._truths: list[np.ndarray] = []
        for picture in pictures:
            pixels = picture.pixels()
            buffer = self._float.buffer()
            self._float.preprocess(pixels, buffer)
            self._buffers.append(buffer)
            self._truths.append(to_pixels(picture.truth, pixels.shape[1], pixels.shape[0]))
        self._folder = tempfile.TemporaryDirectory(prefix="lookout-quantize-")
        self._reference = self._answers([self._float, self._detector(cleaned)])
        self._float_map, self._float_top1 = self._against_truth(self._reference)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def halves(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The input tensors at even positions, and those at odd ones."""
        tensors = [buffer.tensor for buffer in self._buffers]
        return tensors[0::2], tensors[1::2]

    @property
    def pictures(self) -> int:
        """How many pictures take part."""
        return len(self._buffers)

    def cross_fit(self, from_even: onnx.ModelProto, from_odd: onnx.ModelProto) -> Figures:
        """Judge a recipe by two models, calibrated on the even half and on the odd half."""
        asked_odd, asked_even = self._from_proto(from_even, "even"), self._from_proto(from_odd, "odd")
        return self._figures(self._answers([asked_even, asked_odd]))

    def in_sample(self, model: onnx.ModelProto) -> Figures:
        """Judge one file on all pictures, whichever calibrated it: only a check that the file is whole."""
        return self._figures(self._answers([self._from_proto(model, "one"), self._from_proto(model, "two")]))

    def latency(self, model: onnx.ModelProto | Path, *, rounds: int) -> Latency:
        """Time a model against the cleaned float one; of several bursts, the one the machine disturbed least counts."""
        other = self._detector(model) if isinstance(model, Path) else self._from_proto(model, "timed")
        buffer = self._buffers[0]
        runs = {"float": lambda: self._float.run(buffer), "int8": lambda: other.run(buffer)}
        bursts = [interleaved_medians_ms(runs, rounds=max(1, rounds // BURSTS)) for _ in range(BURSTS)]
        quietest = min(bursts, key=lambda medians: medians["float"] + medians["int8"])
        return Latency(quietest["float"], quietest["int8"])

    def float_outputs(self, positions: Sequence[int]) -> list[list[np.ndarray]]:
        """Return the float model's raw outputs for some pictures."""
        return [self._float.run(self._buffers[position]) for position in positions]

    def outputs(self, model: onnx.ModelProto, positions: Sequence[int]) -> list[list[np.ndarray]]:
        """Return a candidate's raw outputs for some pictures."""
        detector = self._from_proto(model, "probe")
        return [detector.run(self._buffers[position]) for position in positions]

    def _detector(self, path: Path) -> Detector:
        session = Session.load(path, providers=("CPUExecutionProvider",), threads=1, spin=False)
        return Detector(self.spec, session, score_floor=SCORE_FLOOR)

    def _from_proto(self, model: onnx.ModelProto, name: str) -> Detector:
        path = Path(self._folder.name) / f"{name}.onnx"
        try:
            path.write_bytes(model.SerializeToString())
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}; free room or set TMPDIR") from error
        return self._detector(path)

    def _answers(self, detectors: Sequence[Detector]) -> list[Answer]:
        """Let the first answer the pictures at even positions and the second those at odd ones."""

        def half(start: int) -> list[Answer]:
            detector = detectors[start]
            return [detector.postprocess(detector.run(buffer), buffer) for buffer in self._buffers[start::2]]

        with ThreadPoolExecutor(min(2, len(os.sched_getaffinity(0))), "lookout-judge") as pool:
            even, odd = pool.map(half, (0, 1))
        answers: list[Answer | None] = [None] * len(self._buffers)
        answers[0::2], answers[1::2] = even, odd
        return [answer for answer in answers if answer is not None]

    def _figures(self, answers: list[Answer]) -> Figures:
        map_50_95, top1 = self._against_truth(answers)
        return Figures(self._agreement(answers), map_50_95, self._float_map, top1, self._float_top1)

    def _against_truth(self, answers: list[Answer]) -> tuple[float | None, float | None]:
        """Return mAP 50-95 and top-1, each None where it has no meaning."""
        if not self.labelled:
            return None, None
        if self.spec.task == "detect":
            return mean_average_precision(self._truths, _detections(answers), self.spec.num_classes)[0], None
        pairs = [
            (_first(answer), label) for answer, label in zip(answers, self._labels, strict=True) if label is not None
        ]
        return None, sum(found == label for found, label in pairs) / len(pairs)

    def _agreement(self, answers: list[Answer]) -> float:
        if self.spec.task == "classify":
            same = [_first(one) == _first(two) for one, two in zip(self._reference, answers, strict=True)]
            return sum(same) / len(same)
        reference = _detections(self._reference)
        if not any((rows[:, 4] >= SCORE).any() for rows in reference):
            raise InputError(
                f"the float model sees nothing above a score of {SCORE} in {len(reference)} pictures: INT8 cannot be "
                "judged by them; give pictures of what the model knows, or correct the manifest's input"
            )
        return map_agreement(reference, _detections(answers), self.spec.num_classes)


def check_classes(dataset: Dataset, spec: ModelSpec) -> None:
    """Refuse labels that number other classes than the model's. Raises :class:`InputError`."""
    if dataset.task != spec.task and dataset.form:
        raise InputError(
            f"the data set is one to {dataset.task}, the model's task is {spec.task}: a detector needs boxes, "
            "a classifier a folder a class"
        )
    if dataset.classes and len(dataset.classes) != spec.num_classes:
        raise InputError(
            f"the data set has {len(dataset.classes)} classes, the model {spec.num_classes}: they must be the "
            "same, in the same order; give the data set the model was trained for, or a manifest with its labels"
        )
    worst = max((int(picture.truth[:, 0].max()) for picture in dataset.pictures if len(picture.truth)), default=-1)
    worst = max([worst, *(picture.label for picture in dataset.pictures if picture.label is not None)])
    if worst >= spec.num_classes:
        raise InputError(f"a label says class {worst}; the model has {spec.num_classes}, numbered from 0")


def _thinned(dataset: Dataset, spec: ModelSpec) -> tuple[Picture, ...]:
    if len(dataset.pictures) < LEAST_PICTURES:
        raise InputError(
            f"{len(dataset.pictures)} pictures are too few: half of them calibrate and half judge, so that at "
            f"least {LEAST_PICTURES} are needed; 100 or more are better"
        )
    size = int(np.prod(spec.input.shape)) * 4
    most = max(LEAST_PICTURES, min(MOST_PICTURES, MOST_BYTES // size))
    if len(dataset.pictures) <= most:
        return dataset.pictures
    places = np.linspace(0, len(dataset.pictures) - 1, most).round().astype(int)
    return tuple(dataset.pictures[place] for place in places)


def _detections(answers: Sequence[Answer]) -> list[np.ndarray]:
    return [answer.detections for answer in answers if answer.detections is not None]


def _first(answer: Answer) -> int:
    assert answer.classes is not None, "a classifier answers with classes"
    return int(answer.classes[0, 1]) if len(answer.classes) else -1
