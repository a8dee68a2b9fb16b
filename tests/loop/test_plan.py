"""Quiet hours over midnight, and the lowest of several bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.loop.plan import MINUTES_A_DAY, CameraPlan, Quiet, rate_limit

NIGHT = Quiet(22 * 60, 6 * 60, 1.0)
LUNCH = Quiet(12 * 60, 13 * 60, 5.0)


@pytest.mark.parametrize(
    ("minute", "quiet"), [(21 * 60 + 59, False), (22 * 60, True), (0, True), (5 * 60 + 59, True), (6 * 60, False)]
)
def test_quiet_hours_go_over_midnight(minute, quiet):
    assert NIGHT.holds(minute) is quiet


@given(st.integers(0, MINUTES_A_DAY - 1), st.integers(0, MINUTES_A_DAY - 1))
def test_the_rest_of_the_day_is_the_other_way_round(begin, end):
    one, other = Quiet(begin, end, 1.0), Quiet(end, begin, 1.0)
    for minute in range(0, MINUTES_A_DAY, 7):
        assert (one.holds(minute) != other.holds(minute)) or begin == end
    assert one.holds(begin)


@pytest.mark.parametrize(
    ("minute", "governed", "limit"),
    [(10 * 60, None, 15.0), (10 * 60, 10.0, 10.0), (12 * 60, 10.0, 5.0), (23 * 60, 10.0, 1.0), (23 * 60, 0.5, 0.5)],
)
def test_the_lowest_bound_holds(minute, governed, limit):
    assert rate_limit(CameraPlan(max_fps=15.0, quiet=(NIGHT, LUNCH)), minute, governed) == limit


def test_a_plan_without_bounds_has_none():
    assert rate_limit(CameraPlan(), 0, None) is None
