"""A real agent at a real broker, as Home Assistant sees it: it appears, follows the configuration, and goes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from tests.conftest import ROOT

from . import shelf
from .device import CAMERA, PIPELINE, Device
from .person import Person

ENABLED = {"home_assistant": {"enabled": True}}
SECOND = {
    "cameras": {"lane": {"source": {"kind": "pattern", "width": 64, "height": 64, "fps": 5}}},
    "pipelines": {PIPELINE: {"cameras": [CAMERA, "lane"]}},
    "zones": {"gate": {"camera": "lane", "polygon": [[0, 0], [1, 0], [1, 1]]}},
}


def topic(device: Device, prefix: str = "homeassistant") -> str:
    return f"{prefix}/device/{device.name}/config"


def announced(person: Person, at: str) -> dict[str, Any] | None:
    """The newest message, None where it was emptied."""
    said = person.on(at)
    return json.loads(said[-1].payload) if said and said[-1].payload else None


def entities(message: dict[str, Any] | None) -> set[str]:
    return {key for key, one in (message or {"cmps": {}})["cmps"].items() if set(one) != {"p"}}


@pytest.fixture
def device(world, broker, veteran) -> Device:
    return world.device(port=broker.port, state=veteran, start=False, **ENABLED)


def restart(device: Device, **changes: Any) -> None:
    if device.process is not None:
        device.stop()
    device.config = {**device.config, **changes}
    device.start()


def test_an_enabled_device_appears_with_topics_that_it_serves(device, world, broker):
    person = world.person(broker.port, device)
    device.start()
    message = person.wait(lambda: announced(person, topic(device)))
    jsonschema.validate(message, json.loads((ROOT / "docs/schemas/home-assistant.json").read_text()))
    assert message["dev"]["name"] == device.name
    assert {f"camera.{CAMERA}.occupancy", f"pipeline.{PIPELINE}.update", "host.memory_available_mb"} <= set(
        message["cmps"]
    )
    read = {one[key] for one in message["cmps"].values() for key in ("stat_t", "img_t") if key in one}
    read |= {message["avty_t"], message["stat_t"]}
    press = message["cmps"][f"camera.{CAMERA}.snapshot"]
    person.sees(shelf.TINY, 1)
    person.send(press["cmd_t"], press["pl_prs"].encode())
    for one in read:
        person.wait_for(one, timeout_s=30)
    assert person.on(message["cmps"][f"camera.{CAMERA}.image"]["img_t"])[-1].payload.startswith(b"\xff\xd8")
    update = person.said(f"update/{PIPELINE}")[-1]
    assert update == {"installed_version": "1.0.0", "latest_version": "1.0.0", "in_progress": False, "title": "tiny"}
    late = world.person(broker.port, device)
    assert late.wait(lambda: announced(late, topic(device))) == message, "it is retained"


def test_home_assistant_that_starts_is_told_again(device, world, broker):
    person = world.person(broker.port, device)
    device.start()
    person.wait_for(topic(device), 1, 30)
    person.wait_for(person.topic("status"), 1, 30)
    person.send("homeassistant/status", b"offline")
    person.send("homeassistant/status", b"online")
    first, again = person.wait_for(topic(device), 2, 30)[:2]
    assert first.payload == again.payload


def test_what_the_configuration_no_longer_has_is_removed(device, world, broker):
    person = world.person(broker.port, device)
    before = {key: device.config[key] for key in ("cameras", "pipelines")}
    device.config = {**device.config, **SECOND, "cameras": {**device.config["cameras"], **SECOND["cameras"]}}
    device.start()
    message = person.wait(lambda: announced(person, topic(device)))
    assert {"camera.lane.count", "zone.gate.count"} <= entities(message)

    restart(device, **before, zones={})
    message = person.wait(
        lambda: "zone.gate.count" not in entities(found := announced(person, topic(device))) and found
    )
    assert message["cmps"]["camera.lane.count"] == {"p": "sensor"}
    assert message["cmps"]["zone.gate.occupancy"] == {"p": "binary_sensor"}
    assert f"camera.{CAMERA}.count" in entities(message)


def test_another_prefix_and_then_disabled_leaves_nothing_behind(device, world, broker):
    person = world.person(broker.port, device)
    device.start()
    person.wait(lambda: announced(person, topic(device)))

    restart(device, home_assistant={"enabled": True, "prefix": "ha"})
    person.wait(lambda: announced(person, topic(device, "ha")))
    person.wait(lambda: announced(person, topic(device)) is None)

    device.kill_all()  # what is remembered is on the disk
    restart(device, home_assistant={"enabled": False})
    person.wait(lambda: announced(person, topic(device, "ha")) is None)
    late = world.person(broker.port, device)
    late.wait(lambda: late.said("info"))
    mine = [message.topic for message in late.seen if f"/{device.name}/" in message.topic]
    assert [one for one in mine if not one.startswith("lookout/")] == []


def test_a_patch_from_afar_announces_the_device_changes_it_and_takes_it_back(at_work):
    device, person = at_work(remote={"confirm_s": 2})

    def patch(**changes: Any) -> None:
        answer = person.command("config/patch", patch=changes)
        assert answer["ok"], answer
        person.wait(lambda: person.said("reported")[-1]["state"] == "committed")

    assert person.on(topic(device)) == []
    patch(home_assistant={"enabled": True})
    message = person.wait(lambda: announced(person, topic(device)))
    assert "zone.gate.count" not in message["cmps"]
    person.send("homeassistant/status", b"online")
    person.wait_for(topic(device), 2, 30)

    patch(zones={"gate": {"camera": CAMERA, "polygon": [[0, 0], [1, 0], [1, 1]]}})
    person.wait(lambda: "zone.gate.count" in entities(announced(person, topic(device))))
    patch(zones={"gate": None})
    person.wait(lambda: "zone.gate.count" not in entities(announced(person, topic(device))))

    patch(home_assistant={"prefix": "ha"})
    person.wait(lambda: announced(person, topic(device, "ha")) and announced(person, topic(device)) is None)
    before = len(person.on(topic(device, "ha")))
    person.send("ha/status", b"online")
    person.wait_for(topic(device, "ha"), before + 1, 30)
    patch(home_assistant=None)
    person.wait(lambda: announced(person, topic(device, "ha")) is None)


# --- Home Assistant itself --------------------------------------------------------------------------------------------


class HomeAssistant:
    """A real one; see :mod:`tests.fakes.home_assistant`."""

    def __init__(self, port: int) -> None:
        program = ROOT / "tests/fakes/home_assistant.py"
        self.process = subprocess.Popen(
            [os.environ["HOME_ASSISTANT_PYTHON"], str(program), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def wait(self, what: Callable[[dict[str, Any]], Any], timeout_s: float = 40) -> Any:
        """Return what is true of the states: unique id → entity id, state, attributes."""
        deadline = time.monotonic() + timeout_s
        while not (found := what(states := self.ask("states"))):
            assert time.monotonic() < deadline, states
            time.sleep(0.2)
        return found


@pytest.fixture
def home(broker) -> Iterator[HomeAssistant]:
    made = HomeAssistant(broker.port)
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(30)


@pytest.mark.skipif("HOME_ASSISTANT_PYTHON" not in os.environ, reason="HOME_ASSISTANT_PYTHON is not set, see Makefile")
def test_home_assistant_itself_shows_the_device_and_removes_it(device, home, world, broker):
    yard = f"lookout_{device.name}.camera.{CAMERA}"
    both = {**device.config["cameras"], **SECOND["cameras"]}
    before = {key: device.config[key] for key in ("cameras", "pipelines")}
    device.config = {**device.config, **SECOND, "cameras": both}
    device.start()

    def shown(states: dict[str, Any], key: str) -> str | None:
        return states.get(key, (None, None))[1]

    home.wait(lambda states: shown(states, f"{yard}.occupancy") == "on")
    states = home.wait(lambda states: shown(states, f"{yard}.count") == "1" and states)
    entity, _, attributes = states[f"{yard}.count"]
    assert entity == f"sensor.{device.name.replace('-', '_')}_{CAMERA}_objects"
    assert attributes["red"] == "1"
    assert shown(states, f"{yard}.problem") == "off"
    pipeline = f"lookout_{device.name}.pipeline.{PIPELINE}.update"
    home.wait(lambda states: shown(states, pipeline) == "off" and states[pipeline][2]["installed_version"] == "1.0.0")
    home.wait(lambda states: (shown(states, f"lookout_{device.name}.host.memory_available_mb") or "x")[0].isdigit())
    home.ask(f"press {states[f'{yard}.snapshot'][0]}")
    home.wait(lambda states: shown(states, f"{yard}.image") not in (None, "unknown", "unavailable"))

    restart(device, **before, zones={})
    gone = (f"lookout_{device.name}.camera.lane.count", f"lookout_{device.name}.zone.gate.occupancy")
    home.wait(lambda states: f"{yard}.count" in states and not set(gone) & set(states))
    late = world.person(broker.port, device)
    late.wait(lambda: announced(late, topic(device)))  # what else there is stays announced
    restart(device, home_assistant={"enabled": False})
    home.wait(lambda states: not [key for key in states if key.startswith(f"lookout_{device.name}.")])
