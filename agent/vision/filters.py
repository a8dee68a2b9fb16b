"""Which objects count: limits of score, area and shape, label by label. Pure; numpy only.

Labels are those that are reported, after the pipeline's remap; inside they are small whole numbers, the places in a
:class:`Vocabulary` that outlives a change of the model, so that ``person`` of one model is ``person`` of the next. A
:class:`Sieve` is limits compiled to arrays by label, made anew whenever the vocabulary grows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np


class Limits(msgspec.Struct, frozen=True):
    """What an object must be: its score, its area as part of the picture's, its ratio of width to height."""

    score: float = 0.0
    min_area: float = 0.0
    max_area: float = 1.0
    min_ratio: float = 0.0
    max_ratio: float = math.inf


ANYTHING = Limits()


class Vocabulary:
    """Labels and their numbers, from 0 in the order in which they were met; ``version`` grows with every change."""

    def __init__(self, labels: Iterable[str] = ()) -> None:
        self.labels: list[str] = []
        self.version = 0
        self._ids: dict[str, int] = {}
        for label in labels:
            self.id_of(label)

    def __len__(self) -> int:
        return len(self.labels)

    def id_of(self, label: str) -> int:
        """Return the label's number; a new label gets the next one."""
        found = self._ids.setdefault(label, len(self.labels))
        if found == len(self.labels):
            self.labels.append(label)
            self.version += 1
        return found

    def clear(self) -> None:
        """Forget all labels; whoever kept a number has to forget it too."""
        self.labels.clear()
        self._ids.clear()
        self.version += 1


class Sieve:
    """Limits by label. ``labels``: None takes all; ``limits`` has what is asked of some, ``default`` of the others."""

    def __init__(
        self,
        labels: frozenset[str] | None = None,
        limits: Mapping[str, Limits] | None = None,
        default: Limits = ANYTHING,
    ) -> None:
        self._labels = labels
        self._limits = dict(limits or {})
        self._default = default
        self._version = -1
        self._wanted = np.zeros(0, bool)
        self._bounds = np.zeros((5, 0))
        self._open = labels is None and not self._limits and default == ANYTHING

    def passes(
        self, vocabulary: Vocabulary, label_ids: np.ndarray, scores: np.ndarray, boxes: np.ndarray, area: float
    ) -> np.ndarray:
        """Return which objects pass: bool (n,).

        ``label_ids`` int (n,) from ``vocabulary``, ``scores`` (n,), ``boxes`` (n, 4); pixels of a picture of ``area``.
        """
        if self._open:
            return np.ones(len(label_ids), bool)
        if vocabulary.version != self._version:
            self._compile(vocabulary)
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
        areas = sides[:, 0] * sides[:, 1] / area
        ratios = sides[:, 0] / np.maximum(sides[:, 1], 1e-9)
        score, least_area, most_area, least_ratio, most_ratio = self._bounds[:, label_ids]
        return np.asarray(
            self._wanted[label_ids]
            & (scores >= score)
            & (areas >= least_area)
            & (areas <= most_area)
            & (ratios >= least_ratio)
            & (ratios <= most_ratio)
        )

    def _compile(self, vocabulary: Vocabulary) -> None:
        rows = [self._limits.get(label, self._default) for label in vocabulary.labels]
        self._wanted = np.array([self._labels is None or label in self._labels for label in vocabulary.labels], bool)
        self._bounds = np.array([msgspec.structs.astuple(row) for row in rows], float).reshape(-1, 5).T
        self._version = vocabulary.version
