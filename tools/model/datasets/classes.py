"""A data set's classes in the model's numbers: matched by name where both sides have names, never by luck.

Case, and blanks against ``_`` and ``-``, make no difference, nor do the names that Pascal VOC has for COCO's classes.
What cannot be matched is said in notes: a class that the model does not know is left out of the data set. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.errors import InputError
from tools.model.datasets.records import Dataset, Picture

_SYNONYMS = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
_MOST_NAMED = 8


@dataclass(frozen=True)
class Aligned:
    """The data set with the model's class ids and names; ``notes``: what a reader of figures must know."""

    dataset: Dataset
    notes: tuple[str, ...]


def align(dataset: Dataset, labels: Sequence[str], *, certain: bool) -> Aligned:
    """Give the classes the numbers that the model has for them, whose classes are ``labels``.

    ``certain``: the labels are the model's own, not a guess; a guess gives way to a data set with as many other names.
    Raises :class:`InputError` where the two have nothing in common, or no label is left.
    """
    if not dataset.classes:
        _check_numbers(dataset, len(labels))
        return Aligned(replace(dataset, classes=tuple(labels)), ("The data set names no classes: the numbers decide.",))
    numbers = {_plain(label): number for number, label in enumerate(labels)}
    mapping = {number: numbers.get(_plain(name), -1) for number, name in enumerate(dataset.classes)}
    known = sum(number >= 0 for number in mapping.values())
    same_count = len(dataset.classes) == len(labels)
    if same_count and known < len(labels) and not certain:
        return Aligned(dataset, ("The model names no classes: the data set's names and order are taken for its own.",))
    if known == 0 and same_count and dataset.task == "classify":
        note = (
            f"No class has the model's name ({dataset.classes[0]!r}, {labels[0]!r}): the order of the folders decides."
        )
        return Aligned(replace(dataset, classes=tuple(labels)), (note,))
    if known == 0:
        raise InputError(
            f"the data set's classes ({_some(dataset.classes)}) are none of the model's ({_some(labels)}): "
            "evaluate on data of the model's classes, or give its names with --labels or --manifest"
        )
    aligned = replace(
        dataset,
        classes=tuple(labels),
        pictures=tuple(kept for one in dataset.pictures if (kept := _renumbered(one, mapping)) is not None),
    )
    _check_left(aligned)
    return Aligned(aligned, _notes(dataset.classes, labels, mapping))


def _plain(name: str) -> str:
    words = " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
    return _SYNONYMS.get(words.replace(" ", ""), words)


def _check_numbers(dataset: Dataset, num_classes: int) -> None:
    for picture in dataset.pictures:
        highest = max([-1 if picture.label is None else picture.label, *picture.truth[:, 0]])
        if highest >= num_classes:
            raise InputError(
                f"{picture.path}: its labels name class {int(highest)}, the model has {num_classes}, numbered from 0"
            )


def _renumbered(picture: Picture, mapping: Mapping[int, int]) -> Picture | None:
    """Return the picture in the model's numbers, None for one of a class that it does not know."""
    if picture.label is not None:
        number = mapping[picture.label]
        return replace(picture, label=number) if number >= 0 else None
    truth, kept = _rows(picture.truth, mapping)
    crowd, _ = _rows(picture.crowd, mapping)
    return replace(picture, truth=truth, crowd=crowd, areas=None if picture.areas is None else picture.areas[kept])


def _rows(rows: np.ndarray, mapping: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.array([mapping[int(number)] for number in rows[:, 0]], np.float64)
    kept = numbers >= 0
    moved = rows.copy()
    moved[:, 0] = numbers
    return moved[kept], kept


def _check_left(dataset: Dataset) -> None:
    if not any(picture.label is not None or len(picture.truth) for picture in dataset.pictures):
        raise InputError("no picture shows anything of the classes that data set and model share")


def _notes(classes: Sequence[str], labels: Sequence[str], mapping: Mapping[int, int]) -> tuple[str, ...]:
    strangers = [classes[number] for number, target in mapping.items() if target < 0]
    absent = [label for number, label in enumerate(labels) if number not in mapping.values()]
    notes = []
    if strangers:
        notes.append(f"Left out, because the model does not know them: {_some(strangers)}.")
    if absent:
        notes.append(f"Not judged, because the data set does not have them: {_some(absent)}.")
    return tuple(notes)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
