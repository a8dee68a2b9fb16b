"""The pictures in which models differ most from the first one, found and drawn side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from agent.errors import OutputError
from agent.vision.overlap import overlaps as iou_matrix
from tools.model.agreement import IOU, SCORE, compare
from tools.model.evaluate.classification import best_classes

PANEL = 460
"""Pixels of a panel's longer side."""

_ALONE, _SHARED, _INK, _BAR = (0, 94, 213), (178, 114, 0), (255, 255, 255), (40, 33, 28)  # BGR
_BAND = 26
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Difference:
    """One picture by its place in the data set; ``missed`` and ``extra`` boxes of the others, ``f1`` the least of them.

    For classifiers ``missed`` counts the models with another first answer.
    """

    index: int
    missed: int
    extra: int
    f1: float


def differing_boxes(answers: Mapping[str, Sequence[np.ndarray]], most: int) -> tuple[Difference, ...]:
    """Return the pictures with the most boxes that only the first or only another model sees, those first."""
    first, *others = answers.values()
    found = []
    for index, reference in enumerate(first):
        each = [compare(reference, other[index]) for other in others]
        missed, extra = sum(one.missed for one in each), sum(one.extra for one in each)
        if missed or extra:
            found.append(Difference(index, missed, extra, min(one.f1 for one in each)))
    return tuple(sorted(found, key=lambda one: (-one.missed - one.extra, one.f1, one.index))[:most])


def differing_classes(answers: Mapping[str, Sequence[np.ndarray]], most: int) -> tuple[Difference, ...]:
    """Return the pictures with another first answer than the first model's, its surest ones first."""
    first, *others = (best_classes(rows) for rows in answers.values())
    scores = [float(rows[0, 0]) if len(rows) else 0.0 for rows in next(iter(answers.values()))]
    found = []
    for index, answer in enumerate(first):
        unlike = sum(other[index] != answer for other in others)
        if unlike:
            found.append(Difference(index, unlike, 0, 1 - unlike / len(others)))
    return tuple(sorted(found, key=lambda one: (-scores[one.index], one.index))[:most])


def draw(pixels: np.ndarray, answers: Mapping[str, np.ndarray], labels: Sequence[str]) -> bytes:
    """Return a JPEG with one panel a model: blue what both see, orange what only this one sees against the first model.

    In the first panel orange is what none of the others sees.
    """
    scale = min(PANEL / max(pixels.shape[:2]), 2.0)
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=shrink)
    kept = {name: rows[rows[:, 4] >= SCORE] for name, rows in answers.items()}
    first, *others = kept
    seen = np.zeros(len(kept[first]), bool)
    alone: dict[str, np.ndarray] = {}
    for name in others:
        by_first, by_other = _pair(kept[first], kept[name])
        seen |= by_first
        alone[name] = ~by_other
    alone[first] = ~seen
    panels = [_panel(small, rows, alone[name], scale, name, labels) for name, rows in kept.items()]
    lines = [np.hstack(panels[start : start + 2]) for start in range(0, len(panels), 2)]
    widest = max(line.shape[1] for line in lines)
    padded = [
        cv2.copyMakeBorder(line, 0, 0, 0, widest - line.shape[1], cv2.BORDER_CONSTANT, value=_BAR) for line in lines
    ]
    return jpeg(np.vstack(padded))


def jpeg(pixels: np.ndarray) -> bytes:
    """Encode BGR pixels. Raises :class:`~agent.errors.OutputError` when OpenCV cannot."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OutputError(f"a picture of {pixels.shape} cannot be encoded as JPEG")
    return data.tobytes()


def thumbnail(pixels: np.ndarray) -> bytes:
    """Return a JPEG whose longer side is :data:`PANEL`, or the picture's own size if that is less."""
    scale = min(1.0, PANEL / max(pixels.shape[:2]))
    return jpeg(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _pair(reference: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell which boxes of each side have a partner, as :func:`tools.model.agreement.compare` pairs them: one to one."""
    overlaps = iou_matrix(other[:, :4], reference[:, :4])
    overlaps[other[:, 5][:, None] != reference[:, 5][None, :]] = 0.0
    by_reference, by_other = np.zeros(len(reference), bool), np.zeros(len(other), bool)
    if not len(reference):
        return by_reference, by_other
    for place in np.argsort(-other[:, 4], kind="stable"):
        best = int(overlaps[place].argmax())
        if overlaps[place, best] >= IOU:
            by_other[place] = by_reference[best] = True
            overlaps[:, best] = 0.0
    return by_reference, by_other


def _panel(
    pixels: np.ndarray, rows: np.ndarray, alone: np.ndarray, scale: float, name: str, labels: Sequence[str]
) -> np.ndarray:
    panel = pixels.copy()
    places = [tuple(round(value) for value in row) for row in (rows[:, :4] * scale).tolist()]
    for x1, y1, x2, y2 in [place for place, only in zip(places, alone, strict=True) if not only]:
        cv2.rectangle(panel, (x1, y1), (x2, y2), _SHARED, 1, cv2.LINE_AA)
    taken = np.zeros(panel.shape[:2], bool)
    surest_first = np.flatnonzero(alone)[np.argsort(-rows[alone, 4], kind="stable")]
    for x1, y1, x2, y2 in [places[place] for place in surest_first]:
        cv2.rectangle(panel, (x1, y1), (x2, y2), _ALONE, 2, cv2.LINE_AA)
    for place in surest_first:
        _tag(panel, taken, f"{labels[int(rows[place, 5])]} {rows[place, 4]:.2f}", places[place][:2])
    band = np.full((_BAND, panel.shape[1], 3), _BAR, np.uint8)
    title = f"{name}: {len(rows)} seen, {int(alone.sum())} by it alone"
    size = 0.45
    while size > 0.25 and cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] > panel.shape[1] - 12:
        size -= 0.03
    cv2.putText(band, title, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
    whole = np.vstack([band, panel])
    bordered: np.ndarray = cv2.copyMakeBorder(whole, 0, 4, 0, 4, cv2.BORDER_CONSTANT, value=_BAR)
    return bordered


def _tag(panel: np.ndarray, taken: np.ndarray, text: str, corner: tuple[int, int]) -> None:
    """Write ``text`` above ``corner``, unless a surer box's text is ``taken`` to be there."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    left = max(0, min(corner[0], panel.shape[1] - width - 4))
    top = max(0, corner[1] - height - 6)
    area = (slice(top, top + height + 6), slice(left, left + width + 4))
    if taken[area].any():
        return
    taken[area] = True
    cv2.rectangle(panel, (left, top), (left + width + 4, top + height + 6), _ALONE, cv2.FILLED)
    cv2.putText(panel, text, (left + 2, top + height + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
