"""Delays are jittered, bounded, doubled, and start anew only after a stable connection."""

from __future__ import annotations

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
