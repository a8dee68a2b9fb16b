"""A bounded histogram of durations in milliseconds: logarithmic buckets, pure.

One thread adds (the pipeline's, so :meth:`Histogram.add` is a bisection and three assignments); any thread may
take a :meth:`Histogram.snapshot`, whose count may then be one sample ahead of its total. Memory never grows
with samples.

Percentiles are nearest-rank: the smallest sample that at least ``q`` of all samples do not exceed. What is
returned lies within :data:`ERROR` of that sample (relative), for samples between :data:`LOWEST_MS` and
:data:`HIGHEST_MS`; smaller ones are told apart no further than :data:`LOWEST_MS`, larger ones count as the
largest seen.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import msgspec

LOWEST_MS = 0.01
HIGHEST_MS = 600_000.0
GROWTH = 1.08
"""Each bucket's upper bound over the one below."""

ERROR = math.sqrt(GROWTH) - 1
"""Greatest relative error of a percentile (3.9 %): half the width of a bucket."""

_BUCKETS = math.ceil(math.log(HIGHEST_MS / LOWEST_MS) / math.log(GROWTH))
BOUNDS: tuple[float, ...] = tuple(LOWEST_MS * GROWTH**n for n in range(_BUCKETS + 1))
"""Upper bounds, inclusive; one more bucket above them takes the rest."""

COARSE_STEP = 9
"""So many buckets make one that is twice as wide as the one below: 1.08 to the ninth is 1.999."""

_MIDDLES: tuple[float, ...] = (LOWEST_MS, *(bound / math.sqrt(GROWTH) for bound in BOUNDS[1:]))


class Snapshot(msgspec.Struct, frozen=True):
    """A histogram at one moment, for any thread. ``rejected``: samples that were negative or not finite."""

    counts: tuple[int, ...] = (0,) * (_BUCKETS + 2)
    total_ms: float = 0.0
    max_ms: float = 0.0
    rejected: int = 0

    @property
    def count(self) -> int:
        """Number of samples."""
        return sum(self.counts)

    @property
    def mean_ms(self) -> float:
        """Mean, 0 without samples."""
        count = self.count
        return self.total_ms / count if count else 0.0

    def percentile(self, q: float) -> float:
        """Return the ``q``-quantile (0 < q ≤ 1) in ms, 0 without samples; see the module for its error."""
        rank = max(1, math.ceil(q * self.count))
        seen = 0
        for bucket, number in enumerate(self.counts):
            seen += number
            if number and seen >= rank:
                return min(_MIDDLES[bucket], self.max_ms) if bucket < len(_MIDDLES) else self.max_ms
        return 0.0

    @property
    def p50_ms(self) -> float:
        """Median."""
        return self.percentile(0.50)

    @property
    def p95_ms(self) -> float:
        """What 95 % of the samples do not exceed."""
        return self.percentile(0.95)

    @property
    def p99_ms(self) -> float:
        """What 99 % of the samples do not exceed."""
        return self.percentile(0.99)

    def cumulative(self) -> tuple[tuple[float, int], ...]:
        """Return the number of samples up to each of every :data:`COARSE_STEP`-th bound, the bounds in ms, then of all.

        Exact, since each of those bounds is one of a bucket's; the last is infinite.
        """
        found, seen, begin = [], 0, 0
        for at in range(0, len(BOUNDS), COARSE_STEP):
            seen += sum(self.counts[begin : at + 1])
            begin = at + 1
            found.append((BOUNDS[at], seen))
        return (*found, (math.inf, seen + sum(self.counts[begin:])))

    def merge(self, other: Snapshot) -> Snapshot:
        """Return the histogram of both sets of samples."""
        return Snapshot(
            counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            total_ms=self.total_ms + other.total_ms,
            max_ms=max(self.max_ms, other.max_ms),
            rejected=self.rejected + other.rejected,
        )

    def since(self, earlier: Snapshot) -> Snapshot:
        """Return the samples added after ``earlier`` (of the same histogram); ``max_ms`` is as near as percentiles."""
        counts = tuple(a - b for a, b in zip(self.counts, earlier.counts, strict=True))
        top = max((bucket for bucket, number in enumerate(counts) if number), default=None)
        if top is None:
            largest = 0.0
        elif self.max_ms > earlier.max_ms or top >= len(_MIDDLES):
            largest = self.max_ms
        else:
            largest = min(_MIDDLES[top], self.max_ms)
        return Snapshot(
            counts=counts,
            total_ms=max(0.0, self.total_ms - earlier.total_ms),
            max_ms=largest,
            rejected=self.rejected - earlier.rejected,
        )


class Histogram:
    """Samples of one thread; see the module."""

    __slots__ = ("_counts", "_max_ms", "_rejected", "_total_ms")

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS + 2)
        self._total_ms = 0.0
        self._max_ms = 0.0
        self._rejected = 0

    def add(self, ms: float) -> None:
        """Count one sample. Never raises: a negative or non-finite one is only counted as rejected."""
        if not 0.0 <= ms < math.inf:
            self._rejected += 1
            return
        self._counts[bisect_left(BOUNDS, ms)] += 1
        self._total_ms += ms
        if ms > self._max_ms:
            self._max_ms = ms

    def snapshot(self) -> Snapshot:
        """Return what was added so far; any thread."""
        return Snapshot(tuple(self._counts), self._total_ms, self._max_ms, self._rejected)
