"""The governor steps down while there is strain, waits for a step to show, and steps up only after recovery."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.loop.governor import Governor, GovernorSettings, Strain

S = 1_000_000_000
SETTINGS = GovernorSettings(
    temperature_c=80.0, cool_c=5.0, load=4.0, steps_fps=(10.0, 5.0), settle_s=15.0, recover_s=60.0
)


def levels(*readings: tuple[int, Strain]) -> list[int]:
    governor = Governor(SETTINGS)
    return [governor.judge(strain, at_s * S).level for at_s, strain in readings]


def hot(celsius: float) -> Strain:
    return Strain(temperature_c=celsius)


def test_heat_steps_down_at_once_then_in_steps_and_no_further_than_the_last():
    assert levels((0, hot(80)), (5, hot(85)), (15, hot(85)), (30, hot(85)), (45, hot(99))) == [1, 1, 2, 2, 2]


def test_between_the_bound_and_recovery_nothing_changes():
    assert levels((0, hot(81)), (100, hot(78)), (200, hot(76)), (300, hot(79.9))) == [1, 1, 1, 1]


def test_each_step_up_needs_its_own_time_of_calm():
    readings = [(0, hot(81)), (15, hot(81)), *((at_s, hot(70)) for at_s in (20, 79, 80, 139, 140, 500))]
    assert levels(*readings) == [1, 2, 2, 2, 1, 1, 0, 0]


def test_a_warm_moment_begins_the_time_of_calm_anew():
    assert levels((0, hot(81)), (10, hot(70)), (60, hot(77)), (70, hot(70)), (129, hot(70)), (130, hot(70))) == [
        1,
        1,
        1,
        1,
        1,
        0,
    ]


def test_each_strain_is_told_in_words():
    governor = Governor(SETTINGS)
    told = governor.judge(Strain(temperature_c=83.4, throttled=True, load=4.5), 0)
    assert told.max_fps == 10.0
    assert told.reason == (
        "the processor has 83 °C, its bound is 80 °C; the processor is throttled; "
        "the load is 4.5 a core, its bound is 4"
    )
    assert governor.judge(Strain(), 1).reason == told.reason


def test_load_recovers_clearly_below_its_bound():
    busy, less, idle = Strain(load=4.0), Strain(load=3.5), Strain(load=3.0)
    assert levels((0, busy), (100, less), (200, less), (300, idle), (360, idle)) == [1, 1, 1, 1, 0]


def test_a_host_without_sensors_is_never_slowed_and_one_that_lost_them_recovers():
    governor = Governor(SETTINGS)
    assert not governor.sees(Strain())
    assert governor.sees(hot(20))
    assert [governor.judge(Strain(), n * S).level for n in range(3)] == [0, 0, 0]
    assert levels((0, hot(90)), (10, Strain()), (70, Strain())) == [1, 1, 0]


def test_what_has_no_bound_is_not_looked_at():
    governor = Governor(GovernorSettings(temperature_c=None, throttling=False, load=None))
    strain = Strain(temperature_c=120.0, throttled=True, load=99.0)
    assert not governor.sees(strain)
    assert governor.judge(strain, 0).level == 0


numbers = st.none() | st.floats(0, 120) | st.just(math.nan)


@given(st.lists(st.tuples(numbers, st.none() | st.booleans(), numbers, st.integers(0, 90)), max_size=60))
def test_levels_change_one_at_a_time_and_never_faster_than_stated(readings):
    governor, now_s, before, down_s = Governor(SETTINGS), 0, 0, -math.inf
    for celsius, throttled, load, step_s in readings:
        now_s += step_s
        told = governor.judge(Strain(celsius, throttled, load), now_s * S)
        assert abs(told.level - before) <= 1
        assert told.max_fps == (None if not told.level else SETTINGS.steps_fps[told.level - 1])
        if told.level > before:
            assert now_s - down_s >= SETTINGS.settle_s
            down_s = now_s
        before = told.level
