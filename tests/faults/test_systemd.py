"""The agent as a service of a real systemd: killed again and again it comes back by itself, and how soon.

The machine is :mod:`tests.faults.nspawn`'s, the unit the one that ships, broker and registry are the host's. Measured
is what an operator sees: from the kill to the message of the first frame that was taken after it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.registry.provision import provision
from tests.conftest import ROOT
from tests.integration.device import CALM, CAMERA, PIPELINE, pictures
from tests.integration.processes import CAPTURE, WORKER, look

from .campaign import now, spread
from .conftest import RING
from .nspawn import Machine
from .onlooker import Onlooker

KILLS = 12
BOUND_S = 20.0
"""From a kill to the next detection, at the most, on a busy machine."""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "machine")
    yield made
    made.power_off()


def install(machine: Machine, device: str, broker, registry, shop, **deploy: object) -> None:
    """Put the agent on the machine: configuration, root of trust, pictures, unit."""
    config = {
        "schema": 1,
        "device": {"id": device},
        "mqtt": {"host": broker.host, "port": broker.port},
        "cameras": {CAMERA: {"source": {"kind": "images", "path": "/srv/pictures", "loop": True, "fps": 20}}},
        "pipelines": {PIPELINE: {"cameras": [CAMERA]}},
        "registry": {"url": registry.url, "trust_clock": True, "poll_s": 0},
        "deploy": {**CALM, **deploy},
        "report": {"detections_hz": 1000},
    }
    machine.write("/etc/lookout/agent.yaml", json.dumps(config))
    pictures(machine.place("/srv/pictures"))
    provision(shop.made.root, machine.place("/var/lib/lookout"))
    machine.add_user("lookout")
    program = Path(sys.executable).with_name("lookout")
    machine.install(ROOT / "systemd" / "lookout.service", f"{program} run -c /etc/lookout/agent.yaml")


def kill(machine: Machine, person: Onlooker) -> float:
    """SIGKILL the agent; return the time to the next detection, s."""
    pid = machine.wait(machine.main_pid, 10)
    at, began_s = now(), time.monotonic()
    os.kill(pid, signal.SIGKILL)
    answer = person.first_taken_after(at, BOUND_S)
    assert answer is not None, f"blind for {BOUND_S} s\n{machine.log()}"
    machine.wait(lambda: machine.show("ActiveState") == "active" and machine.main_pid() not in (0, pid), 20)
    return answer.seen_s - began_s


def test_a_killed_agent_is_back_by_itself_as_an_ordinary_user(machine, broker, registry, shop):
    install(machine, "killed-often", broker, registry, shop, safe_mode_after=0)
    person = Onlooker(broker.port, "killed-often")
    try:
        machine.boot()
        machine.wait(lambda: machine.show("ActiveState") == "active", 60)  # without a model it sees nothing: 20 s
        person.deployed_first(RING[0])
        blind = [kill(machine, person) for _ in range(KILLS)]
        print(f"{KILLS} kills under systemd, RestartUSec {machine.show('RestartUSec')}: next detection {spread(blind)}")
        print(f"each, s: {[round(seconds, 2) for seconds in blind]}")
        assert machine.show("NRestarts") == str(KILLS)
        assert person.models == {RING[0]}
        assert Path(f"/proc/{machine.main_pid()}").stat().st_uid == machine.uid
        modules = sorted(process.module for process in look() if machine.holds(process.pid) and process.module)
        assert modules == [CAPTURE, WORKER], "nothing of an earlier life is left"
    finally:
        person.close()


def test_after_three_kills_the_agent_starts_in_safe_mode_with_the_previous_model(machine, broker, registry, shop):
    install(machine, "killed-thrice", broker, registry, shop)
    person = Onlooker(broker.port, "killed-thrice")
    try:
        machine.boot()
        machine.wait(lambda: machine.show("ActiveState") == "active", 60)  # without a model it sees nothing: 20 s
        person.deployed_first(RING[0])
        since = len(person.reports)
        answer = person.order("model/deploy", "second", 20, reference=RING[1])
        assert answer is not None
        assert answer["ok"], answer
        end = person.next_report(frozenset({"committed", "failed", "rolled_back"}), since, 30)
        assert end is not None
        assert (end["state"], end["reference"]) == ("committed", RING[1])
        for _ in range(3):
            kill(machine, person)
        person.wait(lambda: person.answer is not None and person.answer.model == RING[0])
        machine.wait(lambda: "safe mode" in machine.show("StatusText"), 20)
    finally:
        person.close()


def test_an_agent_that_refuses_its_configuration_loops_slowly_and_serves_once_it_is_right(
    machine, broker, registry, shop
):
    install(machine, "misconfigured", broker, registry, shop)
    file = machine.place("/etc/lookout/agent.yaml")
    right = file.read_text()
    file.write_text(right.replace('"cameras"', '"kameras"', 1))
    machine.boot()
    machine.wait(lambda: int(machine.show("NRestarts") or 0) >= 1, 30)
    before, began_s = int(machine.show("NRestarts")), time.monotonic()
    machine.wait(lambda: int(machine.show("NRestarts")) >= before + 2, 40)
    pause_s = (time.monotonic() - began_s) / 2
    print(f"a restart every {pause_s:.1f} s while the configuration is refused")
    assert pause_s > 4
    assert "kameras" in machine.log()
    file.write_text(right)  # the machine sees it: nothing below it changed
    machine.wait(lambda: machine.show("ActiveState") == "active", 60)
