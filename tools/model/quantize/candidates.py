"""Candidates of one model by what was seen in it: a range is chosen once a way, whatever stays in float.

Which blocks a recipe keeps in float changes nothing about the ranges of the others, and choosing them (by MSE above
all) takes longer than writing a candidate: a search that tries each block alone must not choose them anew for each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx

from tools.model.quantize import static
from tools.model.quantize.ranges import Histograms, Method, Ranges, choose
from tools.model.quantize.static import Recipe

_Way = tuple[Method, float, float | None]


class Candidates:
    """A cleaned model and what was ``seen`` in it. One thread."""

    def __init__(self, model: onnx.ModelProto, seen: Histograms) -> None:
        self._model = model
        self._seen = seen
        self._chosen: dict[_Way, Ranges] = {}

    def build(self, recipe: Recipe, *, only: Collection[str] | None = None) -> onnx.ModelProto:
        """Make a candidate; ``only``: the nodes that may be quantized. Raises :class:`~agent.errors.ModelError`."""
        way = (recipe.ranges, recipe.percentile, recipe.silu_floor)
        if way not in self._chosen:
            floors = static.silu_floors(self._model, recipe)
            self._chosen[way] = choose(self._seen, recipe.ranges, percentile=recipe.percentile, floors=floors)
        return static.insert(self._model, self._chosen[way], recipe, only=only)


def noise_to_signal(wanted: Sequence[list[np.ndarray]], found: Sequence[list[np.ndarray]]) -> float:
    """Return the mean over outputs of error power over signal power."""
    shares = []
    for column in range(len(wanted[0])):
        error = sum(float(np.square(one[column] - two[column]).sum()) for one, two in zip(wanted, found, strict=True))
        signal = sum(float(np.square(one[column]).sum()) for one in wanted)
        shares.append(error / max(signal, 1e-12))
    return sum(shares) / len(shares)
