"""What a piece of code costs, counted and not timed: a busy machine changes none of it.

Calls are Python's and those into compiled functions (``sys.setprofile``); operators on arrays are no calls, but what
they make shows in the bytes, which numpy tells ``tracemalloc`` of. Both are counted after warm-up, one run each.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(frozen=True)
class Cost:
    """``calls`` of one run; ``peak_bytes``: the most that it held at once beyond what it began with."""

    calls: int
    peak_bytes: int


def cost_of(work: Callable[[], object], *, warm: int = 3) -> Cost:
    """Count one run of ``work``, after ``warm`` others."""
    for _ in range(warm):
        work()
    return Cost(_calls(work), _peak(work))


def kept_by(work: Callable[[], object], runs: int) -> float:
    """Return the bytes that each of ``runs`` runs leaves behind, on the average, after as many to warm up."""
    for _ in range(runs):
        work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(runs):
            work()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return max(0, after - before) / runs


def _calls(work: Callable[[], object]) -> int:
    count = 0

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def _peak(work: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        result = work()
        _, peak = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
    return peak - before
