"""Which of ONNX Runtime's options a model is run with on this host: what is worth trying, and the choice. Pure.

A device that must run flat out takes the options that give most frames. One whose cameras leave time takes those that
cost the least processor time, of those that keep up with the cameras (with air for the rest of the frame's way) and
within the budget on latency. More frames at once (``concurrency``) are more frames a second, each of them
later: they must be worth it. Measurements scatter: what is within :data:`CLOSE` of the best counts as equal, and of
equals the smallest is taken, so that noise cannot choose.
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

TOGETHER_OF_BUDGET = 0.5
"""The same where frames are computed at once: they wait for one another, so that slow ones are slower."""

WORTH = 1.1
"""Frames that are computed at once must be more in a second by this factor than one after the other."""

MANY = 4
"""Up to so many cores, every number of threads is tried; above, powers of two and all but one."""

TOGETHER = (2, 4)
"""So many frames at once are tried, where there are cores for them."""


class Need(msgspec.Struct, frozen=True):
    """What is asked of a model.

    ``fps``: frames a second of all its cameras, None: as many as can be. ``within_ms``: the manifest's budget on
    latency for this device. ``lean``: its memory is bounded, and every frame at once holds tensors of its own.
    """

    fps: float | None = None
    within_ms: float | None = None
    lean: bool = False


FLAT_OUT = Need()


def options_to_try(
    cores: int, *, threads: int | None, spin: bool | None, concurrency: int | None = None
) -> tuple[RunOptions, ...]:
    """Return the options among which is chosen, the smallest first; one alone where there is nothing to choose.

    ``cores`` is what the process may use. The others are what the operator has set, None: not set.
    """
    found = []
    for count in (1, *TOGETHER) if concurrency is None else (concurrency,):
        if count == 1:
            found += _one_by_one(cores, threads, spin)
        else:
            found += _together(cores, threads, spin, count, asked_for=concurrency is not None)
    return tuple(found)


def _one_by_one(cores: int, threads: int | None, spin: bool | None) -> list[RunOptions]:
    found = []
    for count in (threads,) if threads is not None else _counts(cores):
        ways = (False, True) if spin is None else (spin,)
        found += [RunOptions(count, spin=way) for way in (ways if count > 1 else (False,))]
    return found


def _together(
    cores: int, threads: int | None, spin: bool | None, concurrency: int, *, asked_for: bool
) -> list[RunOptions]:
    """Return what is worth trying of so many frames at once: each brings a thread, and they share the others."""
    room = cores - concurrency + 1
    count = max(1, room) if threads is None else threads
    if count > room and not asked_for:
        return []
    return [RunOptions(count, spin=bool(spin) and count > 1, concurrency=concurrency)]


def without_arena(costs: Sequence[RunCost], need: Need) -> tuple[RunOptions, ...]:
    """Return what is worth trying beside the best of ``costs``: the same without a memory arena."""
    return (msgspec.structs.replace(choose(costs, need).options, arena=False),)


def choose(costs: Iterable[RunCost], need: Need) -> RunCost:
    """Return the cost whose options serve ``need`` best; at least one is needed. Their order is of no matter."""
    measured = tuple(costs)
    known = tuple(cost for cost in measured if not need.lean or cost.options.concurrency == 1) or measured
    timely = tuple(cost for cost in known if _in_time(cost, need))
    if not timely:
        return _smallest_of_best(known, _run_ms)
    enough = () if need.fps is None else tuple(cost for cost in timely if cost.interval_ms * need.fps <= BUSY * 1000)
    return _smallest_of_best(enough, _cpu_ms) if enough else _smallest_of_best(timely, _interval_ms)


def gain(costs: Iterable[RunCost], options: RunOptions) -> float:
    """Return how many times the frames a second several at once give, over one by one on as many threads.

    1 where they are computed one by one, or where it was not measured.
    """
    known = {cost.options: cost for cost in costs}
    together = known.get(options)
    alone = known.get(RunOptions(options.threads))
    if options.concurrency == 1 or together is None or alone is None:
        return 1.0
    return alone.run_ms / together.interval_ms


def _in_time(cost: RunCost, need: Need) -> bool:
    """Whether the model keeps its budget on latency."""
    if need.within_ms is None:
        return True
    share = OF_BUDGET if cost.options.concurrency == 1 else TOGETHER_OF_BUDGET
    return cost.run_ms <= share * need.within_ms


def _smallest_of_best(costs: Sequence[RunCost], value: Callable[[RunCost], float]) -> RunCost:
    limit = CLOSE * min(value(cost) for cost in costs)
    equal = [cost for cost in costs if value(cost) <= limit]
    return min(equal, key=lambda cost: _size(cost.options))


def _size(options: RunOptions) -> tuple[int, int, bool, bool]:
    return options.concurrency, options.threads, options.spin, not options.arena


def _run_ms(cost: RunCost) -> float:
    return cost.run_ms


def _interval_ms(cost: RunCost) -> float:
    return cost.interval_ms * (WORTH if cost.options.concurrency > 1 else 1.0)


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
