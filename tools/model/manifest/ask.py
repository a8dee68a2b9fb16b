"""From what a person gave on the command line, or ``ship`` at the end of its road, to a draft."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import InputError
from agent.registry.manifest import Manifest
from tools.model.manifest.describe import Described, describe, parse_size, read_labels, read_manifest
from tools.model.manifest.draft import GOLDEN_IMAGES, Drafted, Extras, OnProgress, draft, shown_of
from tools.model.manifest.facts import evaluation_metrics, quantization_section, read_report
from tools.model.manifest.graph import load_graph

if TYPE_CHECKING:
    from tools.model.datasets.read import Dataset


@dataclass(frozen=True)
class Asked:
    """The command's arguments; see its help."""

    models: tuple[Path, ...]
    folder: Path
    name: str
    version: str
    data: Path | None = None
    base: Path | None = None
    evaluation: Path | None = None
    quantization: Path | None = None
    labels: Path | None = None
    input_size: str | None = None
    score: float | None = None
    golden: int = GOLDEN_IMAGES
    budget: tuple[str, ...] = ()
    description: str = ""
    license: str = ""


def draft_from(asked: Asked, on_progress: OnProgress) -> Drafted:
    """Draft what was asked for. Raises what :func:`~tools.model.manifest.draft.draft` raises."""
    size = parse_size(asked.input_size) if asked.input_size else None
    budget = parse_budget(asked.budget)
    if asked.score is not None and not 0 <= asked.score <= 1:
        raise InputError(f"--score {asked.score:g}: a score is 0 to 1")
    dataset = _dataset(asked.data)
    base = read_manifest(asked.base) if asked.base else None
    given = read_labels(asked.labels) if asked.labels else ()
    described = describe(asked.models[0], asked.base, labels=given, input_size=size)
    notes: tuple[str, ...] = ()
    if dataset is not None:
        joined = join(described, dataset)
        described, dataset, notes = joined.described, joined.dataset, joined.notes
    metrics = _metrics(asked)
    quantization = quantization_section(read_report(asked.quantization, "--quantization")) if asked.quantization else {}
    extras = Extras(
        description=asked.description,
        license=asked.license,
        score=asked.score,
        metrics=metrics,
        quantization=quantization or None,
        budget=budget,
        golden_images=asked.golden,
        input_size=size,
        by_hand=base is not None,
    )
    drafted = draft(
        asked.models,
        asked.folder,
        name=asked.name,
        version=asked.version,
        described=described,
        shown=shown_of(dataset) if dataset else (),
        extras=_from_base(extras, base) if base else extras,
        on_progress=on_progress,
    )
    return replace(drafted, notes=(*notes, *drafted.notes))


def _metrics(asked: Asked) -> dict[str, Any]:
    """Return the evaluation's figures by precision instead of by file."""
    if asked.evaluation is None:
        return {}
    names = {path.stem: load_graph(path).precision for path in asked.models}
    return evaluation_metrics(read_report(asked.evaluation, "--evaluation"), names)


def _dataset(path: Path | None) -> Dataset | None:
    if path is None:
        return None
    from tools.model.datasets.read import read_dataset

    return read_dataset(path)


@dataclass(frozen=True)
class Joined:
    """A model and a dataset that speak of the same classes, and what had to be assumed or left out for it."""

    described: Described
    dataset: Dataset
    notes: tuple[str, ...]


def join(described: Described, dataset: Dataset) -> Joined:
    """Give the dataset's labels the model's numbers, and a model that names no classes the dataset's names.

    Raises :class:`InputError` where the two have nothing to do with one another.
    """
    from tools.model.datasets.classes import align

    guessed = described.labels_from in ("coco", "numbers")
    aligned = align(dataset, described.labels, certain=not guessed)
    if guessed and dataset.classes and len(dataset.classes) == described.spec.num_classes:
        described = replace(described, labels=aligned.dataset.classes, labels_from="dataset")
    labelled = any(picture.label is not None or len(picture.truth) for picture in dataset.pictures)
    return Joined(described, aligned.dataset, aligned.notes if labelled else ())


def _from_base(extras: Extras, base: Manifest) -> Extras:
    """Take over from an earlier manifest what was not given anew."""
    kept = base.model_dump(mode="json", exclude_none=True)
    return replace(
        extras,
        description=extras.description or base.description,
        license=extras.license or base.license,
        max_detections=base.thresholds.max_detections,
        metrics=extras.metrics or kept["metrics"],
        quantization=extras.quantization or kept.get("quantization"),
        budget=extras.budget or kept["budget"],
    )


def parse_budget(texts: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Read ``CLASS:latency_ms_p95=150`` (``default:`` may be left out). Raises :class:`InputError`."""
    budget: dict[str, dict[str, float]] = {}
    for text in texts:
        where, _, rest = text.rpartition(":")
        key, _, value = rest.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if key not in ("latency_ms_p95", "memory_mb") or not 0 < number < float("inf"):
            raise InputError(f"--budget {text}: is not CLASS:latency_ms_p95=150 or CLASS:memory_mb=400")
        budget.setdefault(where or "default", {})[key] = number
    return budget
