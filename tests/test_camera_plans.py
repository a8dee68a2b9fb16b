"""What the configuration says of gates, rates and the governor reaches the parts in their own terms."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agent.config.schema import Config
from agent.loop.governor import GovernorSettings
from agent.loop.plan import CameraPlan, Quiet
from agent.process.messages import MotionSpec
from agent.settings import camera_plans, governor_settings, motion_of
from agent.types import CameraName
from agent.vision.gate import GateSettings

FRONT = CameraName("front")


def config(camera: dict[str, Any] | None = None, **more: Any) -> Config:
    front = {"source": {"kind": "device", "device": 0}, **(camera or {})}
    return Config.model_validate({"cameras": {"front": front}, "pipelines": {"main": {"cameras": ["front"]}}, **more})


def plan(**camera: Any) -> CameraPlan:
    return camera_plans(config(camera), [FRONT])[FRONT]


def test_by_default_nothing_is_left_out_or_bounded():
    assert plan() == CameraPlan()
    assert motion_of(config().cameras["front"]) is None


def test_a_gate_is_set_up_at_both_ends():
    left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0]]
    motion = {"enabled": True, "min_area": 0.01, "hold_s": 1.0, "every_s": 5.0, "recheck_s": 0.5, "exclude": [left]}
    made = config({"motion": motion})
    assert camera_plans(made, [FRONT])[FRONT].gate == GateSettings(0.01, 1.0, 5.0, 0.5)
    spec = motion_of(made.cameras["front"])
    assert spec == MotionSpec(6.0, (), (tuple(map(tuple, left)),))


@pytest.mark.parametrize(("asked", "gated"), [(False, False), (True, True)])
def test_a_lossless_source_is_gated_only_where_that_was_asked(asked, gated):
    source = {"kind": "file", "path": "a.mp4", "pace": "lossless"}
    made = config({"source": source, "motion": {"enabled": True, "lossless": asked}})
    assert (camera_plans(made, [FRONT])[FRONT].gate is not None) is gated
    assert (motion_of(made.cameras["front"]) is not None) is gated


def test_the_defaults_of_the_configuration_are_those_of_the_parts():
    assert plan(motion={"enabled": True}).gate == GateSettings()
    assert motion_of(config({"motion": {"enabled": True}}).cameras["front"]) == MotionSpec()
    assert governor_settings(config()) == GovernorSettings()
    assert governor_settings(config(governor={"enabled": False})) is None


def test_quiet_hours_are_minutes_of_the_day_also_where_yaml_made_numbers_of_them():
    quiet = [{"from": "22:00", "to": "06:30", "max_fps": 1}, {"from": 12 * 60, "to": 13 * 60, "max_fps": 2.5}]
    assert plan(quiet=quiet, weight=3, max_fps=10).quiet == (Quiet(1320, 390, 1.0), Quiet(720, 780, 2.5))


@pytest.mark.parametrize(
    "camera",
    [
        {"weight": 0}, {"weight": 11}, {"max_fps": 0}, {"quiet": [{"from": "24:00", "to": "06:00", "max_fps": 1}]},
        {"quiet": [{"from": "22:00", "max_fps": 1}]}, {"quiet": [{"from": "9:00", "to": "10:00", "max_fps": 1}]},
        {"quiet": [{"from": "22:00", "to": True, "max_fps": 1}]}, {"motion": {"every_s": 0}},
        {"motion": {"include": [[[0, 0], [1, 1]]]}},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(camera):
    with pytest.raises(ValidationError):
        plan(**camera)


def test_steps_of_the_governor_have_to_fall():
    with pytest.raises(ValidationError, match="does not fall"):
        config(governor={"steps_fps": [5, 10]})
