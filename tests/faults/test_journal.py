"""The agent's log in a real systemd's journal: entries of the unit, with their priority and a field for each field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .nspawn import Machine
from .test_systemd import install

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "machine")
    yield made
    made.power_off()


def entries(machine: Machine, *matches: str) -> list[dict[str, Any]]:
    found = machine.run("journalctl", "--unit=lookout", "--output=json", "--no-pager", *matches)
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_a_record_is_an_entry_of_the_unit_with_its_fields(machine, broker, registry, shop):
    install(machine, "journalled", broker, registry, shop)
    machine.boot()
    machine.wait(lambda: machine.show("ActiveState") == "active", 30)
    (started,) = machine.wait(lambda: entries(machine, "LOOKOUT_EVENT=agent.started"), 20)
    assert started["_SYSTEMD_UNIT"] == "lookout.service"
    assert started["SYSLOG_IDENTIFIER"] == "lookout"
    assert (started["PRIORITY"], started["LOOKOUT_PART"], started["LOOKOUT_DEVICE"]) == ("6", "agent", "journalled")
    assert started["_TRANSPORT"] == "journal"
    assert started["MESSAGE"].startswith("agent agent.started device=journalled")

    machine.run("systemctl", "restart", "systemd-journald")
    machine.run("systemctl", "restart", "lookout")
    machine.wait(lambda: len(entries(machine, "LOOKOUT_EVENT=agent.started")) == 2, 30)
    assert entries(machine, "LOOKOUT_EVENT=agent.stopped")
