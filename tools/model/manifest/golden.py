"""Golden images out of a dataset: pictures in which every variant sees the same few things, clearly and alone.

A device compares what it sees with what the manifest expects, within a tolerance (:mod:`agent.deploy.golden`); what it
sees beside that is no fault. So only detections are expected that leave room for another CPU's last digits: high
scores, boxes that nothing overlaps, and variants that agree within half the tolerance. What is expected is what the
models see in the *copy* that goes into the release: smaller, without the camera's metadata, decoded as a device does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap

import cv2
import numpy as np

from agent.errors import InputError
from agent.infer.detector import Detector
from agent.registry.manifest import GoldenTolerance
from agent.vision.overlap import overlaps as iou_matrix

LONGEST_SIDE = 640
JPEG_QUALITY = 92
MOST_SIGHTS = 5
CLEAR_SCORE = 0.55
MARGIN = 0.15
"""How far above the reporting threshold a score must lie, so that no device swallows it."""
SMALLEST_SIDE = 16
ALONE_IOU = 0.3
CLASS_GAP = 0.2
TOLERANCE = GoldenTolerance()


@dataclass(frozen=True)
class Sight:
    """One thing that must be seen; ``box`` is None for a class of the whole picture."""

    class_id: int
    score: float
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class GoldenPicture:
    """An encoded picture and what every variant sees in it. ``source``: which picture of the dataset it was."""

    source: str
    jpeg: bytes
    sights: tuple[Sight, ...]

    @property
    def worth(self) -> float:
        """How clear its sights are, together."""
        return sum(sight.score for sight in self.sights)


def choose(
    detectors: Sequence[Detector],
    pictures: Sequence[tuple[str, Callable[[], np.ndarray]]],
    *,
    count: int,
    score: float,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[GoldenPicture]:
    """Return up to ``count`` golden pictures: the clearest, and preferably of different classes.

    ``pictures``: a name and a function that gives its pixels (BGR) each; ``score``: the manifest's threshold. The first
    detector is the reference. Raises :class:`~agent.errors.InputError` for a picture that cannot be read.
    """
    candidates = []
    for number, (name, pixels) in enumerate(pictures):
        on_progress(number, len(pictures))
        found = consider(detectors, name, pixels(), score=score)
        if found is not None:
            candidates.append(found)
    return _varied(candidates, count)


def _varied(candidates: list[GoldenPicture], count: int) -> list[GoldenPicture]:
    """Take the best one again and again; what shows classes that are not there yet goes first."""
    chosen: list[GoldenPicture] = []
    seen: set[int] = set()
    left = list(candidates)
    while left and len(chosen) < count:
        best = max(left, key=lambda one: (_news(one, seen), one.worth))
        left.remove(best)
        chosen.append(best)
        seen |= {sight.class_id for sight in best.sights}
    return chosen


def _news(picture: GoldenPicture, seen: set[int]) -> float:
    """Return how clearly it shows classes that are not there yet: each counts with its best score."""
    best: dict[int, float] = {}
    for sight in picture.sights:
        best[sight.class_id] = max(best.get(sight.class_id, 0.0), sight.score)
    return sum(score for class_id, score in best.items() if class_id not in seen)


def consider(detectors: Sequence[Detector], name: str, pixels: np.ndarray, *, score: float) -> GoldenPicture | None:
    """Return the picture as a golden one, None where the variants see nothing clearly or do not agree."""
    jpeg, copy = shrink(pixels)
    answers = [detector(copy) for detector in detectors]
    if answers[0].classes is not None:
        rows = [answer.classes for answer in answers if answer.classes is not None]
        sights = tuple(_same_class(rows, score))
    else:
        boxes = [answer.detections for answer in answers if answer.detections is not None]
        sights = tuple(_same_boxes(boxes, score))
    return GoldenPicture(name, jpeg, sights) if sights else None


def shrink(pixels: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Return a small copy as JPEG, and its pixels as they come out of it."""
    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    if scale < 1.0:
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    copy = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if copy is None:
        raise InputError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} cannot be written as JPEG")
    return data.tobytes(), np.asarray(copy)


def _same_boxes(answers: Sequence[np.ndarray], score: float) -> Iterator[Sight]:
    """Yield what the reference sees clearly and alone and every other variant sees too, best first."""
    reference = answers[0]
    overlaps = iou_matrix(reference[:, :4], reference[:, :4])
    np.fill_diagonal(overlaps, 0.0)
    found = 0
    for number, row in enumerate(reference):
        sides = row[2:4] - row[0:2]
        clear = row[4] >= max(CLEAR_SCORE, min(score + MARGIN, (1 + score) / 2)) and sides.min() >= SMALLEST_SIDE
        if not clear or overlaps[number].max(initial=0.0) > ALONE_IOU:
            continue
        scores = list(starmap(_score_of_match, [(row, answer) for answer in answers]))
        if None in scores or found == MOST_SIGHTS:
            continue
        found += 1
        yield Sight(int(row[5]), _middle([one for one in scores if one is not None]), _box(row))


def _score_of_match(wanted: np.ndarray, answer: np.ndarray) -> float | None:
    """Return the score with which a variant sees the same, None where it does not within half the tolerance."""
    same = answer[(answer[:, 5] == wanted[5]) & (np.abs(answer[:, 4] - wanted[4]) <= TOLERANCE.score / 2)]
    overlaps = iou_matrix(wanted[None, :4], same[:, :4])[0]
    if not len(same) or overlaps.max() < (1 + TOLERANCE.iou) / 2:
        return None
    return float(same[int(overlaps.argmax()), 4])


def _same_class(answers: Sequence[np.ndarray], score: float) -> Iterator[Sight]:
    """Yield the class that every variant puts first, with room to the second."""
    firsts = []
    for rows in answers:
        if not len(rows) or rows[0, 0] < max(CLEAR_SCORE, score):
            return
        if len(rows) > 1 and rows[0, 0] - rows[1, 0] < CLASS_GAP:
            return
        firsts.append(rows[0])
    scores = [float(row[0]) for row in firsts]
    if len({int(row[1]) for row in firsts}) == 1 and max(scores) - min(scores) <= TOLERANCE.score / 2:
        yield Sight(int(firsts[0][1]), _middle(scores), None)


def _middle(scores: Sequence[float]) -> float:
    return round((min(scores) + max(scores)) / 2, 3)


def _box(row: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(side), 1) for side in row[:4])
    return x1, y1, x2, y2
