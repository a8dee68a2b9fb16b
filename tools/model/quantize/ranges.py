"""From pictures to the range of every value: histograms once, any method afterwards.

ONNX Runtime's calibrators run the model anew for each method and know no MSE. Here the float model runs twice over the
calibration tensors (extremes, then histograms between them), and every method reads its ranges off the same histograms,
so that a search over methods costs no further run. A range always holds 0, which both padding and ReLU need exactly.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, get_args

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import numpy as np
import onnx
import onnxruntime

from agent.errors import InputError, ModelError
from tools.model.quantize import graph

BINS = 2048
LEVELS = 255
"""Steps between the 256 values of eight bits."""

COUNTED = 30_000
"""About so many numbers of one value and picture enter its histogram (its extremes are exact)."""

GROUP_BYTES = 256_000_000
"""Values fetched in one run together take at most about this much."""

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[str, ...] = get_args(Method)
Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Histograms:
    """What was seen of each value in ``names``: ``low`` and ``high`` (n,), ``counts`` (n, BINS) over ``edges`` (n, 2).

    The edges may be wider than the extremes: those of several sets are shared, so that their counts can be added.
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    edges: np.ndarray

    def __add__(self, other: Histograms) -> Histograms:
        """Return what was seen in both sets, which :func:`observe` returned together."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Histograms(self.names, low, high, self.counts + other.counts, self.edges)


def observe(model: onnx.ModelProto, sets: Sequence[Sequence[np.ndarray]]) -> list[Histograms]:
    """Run ``model`` over each set of input tensors and return what its values were, one :class:`Histograms` a set.

    Raises :class:`InputError` (a set is empty), :class:`ModelError` (the model cannot run, or answers no numbers).
    """
    if not sets or not all(len(tensors) for tensors in sets):
        raise InputError("calibration was given no images; at least one is needed")
    names = graph.float_tensors(model)
    watchers = [_Watcher(model, group) for group in _groups(model, names)]
    low, high = _extremes(watchers, sets, len(names))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        index = int(np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)).all(axis=0))[0])
        raise ModelError(f"the float model's value {names[index]} is not finite on these pictures")
    edges = np.stack([low.min(axis=0), high.max(axis=0)], axis=1)
    edges[:, 1] = np.maximum(edges[:, 1], edges[:, 0] + 1e-12)
    counts = _counts(watchers, sets, edges)
    return [Histograms(names, low[index], high[index], counts[index], edges) for index in range(len(sets))]


def choose(
    seen: Histograms, method: Method, *, percentile: float = 99.99, floors: Mapping[str, float] | None = None
) -> Ranges:
    """Return the range of every value by ``method``; ``floors`` raises the lower end of the values it names."""
    ranges = {}
    for index, name in enumerate(seen.names):
        low, high = _METHODS[method](_Seen.of(seen, index), percentile)
        if floors and name in floors:
            low = max(low, floors[name])
        ranges[name] = (min(low, 0.0), max(high, 0.0))
    return ranges


# --- the methods -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """One value's histogram."""

    low: float
    high: float
    counts: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, seen: Histograms, index: int) -> _Seen:
        edges = np.linspace(float(seen.edges[index, 0]), float(seen.edges[index, 1]), BINS + 1)
        return cls(float(seen.low[index]), float(seen.high[index]), seen.counts[index].astype(np.float64), edges)


def _minmax(seen: _Seen, _: float) -> tuple[float, float]:
    return seen.low, seen.high


def _percentile(seen: _Seen, percentile: float) -> tuple[float, float]:
    """Cut the same share off both ends."""
    total = seen.counts.sum()
    share = np.concatenate([[0.0], np.cumsum(seen.counts)]) / max(total, 1.0)
    cut = (100.0 - percentile) / 200.0
    low = seen.edges[max(int(np.searchsorted(share, cut, side="right")) - 1, 0)]
    high = seen.edges[min(int(np.searchsorted(share, 1.0 - cut, side="left")), BINS)]
    return max(float(low), seen.low), min(float(high), seen.high)


def _mse(seen: _Seen, _: float) -> tuple[float, float]:
    """Take the range whose rounding and clipping together cost least, in squares."""
    centres = (seen.edges[:-1] + seen.edges[1:]) / 2

    def cost(low: float, high: float) -> float:
        step = max((high - low) / LEVELS, 1e-12)
        clipped = np.clip(centres, low, high)
        error = np.square(centres - clipped) + np.where(clipped == centres, step * step / 12, 0.0)
        return float(error @ seen.counts)

    return _shrink(seen, cost)


def _entropy(seen: _Seen, _: float) -> tuple[float, float]:
    """Take the range whose 256 levels tell most of the distribution (Kullback-Leibler divergence)."""
    seen = _without_zero(seen)
    total = seen.counts.sum()

    def cost(low: float, high: float) -> float:
        first = int(np.clip(np.searchsorted(seen.edges, low, side="right") - 1, 0, BINS - 1))
        last = int(np.clip(np.searchsorted(seen.edges, high, side="left"), first + 1, BINS))
        inside = seen.counts[first:last]
        wanted = inside.copy()
        wanted[0] += seen.counts[:first].sum()
        wanted[-1] += seen.counts[last:].sum()
        levels = np.minimum(np.arange(len(inside)) * (LEVELS + 1) // max(len(inside), LEVELS + 1), LEVELS)
        mass = np.bincount(levels, inside)
        width = np.bincount(levels, inside > 0)
        told = np.where(inside > 0, (mass / np.maximum(width, 1))[levels], 0.0)
        both = (wanted > 0) & (told > 0)
        missing = wanted[(wanted > 0) & (told == 0)].sum() / total
        p, q = wanted[both] / total, told[both] / max(told.sum(), 1.0)
        return float((p * np.log(p / q)).sum() + missing * 10)  # what no level tells counts heavily

    return _shrink(seen, cost) if total else (seen.low, seen.high)


_METHODS: dict[str, Callable[[_Seen, float], tuple[float, float]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}


def _without_zero(seen: _Seen) -> _Seen:
    """Forget the bin of 0, which every range holds exactly: ReLU fills it so that nothing else would count."""
    counts = seen.counts.copy()
    counts[int(np.clip(np.searchsorted(seen.edges, 0.0, side="right") - 1, 0, BINS - 1))] = 0
    return dataclasses.replace(seen, counts=counts)


def _shrink(seen: _Seen, cost: Callable[[float, float], float]) -> tuple[float, float]:
    """Pull both ends towards 0 together, then each alone, to where ``cost`` is least."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    both = min(_SHARES, key=lambda share: cost(low * share, high * share))
    upper = min(_SHARES, key=lambda share: cost(low * both, high * share))
    lower = min(_SHARES, key=lambda share: cost(low * share, high * upper)) if low < 0 else 1.0
    return low * lower, high * upper


_SHARES = tuple(np.linspace(1.0, 0.1, 37).tolist())


# --- watching the model ----------------------------------------------------------------------------------------------


class _Watcher:
    """The model with some of its inner values as outputs; ``columns`` are their places among all names."""

    def __init__(self, model: onnx.ModelProto, group: Sequence[tuple[int, str]]) -> None:
        self.columns = [index for index, _ in group]
        self._names = [name for _, name in group]
        self._input = model.graph.input[0].name
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        given = {output.name for output in watched.graph.output} | {self._input}
        watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names if name not in given)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # the sets run side by side
        # Fusions would only make the inner values vanish.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, tensor: np.ndarray) -> Iterable[tuple[int, np.ndarray]]:
        """Yield column and value, for every value."""
        inner = [name for name in self._names if name != self._input]
        try:
            values = dict(zip(inner, self._session.run(inner, {self._input: tensor}), strict=True))
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the float model cannot run on a calibration image: {error}") from error
        values[self._input] = tensor
        for column, name in zip(self.columns, self._names, strict=True):
            yield column, values[name]


def _groups(model: onnx.ModelProto, names: Sequence[str]) -> list[list[tuple[int, str]]]:
    """Divide the values so that one run's fit in memory."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    groups: list[list[tuple[int, str]]] = [[]]
    held = 0
    for column, name in enumerate(names):
        size = 4 * int(np.prod([max(dim.dim_value, 1) for dim in shapes.get(name, [])], initial=1))
        if held + size > GROUP_BYTES and groups[-1]:
            groups.append([])
            held = 0
        groups[-1].append((column, name))
        held += size
    return groups


def _extremes(
    watchers: Sequence[_Watcher], sets: Sequence[Sequence[np.ndarray]], values: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest of every value, ``(sets, values)`` each."""

    def of(tensors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.full(values, np.inf), np.full(values, -np.inf)
        for column, value in _watch(watchers, tensors):
            low[column] = np.minimum(low[column], value.min(initial=np.inf))
            high[column] = np.maximum(high[column], value.max(initial=-np.inf))
        return low, high

    lows, highs = zip(*_side_by_side(of, sets), strict=True)
    return np.stack(lows), np.stack(highs)


def _counts(watchers: Sequence[_Watcher], sets: Sequence[Sequence[np.ndarray]], edges: np.ndarray) -> np.ndarray:
    """Return ``(sets, values, BINS)``; of a large value, every so many numbers are counted."""
    scale = (BINS / (edges[:, 1] - edges[:, 0])).astype(np.float32)

    def of(tensors: Sequence[np.ndarray]) -> np.ndarray:
        counts = np.zeros((len(edges), BINS), np.int64)
        for column, value in _watch(watchers, tensors):
            some = value.ravel()[:: max(1, value.size // COUNTED) | 1]  # odd: in step with no row or channel
            place = ((some - np.float32(edges[column, 0])) * scale[column]).astype(np.intp)
            np.clip(place, 0, BINS - 1, out=place)
            counts[column] += np.bincount(place, minlength=BINS)
        return counts

    return np.stack(_side_by_side(of, sets))


def _watch(watchers: Sequence[_Watcher], tensors: Sequence[np.ndarray]) -> Iterable[tuple[int, np.ndarray]]:
    for tensor in tensors:
        for watcher in watchers:
            yield from watcher(tensor)


def _side_by_side(of: Callable[[Sequence[np.ndarray]], Any], sets: Sequence[Sequence[np.ndarray]]) -> list[Any]:
    with ThreadPoolExecutor(min(len(sets), len(os.sched_getaffinity(0))), "lookout-observe") as pool:
        return list(pool.map(of, sets))
