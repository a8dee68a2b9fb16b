"""The sigmoid, and how to put a threshold on its argument so that it is computed for few values only. Pure."""

from __future__ import annotations

import math

import numpy as np

_SLACK = 1e-3
_ENOUGH = 16.0  # the sigmoid is 1 in float32 from about 16.6 on


def least_logit(score: float) -> float:
    """Return a logit, a little on the low side, below which no sigmoid reaches ``score``."""
    if score <= 0.0:
        return -math.inf
    if score >= 1.0:
        return _ENOUGH
    return min(_ENOUGH, math.log(score / (1.0 - score)) - _SLACK)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), without overflow for any finite float32."""
    halves: np.ndarray = 0.5 * (np.tanh(0.5 * logits) + 1.0)
    return halves
