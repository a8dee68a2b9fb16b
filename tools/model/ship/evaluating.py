"""The evaluation as ``ship`` needs it: the shipped files themselves, side by side, through the device's own code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent import atomic
from agent.types import ModelSpec
from tools.model.datasets.read import Dataset
from tools.model.evaluate import show
from tools.model.evaluate.compare import Comparison, compare
from tools.model.evaluate.differ import draw, thumbnail
from tools.model.evaluate.sheet import page
from tools.model.manifest.facts import evaluation_metrics
from tools.model.report import plots
from tools.model.ship.parts import Figure, OnProgress, Outcome, Rows

PAGE = "evaluation.html"
MOST_PICTURES, MOST_CLASSES = 6, 20
IN_SAMPLE = (
    "These are the shipped files on the pictures that calibrated INT8: they show that the files are whole and where "
    "they differ; what INT8 costs is what was cross-fitted. Other pictures (--test) give figures of their own."
)


def evaluate(
    models: Mapping[str, Path],
    spec: ModelSpec,
    dataset: Dataset,
    labels: tuple[str, ...],
    folder: Path,
    *,
    unseen: bool,
    on_progress: OnProgress,
) -> Outcome:
    """Compare the variants; the whole comparison is a page of its own in ``folder``."""
    if not any(picture.label is not None or len(picture.truth) for picture in dataset.pictures):
        return Outcome(("the pictures have no labels: agreement is all that can be told",))
    found = compare(
        models,
        spec,
        dataset,
        labels,
        notes=() if unseen or len(models) == 1 else (IN_SAMPLE,),
        on_picture=lambda name, done, total: on_progress(f"evaluating {name}", done, total),
    )
    page(found).write(folder / PAGE)
    columns, rows = show.summary(found)
    classes, by_class = show.per_class(found)
    tables = (
        _rows("The shipped files", columns, rows),
        _rows(f"Classes that lost most (all: {PAGE})", classes, by_class[:MOST_CLASSES]),
    )
    facts = show.facts(found)
    metrics = evaluation_metrics(facts, {}) if unseen else {}
    metrics.pop("mean_ms", None)  # the benchmark's times are better
    return Outcome(found.notes, facts, metrics, tables, tuple(_figures(found, folder)))


def _rows(caption: str, columns: list[str], rows: list[list[str]]) -> Rows:
    return Rows(caption, tuple(columns), tuple(tuple(row) for row in rows))


def _figures(found: Comparison, folder: Path) -> list[Figure]:
    figures = []
    curves: dict[str, Any] = {
        model.name: (model.detection.recalls, model.detection.precisions)
        for model in found.models
        if model.detection is not None
    }
    if curves:
        drawn = plots.lines(
            curves, x_label="recall", y_label="precision at IoU 0.50", x_range=(0, 1), y_range=(0, 1.02)
        )
        atomic.write_bytes(folder / "curves.png", drawn)
        figures.append(Figure("curves.png", "Precision over recall, the mean over the classes"))
    for number, one in enumerate(found.different[:MOST_PICTURES], start=1):
        picture = found.dataset.pictures[one.index]
        rows = {name: answers[one.index] for name, answers in found.answers.items()}
        pixels = picture.pixels()
        data = draw(pixels, rows, found.labels) if found.dataset.task == "detect" else thumbnail(pixels)
        atomic.write_bytes(folder / f"different-{number}.jpg", data)
        words = f"{picture.path.name}: one of the pictures in which the variants differ most"
        figures.append(Figure(f"different-{number}.jpg", words))
    return figures
