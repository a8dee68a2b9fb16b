"""How ONNX Runtime's options are chosen: by what the cameras need, and never by noise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.infer.tuning import BUSY, CLOSE, FLAT_OUT, WORTH, Need, choose, gain, options_to_try, without_arena
from agent.types import RunCost, RunOptions

ONE, TWO, TWO_SPINNING, FOUR = RunOptions(1), RunOptions(2), RunOptions(2, spin=True), RunOptions(4)


def cost(options: RunOptions, run_ms: float, cpu_ms: float) -> RunCost:
    return RunCost(options, run_ms, cpu_ms, runs=40)


A_PI = (cost(ONE, 60.0, 60.0), cost(TWO, 34.0, 66.0), cost(TWO_SPINNING, 31.0, 70.0), cost(FOUR, 22.0, 80.0))


@pytest.mark.parametrize(
    ("cores", "threads", "spin", "tried"),
    [
        (1, None, None, [(1, False)]),
        (2, None, None, [(1, False), (2, False), (2, True)]),
        (4, None, False, [(1, False), (2, False), (3, False), (4, False)]),
        (16, None, False, [(1, False), (2, False), (4, False), (8, False), (15, False), (16, False)]),
        (4, 3, None, [(3, False), (3, True)]),
        (4, 3, True, [(3, True)]),
        (4, 1, None, [(1, False)]),
    ],
)
def test_what_the_operator_has_set_is_kept_to_and_the_rest_is_tried(cores, threads, spin, tried) -> None:
    found = options_to_try(cores, threads=threads, spin=spin, concurrency=1)
    assert [(one.threads, one.spin) for one in found] == tried


@pytest.mark.parametrize(
    ("cores", "threads", "concurrency", "tried"),
    [
        (1, None, None, []),
        (2, None, None, [(1, 2)]),
        (4, None, None, [(3, 2), (1, 4)]),
        (6, None, None, [(5, 2), (3, 4)]),
        (4, 2, None, [(2, 2)]),
        (4, 4, None, []),
        (4, None, 3, [(2, 3)]),
        (2, None, 4, [(1, 4)]),
        (2, 2, 2, [(2, 2)]),
    ],
)
def test_frames_at_once_are_tried_with_the_threads_that_the_cores_leave(cores, threads, concurrency, tried) -> None:
    found = options_to_try(cores, threads=threads, spin=False, concurrency=concurrency)
    assert [(one.threads, one.concurrency) for one in found if one.concurrency > 1] == tried
    assert concurrency is None or len(found) == len(tried)


def test_frames_at_once_are_taken_where_they_are_worth_their_lateness() -> None:
    at_once = cost(RunOptions(1, concurrency=4), 64.0, 64.0)  # one each 16 ms, where four threads need 22 ms
    assert choose((*A_PI, at_once), FLAT_OUT).options == at_once.options
    assert choose((*A_PI, at_once), Need(fps=40)).options == at_once.options
    assert choose((*A_PI, at_once), Need(fps=5)).options == ONE
    assert choose((*A_PI, at_once), Need(fps=20)).options == TWO
    assert choose((*A_PI, at_once), Need(within_ms=100)).options == FOUR
    assert choose((*A_PI, at_once), Need(within_ms=130)).options == at_once.options
    assert choose((*A_PI, cost(at_once.options, 82.0, 82.0)), FLAT_OUT).options == FOUR
    assert choose((*A_PI, at_once), Need(lean=True)).options == FOUR
    assert choose((at_once,), Need(lean=True)).options == at_once.options


def test_flat_out_the_shortest_run_counts() -> None:
    assert choose(A_PI, FLAT_OUT).options == FOUR


@pytest.mark.parametrize(("fps", "options"), [(5, ONE), (10, ONE), (15, TWO), (25, FOUR), (100, FOUR)])
def test_the_cheapest_that_keeps_up_with_the_cameras_is_taken_and_else_the_fastest(fps, options) -> None:
    assert choose(A_PI, Need(fps=fps)).options == options


def test_the_budget_on_latency_binds_where_it_can_be_kept() -> None:
    assert choose(A_PI, Need(fps=5, within_ms=45)).options == TWO
    assert choose(A_PI, Need(fps=5, within_ms=10)).options == FOUR


def test_of_equals_the_smallest_is_taken() -> None:
    near = (cost(FOUR, 10.0, 40.0), cost(TWO_SPINNING, 10.2, 22.0), cost(TWO, 10.4, 20.0), cost(ONE, 19.0, 19.0))
    assert choose(near, FLAT_OUT).options == TWO
    arena = (cost(RunOptions(1, arena=False), 9.8, 9.8), cost(ONE, 10.0, 10.0))
    assert choose(arena, FLAT_OUT).options == ONE


def test_an_arena_goes_where_it_is_a_clear_loss() -> None:
    (bare,) = without_arena(A_PI, Need(fps=5))
    assert bare == RunOptions(1, arena=False)
    assert choose((*A_PI, cost(bare, 40.0, 40.0)), Need(fps=5)).options == bare


def test_what_frames_at_once_gain_is_known_where_both_ways_were_measured() -> None:
    at_once = cost(RunOptions(1, concurrency=2), 75.0, 75.0)
    assert gain((*A_PI, at_once), at_once.options) == pytest.approx(1.6)
    assert gain((*A_PI, at_once), ONE) == 1.0
    assert gain((at_once,), at_once.options) == 1.0


any_cost = st.builds(
    RunCost,
    st.builds(RunOptions, st.integers(1, 8), st.booleans(), st.booleans(), st.sampled_from([1, 1, 2, 4])),
    st.floats(0.01, 1e4),
    st.floats(0.01, 1e4),
    st.just(10),
)
any_need = st.builds(Need, st.none() | st.floats(0.1, 200), st.none() | st.floats(1, 1000))


@given(costs=st.lists(any_cost, min_size=1, max_size=8, unique_by=lambda one: one.options), need=any_need)
def test_the_order_of_measuring_is_of_no_matter_and_what_can_keep_up_does(costs, need) -> None:
    chosen = choose(costs, need)
    assert chosen in costs
    assert choose(random.Random(1).sample(costs, len(costs)), need) == chosen
    within = float("inf") if need.within_ms is None else need.within_ms
    timely = [one for one in costs if one.run_ms <= (0.8 if one.options.concurrency == 1 else 0.5) * within]
    if not timely:
        assert chosen.run_ms <= CLOSE * min(one.run_ms for one in costs)
    elif need.fps is None:
        assert chosen.interval_ms <= CLOSE * WORTH * min(one.interval_ms for one in timely)
    elif any(one.interval_ms * need.fps <= BUSY * 999 for one in timely):
        assert chosen.interval_ms * need.fps <= BUSY * 1001


@given(costs=st.lists(any_cost, min_size=1, max_size=8, unique_by=lambda one: one.options), need=any_need)
def test_the_budget_on_latency_is_kept_where_anything_keeps_it(costs, need) -> None:
    within = float("inf") if need.within_ms is None else need.within_ms
    if any(one.run_ms <= 0.5 * within for one in costs):
        assert choose(costs, need).run_ms <= 0.8 * within


@given(seed=st.integers(0, 1000))
def test_noise_below_the_margin_never_changes_the_choice_among_equals(seed) -> None:
    chance = random.Random(seed)
    noisy = [cost(RunOptions(count), 10 * chance.uniform(1, CLOSE - 0.001), 20.0) for count in (4, 2, 1, 3)]
    assert choose(noisy, FLAT_OUT).options == ONE
