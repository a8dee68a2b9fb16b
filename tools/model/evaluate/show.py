"""A comparison as facts for programs and as tables for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.table import Table

from agent.types import MB
from tools.model.evaluate.compare import Comparison, ModelScores
from tools.model.evaluate.detection import DetectionScores

DETECTION_COLUMNS: Mapping[str, Callable[[DetectionScores], float | None]] = {
    "mAP 50-95": lambda scores: scores.map_50_95,
    "mAP 50": lambda scores: scores.map_50,
    "mAP 75": lambda scores: scores.map_75,
    "small": lambda scores: scores.small,
    "medium": lambda scores: scores.medium,
    "large": lambda scores: scores.large,
}
_FIGURES: Mapping[str, Callable[[ModelScores], float | None]] = {
    "map_50_95": lambda one: one.detection.map_50_95 if one.detection else None,
    "map_50": lambda one: one.detection.map_50 if one.detection else None,
    "map_75": lambda one: one.detection.map_75 if one.detection else None,
    "top1": lambda one: one.classification.top1 if one.classification else None,
    "top5": lambda one: one.classification.top5 if one.classification else None,
    "agreement": lambda one: one.agreement,
    "matched_f1": lambda one: one.matched_f1,
}
NONE = "–"  # noqa: RUF001 - a dash stands for "nothing to judge by"


def summary(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return columns and one row a model. Accuracies are points, 0 to 100."""
    detect = found.dataset.task == "detect"
    columns = ["model", *(DETECTION_COLUMNS if detect else ("top-1", "top-5")), "agreement"]
    columns += ["matched F1"] if detect else []
    return [*columns, "ms", "MB"], [[model.name, *_figures(model)] for model in found.models]


def _figures(model: ModelScores) -> Iterator[str]:
    if model.detection is not None:
        yield from (points(figure(model.detection)) for figure in DETECTION_COLUMNS.values())
    if model.classification is not None:
        yield from (points(model.classification.top1), points(model.classification.top5))
    yield share(model.agreement)
    if model.detection is not None:
        yield share(model.matched_f1)
    yield f"{model.mean_ms:.1f}"
    yield f"{model.size_bytes / MB:.1f}"


def points(value: float | None) -> str:
    """Say 0..1 in points, 0 to 100."""
    return NONE if value is None else f"{value * 100:.1f}"


def share(value: float | None) -> str:
    """Say 0..1 as it is."""
    return NONE if value is None else f"{value:.3f}"


def per_class(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return columns and one row a class that occurs, the greatest loss of any model against the first on top."""
    first, *others = (_by_class(model) for model in found.models)
    columns = ["class", "pictures" if found.dataset.task == "classify" else "objects"]
    columns += [model.name for model in found.models]
    columns += ["most lost"] if others else []
    rows = []
    for number, (count, value) in first.items():
        values = [value, *(other[number][1] for other in others)]
        lost = max((value - other for other in values[1:]), default=0.0)
        rows.append((-lost, -count, [found.labels[number], str(count), *map(points, values)], lost))
    return columns, [[*row, f"{lost * 100:.1f}"] if others else row for _, _, row, lost in sorted(rows)]


def _by_class(model: ModelScores) -> dict[int, tuple[int, float]]:
    """Return how many there are of each class, and its average precision or share of right first answers."""
    if model.detection is not None:
        return {one.class_id: (one.objects, one.ap_50_95) for one in model.detection.per_class}
    assert model.classification is not None  # one of the two is there
    return {one.class_id: (one.pictures, one.top1) for one in model.classification.per_class}


def table(found: Comparison) -> Table:
    """Return the summary for a terminal: a line a figure, a column a model."""
    columns, rows = summary(found)
    shown = Table(title=f"{len(found.dataset.pictures)} pictures of {found.dataset.path}", title_justify="left")
    shown.add_column("")
    for row in rows:
        shown.add_column(row[0], justify="right", overflow="fold")
    for place, column in enumerate(columns[1:], start=1):
        shown.add_row(column, *(row[place] for row in rows))
    return shown


def facts(found: Comparison) -> dict[str, Any]:
    """Return everything for a program. The first level has what a manifest's ``metrics`` take, by model."""
    dataset = found.dataset
    by_name: dict[str, dict[str, float | None]] = {"mean_ms": {one.name: round(one.mean_ms, 3) for one in found.models}}
    for key, value in _FIGURES.items():
        figures = {one.name: value(one) for one in found.models}
        if any(figure is not None for figure in figures.values()):
            by_name[key] = {name: round(figure, 5) for name, figure in figures.items() if figure is not None}
    return {
        "dataset": dataset.path.name if dataset.path else "",
        "form": dataset.form,
        "task": dataset.task,
        "images": len(dataset.pictures),
        "threads": found.threads,
        **by_name,
        "notes": list(found.notes),
        "models": [_model_facts(one, found.labels) for one in found.models],
        "most_different": [
            {
                "path": str(dataset.pictures[one.index].path),
                "missed": one.missed,
                "extra": one.extra,
                "f1": round(one.f1, 4),
            }
            for one in found.different
        ],
    }


def _model_facts(model: ModelScores, labels: tuple[str, ...]) -> dict[str, Any]:
    sizes = {}
    if model.detection is not None:
        sizes = {
            f"map_{name}": None if value is None else round(value, 5)
            for name, value in (
                ("small", model.detection.small),
                ("medium", model.detection.medium),
                ("large", model.detection.large),
            )
        }
    by_class = {labels[number]: {"count": n, "value": round(ap, 5)} for number, (n, ap) in _by_class(model).items()}
    return {"name": model.name, "path": str(model.path), "bytes": model.size_bytes, **sizes, "per_class": by_class}
