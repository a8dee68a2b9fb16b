"""Delays are jittered, bounded, doubled, and start anew only after a stable connection."""

from __future__ import annotations

import bisect
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link.backoff import Backoff

draws = st.lists(st.floats(0, 1), min_size=1, max_size=100)


@given(draws)
def test_a_delay_never_exceeds_the_cap_nor_the_doubling_bound(given_draws: list[float]) -> None:
    backoff = Backoff(base_s=1, cap_s=60)
    for number, draw in enumerate(given_draws):
        assert 0 <= backoff.delay_s("soon", draw) <= min(60, 2.0**number)


@given(draws)
def test_what_no_retry_mends_waits_at_least_half_the_cap(given_draws: list[float]) -> None:
    backoff = Backoff(base_s=1, cap_s=60)
    for draw in given_draws:
        assert 30 <= backoff.delay_s("long", draw) <= 60
        assert 60 <= backoff.delay_s("longest", draw) <= 120


@pytest.mark.parametrize(("lasted_s", "bound"), [(59.9, 8.0), (60.0, 1.0)])
def test_only_a_stable_connection_starts_the_doubling_anew(lasted_s: float, bound: float) -> None:
    backoff = Backoff(base_s=1, cap_s=60, stable_s=60)
    for _ in range(3):
        backoff.delay_s("soon", 1)
    assert backoff.lasted(lasted_s) == (bound == 1.0)
    assert backoff.delay_s("soon", 1) == bound


def test_a_year_of_failures_overflows_nothing() -> None:
    backoff = Backoff()
    backoff.failures = 10**6
    assert backoff.delay_s("soon", 1) == 60


@pytest.mark.parametrize("round_of", [1, 2])
def test_a_reconnect_s_above_the_cap_lifts_the_cap(round_of: int) -> None:
    backoff = Backoff(base_s=300)
    assert [backoff.delay_s("soon", 1.0) for _ in range(round_of)] == [300.0] * round_of
    assert backoff.longest_s == 600


# --- 1,000 devices whose broker restarts -----------------------------------------------------------------------------


def come_back(devices: int, away_s: float, *, base_s: float | None = None, seed: int = 1) -> list[float]:
    """When each device is back after a broker was away for so long; each refused attempt is a failure of its own."""
    draw = random.Random(seed)
    back = []
    for _ in range(devices):
        backoff = Backoff() if base_s is None else Backoff(base_s=base_s)
        at = 0.0  # the connection is lost: all at one moment
        while True:
            at += backoff.delay_s("soon", draw.random())
            if at >= away_s:
                break
        back.append(at)
    return sorted(back)


def fullest_second(times: list[float]) -> int:
    """The most that come within any second."""
    return max(bisect.bisect_left(times, at + 1.0) - number for number, at in enumerate(times))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("away_s", "most", "median_s", "last_s"),
    [
        (0.0, 170, 5, 8),  # restarted at once: 1,000 / 8 a second, and what chance adds
        (2.0, 200, 7, 70),
        (5.0, 220, 10, 75),  # most were refused once; some few of them twice or three times
        (30.0, 80, 48, 95),  # several rounds
        (600.0, 60, 640, 665),  # every device has reached the cap
    ],
)
def test_a_thousand_devices_do_not_come_back_in_one_second(
    away_s: float, most: int, median_s: float, last_s: float, seed: int
) -> None:
    times = come_back(1000, away_s, seed=seed)
    assert fullest_second(times) <= most
    assert statistics.median(times) <= median_s
    assert times[-1] <= last_s


def test_a_larger_fleet_is_spread_by_one_key() -> None:
    assert fullest_second(come_back(10_000, 0.0, base_s=60.0)) <= 240
