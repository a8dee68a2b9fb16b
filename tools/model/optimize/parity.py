"""Do two models answer alike? Differences over all samples and outputs, and the bound that each kind of step must keep.

Differences of an output are divided by the largest number in it, so that one bound serves boxes in pixels and scores
alike. Steps that must not change the answer may differ by rounding only, everywhere. 16-bit floats carry three decimal
digits, and single numbers of a deep network then stray: their bound is wider, and of 999 numbers in 1000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from agent.errors import ModelError

EXACT = 1e-4
HALF = 3e-2
_TINY = 1e-12
_MOST = 0.999

Outputs = Sequence[np.ndarray]


class Parity(msgspec.Struct, frozen=True):
    """The largest and mean absolute difference; ``relative``: the largest over its output's range.

    ``most``: what 999 of 1000 numbers keep of the latter. ``bound`` is of ``most`` where it is :data:`HALF`'s or wider,
    else of ``relative``.
    """

    max_abs: float
    mean_abs: float
    relative: float
    most: float
    bound: float

    @property
    def judged(self) -> float:
        """What is compared with the bound."""
        return self.most if self.bound >= HALF else self.relative

    @property
    def kept(self) -> bool:
        """Tell whether the bound is kept; a difference that is no number breaks it."""
        return self.judged <= self.bound


def compare(reference: Sequence[Outputs], other: Sequence[Outputs], *, bound: float) -> Parity:
    """Compare answers, sample by sample and output by output. Raises :class:`ModelError` where shapes differ."""
    largest = relative = usual = total = 0.0
    count = 0
    for one, two in zip(reference, other, strict=True):
        if [output.shape for output in one] != [output.shape for output in two]:
            raise ModelError(
                f"the outputs have shapes {[list(output.shape) for output in two]}, "
                f"before the step {[list(output.shape) for output in one]}"
            )
        for exact, found in zip(one, two, strict=True):
            if not exact.size:
                continue
            difference = np.abs(exact.astype(np.float64) - found.astype(np.float64))
            most = float(difference.max())
            scale = float(np.abs(exact.astype(np.float64)).max())
            largest, relative = max(largest, most), max(relative, most / max(scale, _TINY))
            if not np.isfinite(most):
                return Parity(math.inf, math.inf, math.inf, math.inf, bound)
            usual = max(usual, float(np.quantile(difference, _MOST)) / max(scale, _TINY))
            total, count = total + float(difference.sum()), count + difference.size
    return Parity(largest, total / max(count, 1), relative, usual, bound)
