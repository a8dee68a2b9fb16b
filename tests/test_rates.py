"""Caps, quiet hours and the governor reach the pipelines when they change, and a clock that jumps does no harm."""

from __future__ import annotations

from collections import deque

import pytest

from agent.link.messages import GovernorRow
from agent.loop.governor import Governor, GovernorSettings, Strain
from agent.loop.plan import CameraPlan, Quiet
from agent.rates import Rates, local_minute, strain_of
from agent.types import CameraName, PipelineName

NIGHT = Quiet(22 * 60, 6 * 60, 1.0)
MAIN, SIDE = PipelineName("main"), PipelineName("side")
FRONT, BACK, ROOF = CameraName("front"), CameraName("back"), CameraName("roof")
PLANS = {
    MAIN: {FRONT: CameraPlan(max_fps=15.0, quiet=(NIGHT,)), BACK: CameraPlan()},
    SIDE: {ROOF: CameraPlan(max_fps=4.0)},
}


class Device:
    """A host whose clock and sensors the test sets."""

    def __init__(self, governor: Governor | None = None) -> None:
        self.minute = 12 * 60
        self.rows: dict[str, float | None] = {}
        self.told: deque[tuple[str, dict]] = deque()
        self.changes = 0
        self.rates = Rates(
            PLANS, governor, read=lambda: self.rows, cores=4,
            limit=lambda name, limits: self.told.append((name, limits)),
            changed=self.count, minute=lambda: self.minute,
        )  # fmt: skip

    def count(self) -> None:
        self.changes += 1

    def look(self) -> list:
        self.rates.look()
        found = list(self.told)
        self.told.clear()
        return found


def test_nothing_is_told_while_nothing_changes():
    device = Device()
    assert [device.look() for _ in range(3)] == [[], [], []]


@pytest.mark.parametrize("jump", [23 * 60, 3 * 60, 22 * 60])
def test_quiet_hours_begin_and_end_wherever_the_clock_jumps_to(jump):
    device = Device()
    device.look()
    device.minute = jump
    assert device.look() == [(MAIN, {FRONT: 1.0, BACK: None})]
    assert device.look() == []
    device.minute = 12 * 60
    assert device.look() == [(MAIN, {FRONT: 15.0, BACK: None})]


def test_heat_bounds_every_camera_and_is_told_in_words_and_numbers():
    device = Device(Governor(GovernorSettings(steps_fps=(5.0, 2.0))))
    device.look()
    assert device.rates.row() is None
    device.rows = {"temperature_c": 70.0, "throttled": None, "load_1m": 1.0}
    device.look()
    assert device.rates.row() == GovernorRow(0, "", None)
    assert device.rates.problem() is None
    device.rows["temperature_c"] = 84.0
    assert device.look() == [(MAIN, {FRONT: 5.0, BACK: 5.0})]  # the other camera's cap is lower already
    row = device.rates.row()
    assert row is not None
    assert (row.level, row.max_fps) == (1, 5.0)
    assert "84 °C" in row.reason
    assert "at most 5 frames a second" in (device.rates.problem() or "")
    assert device.changes == 1


def test_without_a_governor_heat_is_not_looked_at():
    device = Device()
    device.rows = {"temperature_c": 120.0}
    assert device.look() == []
    assert device.rates.row() is None


def test_load_is_that_of_a_core():
    strain = strain_of({"load_1m": 6.0, "throttled": 1.0, "temperature_c": None}, 4)
    assert (strain.load, strain.throttled, strain.temperature_c) == (1.5, True, None)
    assert strain_of({}, 4).load is None


def test_the_minute_of_the_day_is_one():
    assert 0 <= local_minute() < 24 * 60


def test_other_plans_are_told_at_once_and_a_hot_device_stays_as_slow_as_it_is():
    device = Device(Governor(GovernorSettings(steps_fps=(5.0, 2.0))))
    device.rows = {"temperature_c": 84.0}
    device.look()
    device.rates.reconfigure({MAIN: {FRONT: CameraPlan(max_fps=3.0), ROOF: CameraPlan()}}, GovernorSettings())
    assert list(device.told) == [(MAIN, {FRONT: 3.0, ROOF: 5.0})]
    assert device.rates.limits() == {FRONT: 3.0, ROOF: 5.0}
    device.told.clear()
    device.rates.reconfigure({MAIN: {FRONT: CameraPlan(max_fps=3.0), ROOF: CameraPlan()}}, None)
    assert list(device.told) == [(MAIN, {FRONT: 3.0, ROOF: None})]
    assert (device.rates.row(), device.rates.problem()) == (None, None)
    device.rates.reconfigure({MAIN: {FRONT: CameraPlan(max_fps=3.0), ROOF: CameraPlan()}}, GovernorSettings())
    device.told.clear()
    assert device.look() == [(MAIN, {FRONT: 3.0, ROOF: 10.0})]


def test_a_governor_with_fewer_steps_is_on_its_last_one():
    governor = Governor(GovernorSettings(steps_fps=(5.0, 2.0, 1.0), settle_s=1.0))
    hot = Strain(temperature_c=90.0)
    assert [governor.judge(hot, number * 2_000_000_000).level for number in range(3)] == [1, 2, 3]
    governor.reconfigure(GovernorSettings(steps_fps=(4.0,)))
    assert governor.judge(hot, 8_000_000_000).max_fps == 4.0
