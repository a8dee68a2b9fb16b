"""A comparison as a page: figures, curves, classes, confusions, and the pictures in which the models differ most."""

from __future__ import annotations

import numpy as np

from tools.model.evaluate import show
from tools.model.evaluate.compare import Comparison, ModelScores
from tools.model.evaluate.confusion import SCORE, most_confused
from tools.model.evaluate.differ import Difference, draw, thumbnail
from tools.model.report import plots
from tools.model.report.page import Page

MOST_CONFUSED = 20
MOST_BARS = 20


def page(found: Comparison) -> Page:
    """Make the page; reads the pictures that are shown. Raises :class:`~agent.errors.InputError` when it cannot."""
    names = [model.name for model in found.models]
    made = Page(("How good is " if len(names) == 1 else "How good are ") + _listed(names) + "?")
    made.text(_about(found))
    for note in found.notes:
        made.warning(note)
    made.heading("Figures")
    columns, rows = show.summary(found)
    made.table(columns, rows, _explained(found))
    if found.dataset.task == "detect":
        _curves(made, found)
    _classes(made, found)
    made.heading("What is taken for what")
    for model in found.models:
        _confusion(made, model, found.labels)
    if len(found.models) > 1:
        _differences(made, found)
    return made


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _about(found: Comparison) -> str:
    dataset = found.dataset
    shown = f"{len(dataset.pictures)} pictures of {dataset.path or 'the data set'} ({dataset.form or 'given'})"
    if dataset.task == "detect":
        shown += f" with {sum(len(picture.truth) for picture in dataset.pictures)} labelled objects"
    return (
        f"Measured on {shown}, through the agent's own preprocessing, decoder and NMS, so that it is "
        "what a device sees; the limits are the field's (score 0.001, NMS 0.65), so that figures may be set beside "
        "published ones."
    )


def _explained(found: Comparison) -> str:
    first = found.models[0].name
    if found.dataset.task == "classify":
        accuracy = "top-1 and top-5: how many of 100 pictures are named rightly at once, or among five answers. "
        agreement = f"Agreement: the share of pictures that are named as {first} names them. "
    else:
        accuracy = "mAP in points, 0 to 100, also of small, medium and large objects apart. "
        agreement = (
            f"Agreement: mAP 50-95 against {first}'s own detections above 0.3. Matched F1: the same by counting pairs "
            "at IoU 0.5. "
        )
    time = (
        f"ms: from pixels to answer, mean, {found.threads or 'all but one'} thread(s), on the machine that measured; "
    )
    return accuracy + (agreement if len(found.models) > 1 else "") + time + "for timing proper: lookout model bench."


def _curves(made: Page, found: Comparison) -> None:
    made.heading("Precision and recall")
    series = {
        model.name: (model.detection.recalls, model.detection.precisions)
        for model in found.models
        if model.detection is not None
    }
    drawn = plots.lines(series, x_label="recall", y_label="precision at IoU 0.50", x_range=(0, 1), y_range=(0, 1.02))
    made.picture(
        drawn,
        "The mean over the classes: how much of what is reported is right, when so much of what is there is found.",
        "precision over recall, one line a model",
    )


def _classes(made: Page, found: Comparison) -> None:
    made.heading("Classes")
    columns, rows = show.per_class(found)
    measure = "share of right first answers" if found.dataset.task == "classify" else "AP 50-95"
    if len(rows) > 1:
        top = rows[:MOST_BARS]
        series = {model.name: [float(row[2 + place]) for row in top] for place, model in enumerate(found.models)}
        which = f"The {len(top)} of {len(rows)} classes" if len(rows) > len(top) else "The classes"
        order = "that lost most against the first model" if len(found.models) > 1 else "that occur most"
        drawn = plots.bars([row[0] for row in top], series, x_label=f"{measure}, points")
        made.picture(drawn, f"{which} {order}.", "bars of the accuracy of each class, one a model")
    made.table(columns, rows, f"{measure} in points, for every class that occurs.")


def _confusion(made: Page, model: ModelScores, labels: tuple[str, ...]) -> None:
    chosen = most_confused(model.confusion, MOST_CONFUSED)
    boxes = model.detection is not None
    last = len(labels)
    rows = [*chosen, last] if boxes else [*chosen]
    columns = [*chosen, last] if boxes or model.confusion[:, last].any() else [*chosen]
    counts = model.confusion[np.ix_(rows, columns)]
    names = [labels[number] for number in chosen]
    drawn = plots.matrix(
        counts,
        [*names, "(nothing)"] if boxes else names,
        [*names, "(not seen)" if boxes else "(no answer)"][: len(columns)],
        x_label="what the model says",
        y_label="what is there",
    )
    occur = int(np.count_nonzero(model.confusion[:-1].sum(axis=1) + model.confusion[:, :-1].sum(axis=0)))
    which = f"the {len(chosen)} most confused of {occur} classes that occur" if occur > len(chosen) else "all classes"
    above = f"; detections above {SCORE}, overlap of at least half, whatever the class" if boxes else ""
    made.picture(
        drawn,
        f"{model.name}: {which}{above}. The darker, the greater the share of its row.",
        f"confusions, {model.name}",
    )


def _differences(made: Page, found: Comparison) -> None:
    made.heading("Where they differ most")
    if not found.different:
        made.text("Nowhere: the models say the same of every picture.")
        return
    if found.dataset.task == "detect":
        made.text(
            "Blue: seen by both (score 0.3, IoU 0.5, same class). Orange, with class and score: by this model alone."
        )
    for one in found.different:
        picture = found.dataset.pictures[one.index]
        pixels = picture.pixels()
        rows = {name: answers[one.index] for name, answers in found.answers.items()}
        if found.dataset.task == "detect":
            data, caption = draw(pixels, rows, found.labels), _counted(one, found)
        else:
            data, caption = thumbnail(pixels), _said(rows, found, picture.label)
        made.picture(data, f"{picture.path.name}: {caption}", f"{picture.path.name}, {caption}")


def _counted(one: Difference, found: Comparison) -> str:
    first = found.models[0].name
    others = found.models[1].name if len(found.models) == 2 else "the others"
    return f"{one.missed} seen by {first} alone, {one.extra} by {others} alone, matched F1 {one.f1:.2f}"


def _said(rows: dict[str, np.ndarray], found: Comparison, label: int | None) -> str:
    said = [
        f"{name}: {found.labels[int(answers[0, 1])]} {answers[0, 0]:.2f}" if len(answers) else f"{name}: nothing"
        for name, answers in rows.items()
    ]
    return "; ".join([*said, f"truth: {found.labels[label]}" if label is not None else ""]).rstrip("; ")
