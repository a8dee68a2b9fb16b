"""From what a person typed to a comparison: models described, the data set's classes matched with theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.errors import InputError
from tools.model.datasets.classes import align
from tools.model.datasets.read import Half, read_dataset
from tools.model.evaluate.compare import Comparison, OnPicture, compare
from tools.model.manifest.describe import Described, describe, read_labels

_GUESSED = ("coco", "numbers", "dataset")


def evaluate(
    models: Sequence[Path],
    data: Path,
    *,
    manifest: Path | None = None,
    labels: Path | None = None,
    input_size: tuple[int, int] | None = None,
    half: Half = "all",
    limit: int | None = None,
    threads: int = 1,
    on_picture: OnPicture | None = None,
) -> Comparison:
    """Compare ``models`` on the data set at ``data``. Raises :class:`~agent.errors.LookoutError`.

    ``limit``: at most so many pictures, evenly chosen. Labels, input and decoder are those of ``manifest``, else what
    the files show.
    """
    names = name_models(models)
    given = () if labels is None else read_labels(labels)
    described = {name: describe(path, manifest, labels=given, input_size=input_size) for name, path in names.items()}
    first = next(iter(described.values()))
    _check_same(described)
    dataset = read_dataset(data).half(half)
    if half != "all":
        dataset = replace(dataset, form=f"{dataset.form}, {half} half")
    if limit is not None and limit < len(dataset.pictures):
        chosen = tuple(dataset.pictures[place * len(dataset.pictures) // limit] for place in range(limit))
        dataset = replace(dataset, pictures=chosen)
    if dataset.task != first.task:
        raise InputError(
            f"{models[0]} is a model to {first.task}, {data} a data set to {dataset.task}: a detector needs boxes as "
            "labels, a classifier a folder a class"
        )
    aligned = align(dataset, first.labels, certain=first.labels_from not in _GUESSED)
    return compare(
        names,
        {name: one.spec for name, one in described.items()},
        aligned.dataset,
        aligned.dataset.classes,
        threads=threads,
        notes=[*aligned.notes, *_assumed(described)],
        on_picture=on_picture,
    )


def name_models(models: Sequence[Path]) -> Mapping[str, Path]:
    """Name each model by its file's stem; by its folder too where two stems are the same.

    Raises :class:`InputError` for a file given twice.
    """
    stems = Counter(path.stem for path in models)
    named: dict[str, Path] = {}
    for path in models:
        name = path.stem if stems[path.stem] == 1 else f"{path.resolve().parent.name}/{path.stem}"
        if name in named:
            raise InputError(f"{path}: a model of this name was given twice; give each once, under names of their own")
        named[name] = path
    return named


def _check_same(described: Mapping[str, Described]) -> None:
    """Refuse models whose classes have other names, or the same in another order."""
    (first_name, first), *others = described.items()
    for name, one in others:
        if one.labels_from in _GUESSED or first.labels_from in _GUESSED or one.labels == first.labels:
            continue
        raise InputError(
            f"{name}: its labels are not those of {first_name}, or stand in another order: only models of the same "
            "classes can be set side by side"
        )


def _assumed(described: Mapping[str, Described]) -> list[str]:
    """Return what was assumed of the models, once each, with the names of those that it is assumed of."""
    whose: dict[str, list[str]] = {}
    for name, one in described.items():
        for doubt in one.assumed:
            whose.setdefault(doubt, []).append(name)
    return [f"Assumed of {', '.join(names)}: {doubt}" for doubt, names in whose.items()]
