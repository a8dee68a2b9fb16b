from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.registry.pace import Deadline, Pace


def test_a_drip_is_found_out_after_one_window() -> None:
    pace = Pace(1024, window_s=10, now_ns=0)
    verdicts = [pace.took(1, second * NS_PER_S) for second in range(1, 11)]
    assert verdicts == [True] * 9 + [False]


def test_a_pause_is_forgiven_while_the_window_brings_enough() -> None:
    pace = Pace(1000, window_s=10, now_ns=0)
    assert pace.took(10_000, NS_PER_S)
    assert pace.took(1, 10 * NS_PER_S)
    assert not pace.took(0, 20 * NS_PER_S)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 60 * NS_PER_S)), max_size=30))
def test_without_a_minimum_rate_everything_is_fast_enough(steps: list[tuple[int, int]]) -> None:
    pace, now = Pace(0, 10, 0), 0
    for count, step in steps:
        now += step
        assert pace.took(count, now)


def test_a_deadline_never_has_less_than_nothing_left() -> None:
    deadline = Deadline(2.0, NS_PER_S)
    assert deadline.left_s(NS_PER_S) == 2.0
    assert deadline.left_s(9 * NS_PER_S) == 0.0
