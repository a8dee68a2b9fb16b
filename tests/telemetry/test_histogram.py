"""The histogram keeps its stated error bound, merges exactly and never grows."""

from __future__ import annotations

import math
import timeit

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telemetry.histogram import BOUNDS, ERROR, HIGHEST_MS, LOWEST_MS, Histogram, Snapshot

durations = st.lists(st.floats(0, HIGHEST_MS), min_size=1, max_size=300)
quantiles = st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0])


def filled(samples: list[float]) -> Histogram:
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)
    return histogram


@given(durations, quantiles)
def test_a_percentile_lies_within_the_stated_error_of_numpys(samples: list[float], q: float) -> None:
    exact = float(np.quantile(samples, q, method="inverted_cdf"))
    assert filled(samples).snapshot().percentile(q) == pytest.approx(exact, rel=ERROR + 1e-9, abs=LOWEST_MS)


@given(durations)
def test_count_mean_and_maximum_are_exact(samples: list[float]) -> None:
    snapshot = filled(samples).snapshot()
    assert snapshot.count == len(samples)
    assert snapshot.mean_ms == pytest.approx(float(np.mean(samples)), rel=1e-9)
    assert snapshot.max_ms == max(samples)


@given(durations, durations)
def test_merging_equals_adding_everything_to_one(a: list[float], b: list[float]) -> None:
    merged, whole = filled(a).snapshot().merge(filled(b).snapshot()), filled(a + b).snapshot()
    assert merged.counts == whole.counts
    assert merged.max_ms == whole.max_ms
    assert merged.total_ms == pytest.approx(whole.total_ms)


@given(durations, durations)
def test_since_gives_the_samples_added_in_between(a: list[float], b: list[float]) -> None:
    histogram = filled(a)
    earlier = histogram.snapshot()
    for sample in b:
        histogram.add(sample)
    window = histogram.snapshot().since(earlier)
    assert window.counts == filled(b).snapshot().counts
    assert window.max_ms == pytest.approx(max(b), rel=ERROR + 1e-9, abs=LOWEST_MS)


@pytest.mark.parametrize("sample", [-1.0, math.nan, math.inf, -math.inf])
def test_nonsense_is_counted_apart_and_spoils_nothing(sample: float) -> None:
    histogram = filled([5.0, sample])
    assert histogram.snapshot().count == 1
    assert histogram.snapshot().rejected == 1
    assert histogram.snapshot().mean_ms == 5.0


def test_without_samples_everything_is_zero() -> None:
    empty = Histogram().snapshot()
    assert empty == Snapshot()
    assert (empty.count, empty.mean_ms, empty.p50_ms, empty.p95_ms, empty.p99_ms, empty.max_ms) == (0,) * 6
    assert empty.since(empty) == empty


def test_what_is_longer_than_the_highest_bound_counts_as_the_largest_seen() -> None:
    snapshot = filled([1.0, BOUNDS[-1] * 5, BOUNDS[-1] * 7]).snapshot()
    assert snapshot.p99_ms == BOUNDS[-1] * 7


def test_a_snapshot_cannot_change_and_does_not_follow_the_histogram() -> None:
    histogram = filled([1.0])
    snapshot = histogram.snapshot()
    histogram.add(2.0)
    assert snapshot.count == 1
    with pytest.raises(AttributeError):
        snapshot.max_ms = 3.0  # type: ignore[misc]
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


def test_adding_is_cheap_enough_for_the_frame_loop() -> None:
    histogram = Histogram()
    seconds = min(timeit.repeat(lambda: histogram.add(12.3), number=10_000, repeat=5)) / 10_000
    assert seconds < 5e-6  # some 0.3 µs on an idle machine
