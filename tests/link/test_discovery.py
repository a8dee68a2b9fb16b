"""What Home Assistant is told: valid by its own names, an id for each entity whatever the names, not too large."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import MAX_CAMERAS, MAX_PIPELINES, MAX_ZONES
from agent.link.discovery import (
    MAX_BYTES,
    MAX_GONE,
    Facts,
    HostRow,
    Watched,
    announcement,
    birth_topic,
    components,
    discovery_topic,
    remembered,
)
from agent.link.messages import CameraState, Counters, LineState, Telemetry, ZoneState, encode
from agent.overview import HEALTHY, TROUBLE
from agent.settings import host_rows
from agent.telemetry.host import host_probes

FIELDS: dict[str, Any] = json.loads(Path(__file__).with_name("home_assistant_fields.json").read_text())
CHECK = Path(__file__).with_name("home_assistant_check.py")

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)


@pytest.fixture(scope="module")
def rows() -> tuple[HostRow, ...]:
    return host_rows(host_probes(Path("/tmp")))


def facts(*cameras: Watched, pipelines: tuple[str, ...] = (), rows: tuple[HostRow, ...] = (), **more: Any) -> Facts:
    return Facts(
        **{"device": "gate-7", "root": "lookout/gate-7/", "model": "pi", "version": "0.1.0", **more},
        cameras=cameras,
        pipelines=pipelines,
        rows=rows,
        healthy=tuple(HEALTHY),
        trouble=tuple(TROUBLE),
    )


@pytest.fixture(scope="module")
def gate(rows) -> Facts:
    yard = Watched("yard", ("garden", "front-door"), ("fence",))
    return facts(yard, Watched("lane"), pipelines=("main",), rows=rows)


def decoded(message: msgspec.Struct) -> dict[str, Any]:
    return json.loads(encode(message))  # type: ignore[no-any-return]


# --- by Home Assistant's own names ------------------------------------------------------------------------------------


def test_every_field_is_one_that_home_assistant_knows(gate) -> None:
    message = decoded(announcement(gate, {"camera.old.count": "sensor"}))
    short = FIELDS["abbreviations"]
    assert {short.get(key, key) for key in message} <= set(FIELDS["discovery"])
    assert {FIELDS["device_abbreviations"].get(key, key) for key in message["dev"]} <= set(FIELDS["device"])
    assert {FIELDS["origin_abbreviations"].get(key, key) for key in message["o"]} <= set(FIELDS["origin_info"])
    for component in message["cmps"].values():
        known = {*FIELDS["platforms"][component["p"]], "platform"}
        assert {short.get(key, key) for key in component} <= known


def test_sensors_have_classes_and_units_that_home_assistant_knows(gate) -> None:
    sensors = [one for one in components(gate).values() if one.p == "sensor"]
    for one in sensors:
        assert one.stat_cla in FIELDS["sensor_state_classes"]
        assert one.dev_cla is None or one.dev_cla in FIELDS["sensor_device_classes"]
        assert one.dev_cla is None or one.unit_of_meas in FIELDS["sensor_units"][one.dev_cla]
    assert {one.dev_cla for one in sensors} == {None, "data_rate", "data_size", "temperature", "duration"}


@pytest.mark.skipif("HOME_ASSISTANT_PYTHON" not in os.environ, reason="HOME_ASSISTANT_PYTHON is not set, see Makefile")
def test_home_assistant_itself_takes_it(gate) -> None:
    message = encode(announcement(gate, {"camera.old.count": "sensor"}))
    said = subprocess.run(
        [os.environ["HOME_ASSISTANT_PYTHON"], str(CHECK)], input=message, capture_output=True, check=True, timeout=100
    )
    judged = json.loads(said.stdout)["judged"]
    assert judged.pop("camera.old.count") == "gone"
    assert judged == dict.fromkeys(components(gate), "")


# --- entities ---------------------------------------------------------------------------------------------------------


def test_what_a_camera_a_pipeline_and_the_host_become(gate) -> None:
    found = set(components(gate))
    camera = {"occupancy", "count", "problem", "fps", "image", "snapshot"}
    assert {f"camera.{name}.{what}" for name in ("yard", "lane") for what in camera} <= found
    assert {f"zone.{name}.{what}" for name in ("garden", "front-door") for what in ("occupancy", "count")} <= found
    assert {"line.fence.in", "line.fence.out", "pipeline.main.update", "host.temperature_c"} <= found


def test_topics_begin_with_the_configured_prefix() -> None:
    watched = facts(Watched("yard"), pipelines=("main",), root="site/a/gate-7/")
    message = decoded(announcement(watched))
    topics = {value for one in message["cmps"].values() for key, value in one.items() if key.endswith("_t")}
    assert topics | {message["avty_t"], message["stat_t"]} == {
        f"site/a/gate-7/{rest}"
        for rest in ("state/yard", "snapshots/yard", "cmd/camera/snapshot", "update/main", "status", "telemetry")
    }


def test_the_announcement_lies_where_home_assistant_looks() -> None:
    assert discovery_topic("homeassistant", "gate-7") == "homeassistant/device/gate-7/config"
    assert discovery_topic("ha/two/", "gate-7") == "ha/two/device/gate-7/config"
    assert birth_topic("homeassistant") == "homeassistant/status"


@given(st.lists(names, unique=True, max_size=6), st.lists(names, unique=True, max_size=6), names)
def test_no_two_entities_are_one_whatever_the_names(cameras, zones, pipeline) -> None:
    spread = {camera: zones[number :: len(cameras)] for number, camera in enumerate(cameras)}
    watched = [Watched(name, tuple(own[::2]), tuple(own[1::2])) for name, own in spread.items()]
    made = components(facts(*watched, pipelines=(pipeline,)))
    assert len({one.unique_id for one in made.values()}) == len(made)
    assert all(" " not in key for key in made), "Home Assistant splits ids at blanks"
    assert len(made) == 6 * len(cameras) + (2 * len(zones) if cameras else 0) + 1


def test_the_most_that_a_configuration_may_have_fits(rows) -> None:
    long = [f"{number:03}{'x' * 61}" for number in range(MAX_ZONES)]
    spread = [long[number::MAX_CAMERAS] for number in range(MAX_CAMERAS)]
    most = facts(
        *(Watched(long[number], tuple(zones)) for number, zones in enumerate(spread)),
        pipelines=tuple(long[:MAX_PIPELINES]),
        rows=rows,
        device="d" * 64,
        root=f"{'p' * 128}/{'d' * 64}/",
    )
    assert len(encode(announcement(most, {f"camera.{name}.count": "sensor" for name in long}))) < MAX_BYTES
    usual = facts(*(Watched(f"camera-{number}", (f"zone-{number}",)) for number in range(MAX_CAMERAS)), rows=rows)
    assert len(encode(announcement(usual))) < 200_000


# --- what is gone -----------------------------------------------------------------------------------------------------


def test_what_is_gone_stays_as_its_platform_alone(gate) -> None:
    before = remembered(gate, {})
    less = msgspec.structs.replace(gate, cameras=(Watched("lane"),))
    message = decoded(announcement(less, before))
    gone = {key for key, one in message["cmps"].items() if set(one) == {"p"}}
    assert gone == {key for key in components(gate) if "yard" in key or key.startswith(("zone.", "line."))}
    assert set(message["cmps"]) == set(components(gate))


def test_what_came_back_is_not_gone(gate) -> None:
    less = msgspec.structs.replace(gate, cameras=())
    known = remembered(less, remembered(gate, {}))
    assert decoded(announcement(gate, known)) == decoded(announcement(gate))
    assert remembered(gate, known).keys() == components(gate).keys()


@given(st.lists(st.lists(names, unique=True, max_size=4), min_size=1, max_size=12))
def test_the_memory_of_what_is_gone_is_bounded_and_complete(history) -> None:
    known: dict[str, str] = {}
    for cameras in history:
        known = remembered(facts(*map(Watched, cameras)), known)
    ever = {f"camera.{name}.count" for name in itertools.chain(*history)}
    assert ever <= set(known) or len(known) >= MAX_GONE
    many = {f"camera.c{number}.count": "sensor" for number in range(1000)}
    bounded = remembered(facts(), many)
    assert list(bounded) == list(many)[-MAX_GONE:]


def test_a_platform_that_never_was_is_not_repeated() -> None:
    assert remembered(facts(), {"x": "rm -rf", "camera.a.count": "sensor"}) == {"camera.a.count": "sensor"}


# --- templates --------------------------------------------------------------------------------------------------------

STATE = CameraState(
    counts={"person": 2, "values": 1},
    occupancy=True,
    health="streaming",
    fps=14.9,
    zones={"garden": ZoneState({"person": 2}, True), "front-door": ZoneState({}, False)},
    lines={"fence": LineState(in_=12, out=9)},
)
DARK = CameraState(health="stalled", reason="no frame for 2 s")


def rendered(component: Any, message: msgspec.Struct, template: str = "val_tpl") -> str:
    """What Home Assistant makes of a message: it renders in a sandbox of Jinja."""
    sandbox = pytest.importorskip("jinja2.sandbox").ImmutableSandboxedEnvironment()
    text: str = sandbox.from_string(getattr(component, template)).render(value_json=decoded(message))
    return text


@pytest.mark.parametrize(
    ("key", "state", "first"),
    [
        ("camera.yard.occupancy", "ON", "OFF"),
        ("camera.yard.count", "3", "0"),
        ("camera.yard.problem", "OFF", "ON"),
        ("camera.yard.fps", "14.9", "0.0"),
        ("zone.garden.occupancy", "ON", "OFF"),
        ("zone.garden.count", "2", "0"),
        ("zone.front-door.occupancy", "OFF", "OFF"),
        ("zone.front-door.count", "0", "0"),
        ("line.fence.in", "12", "0"),
        ("line.fence.out", "9", "0"),
    ],
)
def test_templates_read_a_camera_that_sees_and_one_that_never_saw(gate, key, state, first) -> None:
    component = components(gate)[key]
    assert rendered(component, STATE) == state
    assert rendered(component, DARK) == first


def test_attributes_say_what_the_state_leaves_out(gate) -> None:
    found = components(gate)
    assert json.loads(rendered(found["camera.yard.count"], STATE, "json_attr_tpl")) == {"person": 2, "values": 1}
    assert json.loads(rendered(found["zone.garden.count"], STATE, "json_attr_tpl")) == {"person": 2}
    assert json.loads(rendered(found["zone.garden.count"], DARK, "json_attr_tpl")) == {}
    assert json.loads(rendered(found["camera.yard.problem"], DARK, "json_attr_tpl")) == {
        "health": "stalled",
        "reason": "no frame for 2 s",
        "conditions": [],
    }


@pytest.mark.parametrize(
    ("conditions", "said"), [((), "OFF"), (("dark",), "OFF"), (("dark", "frozen"), "ON"), (("moved",), "ON")]
)
def test_a_camera_has_a_problem_where_somebody_has_to_look_after_it(gate, conditions, said) -> None:
    state = msgspec.structs.replace(STATE, conditions=conditions)
    assert rendered(components(gate)["camera.yard.problem"], state) == said


def test_every_row_of_telemetry_is_read_by_its_key(gate, rows) -> None:
    values: dict[str, float | None] = {row.key: float(number) for number, row in enumerate(rows)}
    telemetry = Telemetry(
        at="", uptime_s=1.0, host=values, loop={}, cameras={}, models={}, counters=Counters(), link={}
    )
    found = components(gate)
    assert {key: rendered(found[f"host.{key}"], telemetry) for key in values} == {k: str(v) for k, v in values.items()}
    assert all(row.name and not row.name.startswith(row.key + "_") for row in rows)


def test_the_button_sends_a_command_that_the_device_takes(gate) -> None:
    from agent.link.envelope import arguments, decode, validate
    from agent.link.forms import FORMS, CameraSnapshot

    button = components(gate)["camera.yard.snapshot"]
    command = validate(decode(button.pl_prs.encode()))
    assert arguments(command, FORMS["camera/snapshot"]) == CameraSnapshot(camera="yard")
