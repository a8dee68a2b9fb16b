"""Fair timing of several models on a machine that does other things too.

The candidates take turns within every round, so that a slow moment hits all of them, and the medians forget it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from agent.errors import InputError

WARM_UP_ROUNDS = 3


def interleaved_medians_ms(runs: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Call every one of ``runs`` once a round, in turns, and return the median time of each in milliseconds.

    Raises :class:`InputError` for fewer than one round.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; at least 1 is needed")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(WARM_UP_ROUNDS + rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn >= WARM_UP_ROUNDS:
                times[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(samples) for name, samples in times.items()}
