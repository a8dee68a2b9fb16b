"""Several models on one data set, side by side; the first is the reference that the others are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.errors import InputError
from agent.types import ModelSpec
from tools.model.agreement import over
from tools.model.datasets.records import Dataset
from tools.model.evaluate.agreement import map_agreement
from tools.model.evaluate.classification import ClassificationScores, best_classes, class_agreement, score_classes
from tools.model.evaluate.confusion import confuse_boxes, confuse_classes
from tools.model.evaluate.detection import DetectionScores, Truth, score_detections
from tools.model.evaluate.differ import Difference, differing_boxes, differing_classes
from tools.model.evaluate.predict import Predictions, predict

FEW_TO_DETECT = 500
FEW_TO_CLASSIFY = 1000
MOST_DIFFERENT = 8

OnPicture = Callable[[str, int, int], None]
"""Told the model's name, how many pictures are done, and of how many."""


@dataclass(frozen=True)
class ModelScores:
    """One model's figures. ``agreement`` and ``matched_f1`` are with the first model, None for that one itself.

    ``detection`` or ``classification`` by the task, the other is None. ``confusion``: see
    :mod:`tools.model.evaluate.confusion`. ``mean_ms``: a picture, from pixels to answer, at ``threads`` threads.
    """

    name: str
    path: Path
    size_bytes: int
    mean_ms: float
    detection: DetectionScores | None
    classification: ClassificationScores | None
    agreement: float | None
    matched_f1: float | None
    confusion: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """What was measured, and what a reader must know of it (``notes``). ``answers``: rows a picture by model."""

    dataset: Dataset
    labels: tuple[str, ...]
    threads: int
    models: tuple[ModelScores, ...]
    different: tuple[Difference, ...]
    notes: tuple[str, ...]
    answers: Mapping[str, Sequence[np.ndarray]]


def compare(
    models: Mapping[str, Path],
    spec: ModelSpec | Mapping[str, ModelSpec],
    dataset: Dataset,
    labels: Sequence[str] = (),
    *,
    threads: int = 1,
    notes: Sequence[str] = (),
    most_different: int = MOST_DIFFERENT,
    on_picture: OnPicture | None = None,
) -> Comparison:
    """Measure every model (name to file) on every picture; ``spec``: of all, or of each by name.

    The data set's class ids are the models' (see :func:`tools.model.datasets.classes.align`). Raises
    :class:`InputError` for a data set of another task, without pictures or labels; :class:`ModelError` for a file that
    its spec does not fit.
    """
    specs = {name: spec if isinstance(spec, ModelSpec) else spec[name] for name in models}
    first = next(iter(specs.values()))
    for name, one in specs.items():
        _check(name, one, first, dataset)
    answers: dict[str, Predictions] = {}
    for name, path in models.items():
        tell = None if on_picture is None else _counting(name, len(dataset.pictures), on_picture)
        answers[name] = predict(path, specs[name], dataset.pictures, threads=threads, on_picture=tell)
    if first.task == "classify":
        rows = {name: one.classes or [] for name, one in answers.items()}
        scored = _classifiers(models, answers, rows, dataset, first.num_classes)
        different = differing_classes(rows, most_different)
    else:
        rows = {name: one.detections for name, one in answers.items()}
        scored = _detectors(models, answers, dataset, first.num_classes)
        different = differing_boxes(rows, most_different)
    names = tuple(labels) or dataset.classes or tuple(f"class {number}" for number in range(first.num_classes))
    return Comparison(dataset, names, threads, scored, different, (*notes, *_few(dataset)), rows)


def _check(name: str, spec: ModelSpec, first: ModelSpec, dataset: Dataset) -> None:
    if (spec.task, spec.num_classes) != (first.task, first.num_classes):
        raise InputError(
            f"{name}: it is a model to {spec.task} of {spec.num_classes} classes, the first one is to {first.task} of "
            f"{first.num_classes}: only models of one kind can be set side by side"
        )
    if spec.task != dataset.task:
        raise InputError(
            f"{name} is a model to {spec.task}, the data set one to {dataset.task}: a detector needs boxes as labels, "
            "a classifier a folder a class"
        )
    if not dataset.pictures:
        raise InputError("the data set holds no pictures: give more, or another --half")
    if not any(picture.label is not None or len(picture.truth) for picture in dataset.pictures):
        raise InputError("none of the data set's pictures has a label: there is nothing to judge by")
    worst = max(max([-1 if one.label is None else one.label, *one.truth[:, 0]]) for one in dataset.pictures)
    if worst >= spec.num_classes:
        raise InputError(f"the data set's labels name class {int(worst)}, {name} has {spec.num_classes}, from 0")


def _counting(name: str, total: int, on_picture: OnPicture) -> Callable[[], None]:
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        on_picture(name, done, total)

    return tell


def _detectors(
    models: Mapping[str, Path], answers: Mapping[str, Predictions], dataset: Dataset, num_classes: int
) -> tuple[ModelScores, ...]:
    first = next(iter(answers.values()))
    truths = [Truth.of(picture, size) for picture, size in zip(dataset.pictures, first.sizes, strict=True)]
    scored = []
    for name, one in answers.items():
        pairs = list(zip(first.detections, one.detections, strict=True))
        scored.append(
            ModelScores(
                name=name,
                path=models[name],
                size_bytes=models[name].stat().st_size,
                mean_ms=one.mean_ms,
                detection=score_detections(truths, one.detections, num_classes),
                classification=None,
                agreement=None if one is first else map_agreement(first.detections, one.detections, num_classes),
                matched_f1=None if one is first else over(pairs).f1,
                confusion=confuse_boxes(truths, one.detections, num_classes),
            )
        )
    return tuple(scored)


def _classifiers(
    models: Mapping[str, Path],
    answers: Mapping[str, Predictions],
    rows: Mapping[str, Sequence[np.ndarray]],
    dataset: Dataset,
    num_classes: int,
) -> tuple[ModelScores, ...]:
    true = [picture.label for picture in dataset.pictures if picture.label is not None]
    first = next(iter(rows.values()))
    return tuple(
        ModelScores(
            name=name,
            path=models[name],
            size_bytes=models[name].stat().st_size,
            mean_ms=answers[name].mean_ms,
            detection=None,
            classification=score_classes(true, mine, num_classes),
            agreement=None if mine is first else class_agreement(first, mine),
            matched_f1=None,
            confusion=confuse_classes(true, best_classes(mine), num_classes),
        )
        for name, mine in rows.items()
    )


def _few(dataset: Dataset) -> tuple[str, ...]:
    count = len(dataset.pictures)
    if dataset.task == "detect" and count < FEW_TO_DETECT:
        return (
            f"{count} pictures are few: below {FEW_TO_DETECT} mAP is noisy, and models that are equally good differ by "
            "a point or more; agreement is steadier.",
        )
    if dataset.task == "classify" and count < FEW_TO_CLASSIFY:
        return (
            f"{count} pictures are few: below {FEW_TO_CLASSIFY} top-1 is known to {50 / count**0.5:.1f} points only "
            "(one standard error, at worst).",
        )
    return ()
