"""The demo's first act with a model and a clip of one's own: recognised, quantized, measured as honestly as the demo's.

Sampled frames of the clip take three parts in turn: one calibrates, one chooses among the few recipes below, and the
rest, which neither has seen, say how far INT8 agrees with float. No labels are there, so agreement is all that can be
measured. The recipes, from fast to careful: MinMax; percentile, which forgives outliers; and, for models with SiLU,
whose INT8 suffers most, percentile with the most sensitive blocks left float. The decode tail stays float in each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from agent.errors import InputError
from agent.infer.detector import Detector
from tools.demo.clip import Clip
from tools.demo.releases import GoldenPicture
from tools.demo.subject import Subject
from tools.demo.workshop import ModelFile, Workshop, detections, detector, measure
from tools.model import agreement
from tools.model.clean import clean
from tools.model.manifest import golden
from tools.model.manifest.describe import Described, describe, parse_size, read_labels
from tools.model.quantize import graph, static
from tools.model.quantize.candidates import Candidates, noise_to_signal
from tools.model.quantize.ranges import observe
from tools.model.quantize.static import Recipe

GOLDEN_IMAGES = 3
FLOAT_BLOCKS = 10
SILU_FLOOR = -6.0
PROBES = 3
GOOD_ENOUGH = 0.97
PATIENCE_S = 30.0
Tell = Callable[[str], None]


def subject_of(model: Path, described: Described, clip: Clip) -> Subject:
    """Name what the demo is about. Raises :class:`InputError` for a classifier."""
    if described.task != "detect":
        raise InputError(f"MODEL {model}: is a classifier; the demo draws boxes: give a detector")
    kind = described.spec.decoder.kind
    name = re.sub(r"[^a-z0-9_-]+", "-", model.stem.lower()).strip("-_")[:40] or kind
    return Subject(
        model=name,
        noun="objects",
        sight="something",
        title=f"{model.stem} ({kind})",
        license="",
        spec=described.spec,
        labels=described.labels,
        score=described.score,
        camera="clip",
        pipeline="objects",
        fps=clip.fps,
        least_agreement=None,
        patience_frames=round(PATIENCE_S * clip.fps),
    )


def describe_guest(model: Path, labels: Path | None, input_size: str | None) -> Described:
    """Recognise a model of one's own. Raises :class:`InputError` in words."""
    size = parse_size(input_size) if input_size else None
    return describe(model, labels=read_labels(labels) if labels else (), input_size=size)


@dataclass(frozen=True)
class Made:
    """What the workshop made, and golden pictures that both models pass."""

    workshop: Workshop
    golden: tuple[GoldenPicture, ...]


def make_models(
    original: Path,
    subject: Subject,
    samples: list[tuple[int, np.ndarray]],
    folder: Path,
    *,
    rounds: int,
    tell: Tell,
) -> Made:
    """Clean, quantize, choose and measure; the files go into ``folder``.

    Raises :class:`~agent.errors.ModelError`; :class:`InputError` where the clip shows nothing that both models see.
    """
    fp32, int8 = folder / "own.fp32.onnx", folder / "own.int8.onnx"
    clean(original, fp32, input_shape=subject.spec.input.shape)
    one = detector(fp32, subject.spec)
    frames = [frame for _, frame in samples]
    quantizer = _Quantizer(fp32, one, frames[0::4], frames[2::4], folder)
    recipe = quantizer.best(int8, tell)
    two = detector(int8, subject.spec)
    unseen = frames[1::4] + frames[3::4]
    agreed = agreement.over((detections(one, frame), detections(two, frame)) for frame in unseen)
    latency = measure(one, two, frames[0], rounds=rounds)
    workshop = Workshop(
        fp32=ModelFile(fp32, "fp32", latency["fp32"]),
        int8=ModelFile(int8, "int8", latency["int8"]),
        agreement=agreed,
        compared=len(unseen),
        recipe=str(recipe),
        calibration=quantizer.calibration,
    )
    return Made(workshop, _golden(subject, (one, two), samples))


def _golden(
    subject: Subject, models: Sequence[Detector], samples: list[tuple[int, np.ndarray]]
) -> tuple[GoldenPicture, ...]:
    """Choose among the frames that did not calibrate."""
    pictures = [
        (f"frame-{index:05d}.jpg", lambda frame=frame: frame) for index, frame in (samples[1::4] + samples[3::4])
    ]
    found = golden.choose(models, pictures, count=GOLDEN_IMAGES, score=subject.score)
    if not found:
        raise InputError(
            f"in {len(pictures)} frames of the clip float and INT8 see nothing clearly and alike: give a clip that "
            f"shows what the model knows ({', '.join(subject.labels[:5])}, …), larger"
        )
    return tuple(_as_golden(picture, subject) for picture in found)


def _as_golden(picture: golden.GoldenPicture, subject: Subject) -> GoldenPicture:
    seen = tuple((sight.score, sight.box) for sight in picture.sights if sight.box is not None)
    names = tuple(subject.labels[sight.class_id] for sight in picture.sights if sight.box is not None)
    return GoldenPicture(picture.source, picture.jpeg, seen, names)


class _Quantizer:
    """Tries a few recipes on one set of ranges; ``shown`` calibrates, ``judges`` choose."""

    def __init__(
        self, fp32: Path, model: Detector, shown: Sequence[np.ndarray], judges: Sequence[np.ndarray], folder: Path
    ) -> None:
        self._detector = model
        self._folder = folder
        self._tensors = [_tensor(model, frame) for frame in shown]
        self._judges = judges
        self._wanted = [detections(model, frame) for frame in judges]
        self._model = static.load(fp32)
        self._tail = graph.decode_tail(self._model)
        (seen,) = observe(self._model, [self._tensors])
        self._candidates = Candidates(self._model, seen)
        self.calibration = static.calibration_of(self._tensors)

    def best(self, target: Path, tell: Tell) -> Recipe:
        """Write the most agreeing candidate to ``target``; a cheap one that is good enough ends the search."""
        percentile = Recipe(ranges="percentile", kept_float=self._tail)
        tried = []
        for recipe in (Recipe(kept_float=self._tail), percentile):
            tried.append((self._agreement(recipe, tell), recipe))
            if tried[-1][0] >= GOOD_ENOUGH:
                break
        if max(tried, key=_first)[0] < GOOD_ENOUGH and graph.silu_inputs(self._model):
            tell("it has SiLU, which INT8 serves badly: looking for the blocks that suffer most …")
            careful = replace(percentile, silu_floor=SILU_FLOOR)
            careful = replace(careful, kept_float=(*self._tail, *self._worst(careful)))
            tried.append((self._agreement(careful, tell), careful))
        chosen = max(tried, key=_first)[1]
        target.write_bytes(self._candidates.build(chosen).SerializeToString())
        return chosen

    def _agreement(self, recipe: Recipe, tell: Tell) -> float:
        candidate = self._load(self._candidates.build(recipe))
        found = (detections(candidate, frame) for frame in self._judges)
        f1 = agreement.over(zip(self._wanted, found, strict=True)).f1
        tell(f"{recipe.method}, {len(recipe.kept_float)} nodes float: F1 {f1:.3f} on {len(self._judges)} frames")
        return f1

    def _worst(self, recipe: Recipe) -> list[str]:
        """Return the nodes of the blocks that, alone in INT8, disturb the outputs most."""
        probes = self._tensors[:: max(1, len(self._tensors) // PROBES)][:PROBES]
        wanted = [self._detector.session.run(tensor) for tensor in probes]
        errors = {}
        for block in graph.blocks(self._model):
            alone = self._load(self._candidates.build(recipe, only=block.nodes))
            errors[block] = noise_to_signal(wanted, [alone.session.run(tensor) for tensor in probes])
        ranked = sorted(errors, key=lambda block: -errors[block])
        return [name for block in ranked[:FLOAT_BLOCKS] for name in block.nodes]

    def _load(self, model: onnx.ModelProto) -> Detector:
        path = self._folder / "candidate.onnx"
        path.write_bytes(model.SerializeToString())
        return detector(path, self._detector.spec)


def _first(pair: tuple[float, Recipe]) -> float:
    return pair[0]


def _tensor(model: Detector, frame: np.ndarray) -> np.ndarray:
    buffer = model.buffer()
    model.preprocess(frame, buffer)
    return buffer.tensor
