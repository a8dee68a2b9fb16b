"""Classifiers: one output ``(1, classes)``, of which the best ``top`` are answered.

Probabilities are taken as they are; with ``softmax: true`` the output is logits and the softmax is applied here.
"""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Candidates, Params, Shape, Size, check_names, flag, whole_number

_TOP = 5


def expect_classify(*, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
    """Return the one output's shape. Raises :class:`~agent.errors.ModelError` for a wrong parameter."""
    del input_size
    check_names(params, ("softmax", "top"))
    flag(params, "softmax")
    whole_number(params, "top", _TOP)
    return ((1, num_classes),)


def decode_classify(
    outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
) -> Candidates:
    """Return the best classes that score at least ``score_floor``, best first; each box is the whole input."""
    scores = next(output for output in outputs if output.shape == (1, num_classes))[0]
    if params.get("softmax", False):
        weights = np.exp(scores - scores.max())
        scores = weights / weights.sum()
    best = np.argsort(-scores, kind="stable")[: params.get("top", _TOP)]
    best = best[scores[best] >= score_floor]
    boxes = np.tile(np.array([0, 0, *input_size], np.float32), (len(best), 1))
    return Candidates(boxes, scores[best], best.astype(np.int32))
