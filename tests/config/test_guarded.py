"""Which changes must prove themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.config import describe
from agent.config.desired import Overlay
from agent.config.guarded import changed_keys, guards
from agent.config.keypath import KeyPath
from agent.config.whole import compose

FILE = b"""\
cameras:
  a: {source: {kind: pattern}}
  b: {source: {kind: pattern}}
pipelines: {main: {cameras: [a, b]}}
mqtt: {host: one}
remote: {brokers: [two]}
"""


def change(patch: dict[str, Any]) -> tuple[KeyPath, ...]:
    before = compose(Path("/x/agent.yaml"), {}, FILE, Overlay()).loaded
    return changed_keys(before.config, compose(Path("/x/agent.yaml"), {}, FILE, Overlay(patch)).loaded.config)


@pytest.mark.parametrize(
    ("patch", "touches", "confirm"),
    [
        ({"mqtt": {"host": "two"}}, ("broker",), True),
        ({"mqtt": {"keepalive_s": 60}}, ("broker",), True),
        ({"device": {"id": "x"}}, ("device",), True),
        ({"device": {"groups": ["x"]}}, ("device",), False),
        ({"cameras": {"a": {"max_fps": 5.0}}}, ("cameras",), False),
        ({"pipelines": {"main": {"cameras": ["b", "a"]}}}, ("cameras",), False),
        ({"pipelines": {"main": {"model": "m:1.0.0"}}}, ("model",), False),
        ({"pipelines": {"main": {"in_flight": 1}}}, ("rate",), False),
        ({"inference": {"threads": 1}}, ("model",), False),
        ({"governor": {"enabled": False}}, ("rate",), False),
        ({"mqtt": {"host": "two"}, "governor": {"load": 2.0}}, ("broker", "rate"), True),
        ({"report": {"telemetry_s": 5.0}}, (), False),
        ({"logs": {"level": "debug"}}, (), False),
        ({"pipelines": {"main": {"score": 0.5, "remap": {"a": "b"}}}}, (), False),
        ({"mqtt": {"host": "one"}}, (), False),  # the same as before
    ],
)
def test_what_touches_broker_device_cameras_model_or_rate_is_guarded(
    patch: dict[str, Any], touches: tuple[str, ...], confirm: bool
) -> None:
    guard = guards(change(patch))
    assert (guard.touches, guard.needs_confirm, guard.on_probation) == (touches, confirm, bool(touches))


def test_who_edits_the_file_needs_no_broker_to_confirm_with() -> None:
    guard = guards(change({"mqtt": {"host": "two"}}), from_afar=False)
    assert guard.on_probation
    assert not guard.needs_confirm


def test_the_rate_keys_are_named_by_camera() -> None:
    guard = guards(change({"cameras": {"a": {"source": {"fps": 5.0}, "weight": 2}, "b": {"source": {"seed": 3}}}}))
    assert guard.rates == {"a": ("source.fps", "weight")}


def test_a_whole_section_that_goes_is_guarded() -> None:
    assert guards([("mqtt",)]).touches == ("broker",)
    assert guards([("pipelines", "main")]).on_probation
    assert not guards([]).on_probation


def test_every_remote_key_of_camera_broker_and_device_is_guarded() -> None:
    schema = describe.keys()
    for key in schema:
        if key.place[0] in ("cameras", "mqtt", "device", "inference", "governor"):
            assert guards([tuple("x" if step == "*" else step for step in key.place)]).on_probation, key.path
