"""How good a classifier is: how often its first answer is right, and how often one of its first five. Pure.

Answers are rows ``score class_id``, best first, one array a picture, as
:func:`~tools.model.evaluate.predict.predict` gives them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOTHING = -1
"""The class of a picture for which a model answers nothing."""


@dataclass(frozen=True)
class ClassShare:
    """One class: its number, how many pictures show it, and the share of them whose first answer is right."""

    class_id: int
    pictures: int
    top1: float


@dataclass(frozen=True)
class ClassificationScores:
    """Shares of pictures, 0..1. ``top5`` is None for a model of five classes or fewer, where it says nothing."""

    top1: float
    top5: float | None
    per_class: tuple[ClassShare, ...]


def score_classes(labels: Sequence[int], answers: Sequence[np.ndarray], num_classes: int) -> ClassificationScores:
    """Judge the answers by the pictures' true classes."""
    right = np.array(best_classes(answers)) == np.array(labels)
    among = [label in rows[:5, 1].astype(int) for label, rows in zip(labels, answers, strict=True)]
    shown = Counter(labels)
    found = Counter(label for label, hit in zip(labels, right, strict=True) if hit)
    return ClassificationScores(
        top1=float(np.mean(right)),
        top5=float(np.mean(among)) if num_classes > 5 else None,
        per_class=tuple(ClassShare(number, count, found[number] / count) for number, count in sorted(shown.items())),
    )


def best_classes(answers: Sequence[np.ndarray]) -> list[int]:
    """Return the first answer of every picture."""
    return [int(rows[0, 1]) if len(rows) else NOTHING for rows in answers]


def class_agreement(reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Return the share of pictures for which both give the same first answer."""
    pairs = list(zip(best_classes(reference), best_classes(other), strict=True))
    return sum(one == two for one, two in pairs) / len(pairs)
