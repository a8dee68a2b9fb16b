"""The mains fail in a probation: the host went down, nothing speaks against the model, and none is called bad."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import free_port
from tests.integration.device import Device
from tests.integration.processes import until

from .agreement import Journalled, disagreement, journalled
from .conftest import RING
from .mains import Mains
from .onlooker import Deploying, Onlooker
from .test_clock import committed, order, quarantined

PROBATION = {"safe_mode_after": 0, "probation": {"frames": 5, "seconds": 2.5}}
"""Long enough to be cut in, short enough to be waited for."""


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param(("mains", "mains"), id="two cuts", marks=pytest.mark.faults),
        pytest.param(("mains", "agent", "mains"), id="two cuts and a death", marks=pytest.mark.faults),
        pytest.param(("agent", "mains", "mains"), id="a death and two cuts", marks=pytest.mark.faults),
    ],
)
def test_a_good_model_cut_off_twice_in_its_probation_is_committed(ends, broker, world):
    device = world.device(port=broker.port, start=False, deploy=PROBATION)
    mains, person = Mains(device), Onlooker(broker.port, device.name)
    try:
        device.start()
        person.deployed_first(RING[0])
        since = len(person.reports)
        order(person, "new", RING[1])
        for end in ends:
            on_probation(person, since, RING[1])
            since = len(person.reports)
            fell(device, mains, end)
        committed(person, RING[1], since)
        assert quarantined(device) == []
        until(lambda: disagreement(device, person) is None, 10, lambda: f"{disagreement(device, person)}")
        assert person.models == {RING[0], RING[1]}
        assert "the host went down in it" in device.log.read_text()
    finally:
        person.close()


@pytest.mark.faults
def test_the_third_cut_rolls_back_without_a_verdict_and_the_model_may_be_deployed_again(broker, world):
    device = world.device(port=broker.port, start=False, deploy=PROBATION)
    mains, person = Mains(device), Onlooker(broker.port, device.name)
    try:
        device.start()
        person.deployed_first(RING[0])
        since = len(person.reports)
        order(person, "new", RING[1])
        for _ in range(3):
            on_probation(person, since, RING[1])
            since = len(person.reports)
            mains.cut()
        report = person.next_report(Deploying.ENDS, since, 30)
        assert report is not None
        assert (report["state"], report["reference"]) == ("rolled_back", RING[1])
        assert "the host went down 3 times" in report["reason"]
        assert quarantined(device) == []
        person.wait(lambda: person.answer is not None and person.answer.model == RING[0])
        since = len(person.reports)
        order(person, "again", RING[1])
        committed(person, RING[1], since)
    finally:
        person.close()


def test_without_a_broker_a_good_model_cut_off_twice_in_its_probation_is_committed(world, seasoned):
    first_model = {"watch": {"model": RING[0]}}
    device = world.device(port=free_port(), state=seasoned, start=False, deploy=PROBATION, pipelines=first_model)
    mains = Mains(device)
    device.start()
    reached(device, lambda row: row.state == "committed")
    first = device.wait_serving(RING[0])
    device.stop()
    device.config["pipelines"]["watch"]["model"] = RING[1]
    device.start()
    for _ in range(2):
        reached(device, lambda row: row.state == "probation")
        device.wait_serving(RING[1])
        mains.cut()
    row = reached(device, lambda row: row.state != "probation")
    status = device.wait_serving(RING[1])
    assert (row.state, row.previous) == ("committed", first.pipelines[0].digest)
    assert row.current == status.pipelines[0].digest
    assert quarantined(device) == []
    assert [reason for reason in status.degraded if not reason.startswith("broker")] == []


def fell(device: Device, mains: Mains, end: str) -> None:
    if end == "mains":
        mains.cut()
    else:
        device.kill()
        device.start()


def on_probation(person: Onlooker, since: int, reference: str) -> None:
    """Wait for a probation in this life of the agent, and for a frame that the candidate answered in it."""
    report = person.next_report(frozenset({"probation"}) | Deploying.ENDS, since, 30)
    assert report is not None, person.report
    assert (report["state"], report["reference"]) == ("probation", reference), report
    seen_s = time.monotonic()

    def answered() -> bool:
        return person.answer is not None and person.answer.seen_s > seen_s and person.answer.model == reference

    person.wait(answered)


def reached(device: Device, what: Callable[[Journalled], bool]) -> Journalled:
    """Return the journal's row once ``what`` is true of it."""

    def fits() -> Journalled | None:
        row = journalled(device)
        return row if row is not None and what(row) else None

    found = until(fits, 30, lambda: f"{journalled(device)}\n{device.last_words()}")
    assert isinstance(found, Journalled)
    return found
