"""Which of ONNX Runtime's options a model is run with on this host: what is worth trying, and the choice. Pure.

A device that must run flat out takes the options under which a run is shortest. One whose cameras leave time takes
those that cost the least processor time, of those that keep up with the cameras (with air for the rest of the frame's
way) and within the budget on latency. Measurements scatter: what is within :data:`CLOSE` of the best counts as equal,
and of equals the smallest is taken, so that noise cannot choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from agent.types import RunCost, RunOptions

CLOSE = 1.05
"""Costs above the least by no more than this factor are equal."""

BUSY = 0.7
"""The share of its time that a worker may be computing where it has to keep up with its cameras."""

OF_BUDGET = 0.8
"""The share of the budget on latency that ``run`` may take; the rest is pre- and post-processing."""

MANY = 4
"""Up to so many cores, every number of threads is tried; above, powers of two and all but one."""


class Need(msgspec.Struct, frozen=True):
    """What is asked of a model.

    ``fps``: frames a second of all its cameras, None: as many as can be. ``within_ms``: the manifest's budget on
    latency for this device.
    """

    fps: float | None = None
    within_ms: float | None = None


FLAT_OUT = Need()


def options_to_try(cores: int, *, threads: int | None, spin: bool | None) -> tuple[RunOptions, ...]:
    """Return the options among which is chosen, the smallest first; one alone where there is nothing to choose.

    ``cores`` is what the process may use. ``threads`` and ``spin`` are what the operator has set, None: not set.
    """
    counts = (threads,) if threads is not None else _counts(cores)
    found = []
    for count in counts:
        ways = (False, True) if spin is None else (spin,)
        found += [RunOptions(count, spin=way) for way in (ways if count > 1 else (False,))]
    return tuple(found)


def without_arena(costs: Sequence[RunCost], need: Need) -> tuple[RunOptions, ...]:
    """Return what is worth trying beside the best of ``costs``: the same without a memory arena."""
    return (msgspec.structs.replace(choose(costs, need).options, arena=False),)


def choose(costs: Iterable[RunCost], need: Need) -> RunCost:
    """Return the cost whose options serve ``need`` best; at least one is needed. Their order is of no matter."""
    known = tuple(costs)
    enough = _enough(known, need)
    least = _cpu_ms if enough and need.fps is not None else _run_ms
    return _smallest_of_best(enough or known, least)


def _enough(costs: Sequence[RunCost], need: Need) -> tuple[RunCost, ...]:
    """Return those under which the model keeps up and keeps its budget; none where it cannot, or need not."""
    if need.fps is None:
        return ()
    most_ms = BUSY * 1000 / need.fps if need.fps > 0 else float("inf")
    if need.within_ms is not None:
        most_ms = min(most_ms, OF_BUDGET * need.within_ms)
    return tuple(cost for cost in costs if cost.run_ms <= most_ms)


def _smallest_of_best(costs: Sequence[RunCost], value: Callable[[RunCost], float]) -> RunCost:
    limit = CLOSE * min(value(cost) for cost in costs)
    equal = [cost for cost in costs if value(cost) <= limit]
    return min(equal, key=lambda cost: (cost.options.threads, cost.options.spin, not cost.options.arena))


def _run_ms(cost: RunCost) -> float:
    return cost.run_ms


def _cpu_ms(cost: RunCost) -> float:
    return cost.cpu_ms


def _counts(cores: int) -> tuple[int, ...]:
    if cores <= MANY:
        return tuple(range(1, max(1, cores) + 1))
    counts = {cores - 1, cores}
    count = 1
    while count < cores:
        counts.add(count)
        count *= 2
    return tuple(sorted(counts))
