"""The wall clock jumps ten years ahead, or back, and is right again: at every moment of a deployment, under way.

Frames go on, none is lost, no loop is late for the watchdog, the broker is not left; what cannot be decided by a wrong
clock waits or fails in words that name the clock, no good release is condemned, and the same reference deploys once
the clock is right. Here the clock is not ``registry.trust_clock``'s: the kernel says that something keeps it.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.integration.device import Device
from tests.patience import patient

from .conftest import RING
from .onlooker import Onlooker
from .wallclock import YEAR_S, WallClock

ENDS = frozenset({"committed", "failed", "rolled_back"})
MOMENTS = ("before", "resolving", "fetching", "verifying", "trial", "probation", "committed")
LONGEST_GAP_S = patient(3.0)
"""Between two answered frames at 10 a second, on a busy machine; a loop that is late by 4 s is hung."""


@pytest.fixture
def clock(tmp_path) -> WallClock:
    return WallClock(tmp_path / "clock")


@pytest.fixture
def settled(clock, seasoned, broker, world) -> Iterator[tuple[Device, Onlooker]]:
    """A device with a clock of its own that has committed a release."""
    device = world.device(
        port=broker.port,
        state=seasoned,
        start=False,
        registry={"trust_clock": False, "max_rate_bytes_s": 500_000},  # a fetch takes long enough to jump in
        deploy={"probation": {"seconds": 0.5}},
    )
    clock.give_to(device)
    person = Onlooker(broker.port, device.name)
    device.start()
    person.meets(RING[0])
    yield device, person
    person.close()


@pytest.mark.parametrize("years", [10, pytest.param(-10, marks=pytest.mark.faults)])
@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(("before", "probation"), id="sample"),
        pytest.param(MOMENTS, id="full", marks=pytest.mark.faults),
    ],
)
def test_a_clock_that_jumps_in_a_deployment_blinds_nobody_and_condemns_nothing(moments, years, clock, settled):
    device, person = settled
    references = itertools.cycle((*RING[1:], RING[0]))
    ends: dict[str, str] = {}
    for moment in moments:
        reference = next(references)
        since = begin(clock, person, moment, reference, years)
        ends[moment] = end(person, since)
        goes_on(person)
        assert person.answers[-1].at[:4] == year(years), "the clock is the test's"
        clock.jump(0)
        if ends[moment] == "failed":
            order(person, f"{moment}-again", reference)
            since = len(person.reports)
        committed(person, reference, since)
    print(f"{years:+d} years at: {ends}")
    assert ends["before"] == ("failed" if years > 0 else "waiting_for_clock")
    assert {ends[moment] for moment in moments if moment in ("trial", "probation", "committed")} == {"committed"}
    look_whole(device, person)


@pytest.mark.faults
def test_an_agent_that_is_restarted_under_a_wrong_clock_serves_and_deploys_once_it_is_right(clock, settled):
    device, person = settled
    for number, years in enumerate((10, -10)):
        clock.jump(years)
        device.stop()
        device.start()
        goes_on(person)
        clock.jump(0)
        person.wait_for_payload(person.topic("status"), b"online", 20)
        reference = RING[1 + number]
        since = len(person.reports)
        order(person, f"restarted-{number}", reference)
        committed(person, reference, since)
    assert quarantined(device) == []
    assert device.status().degraded == ()


def test_an_order_that_was_carried_out_is_not_carried_out_again_when_the_clock_jumps_ahead(clock, settled):
    _device, person = settled
    since = len(person.reports)
    order(person, "once", RING[1])
    committed(person, RING[1], since)
    since = len(person.reports)
    clock.jump(10)
    assert person.order("device/ping", "ages-the-memory", 10) is not None
    person.results.clear()
    answer = person.order("model/deploy", "once", 10, reference=RING[1])
    assert answer is not None
    assert answer["ok"], "answered from memory"
    assert person.reports[since:] == []


def begin(clock: WallClock, person: Onlooker, moment: str, reference: str, years: int) -> int:
    """Order a deployment and let the clock jump at that moment; return how many reports there were before."""
    since = len(person.reports)
    if moment == "before":
        clock.jump(years)
    order(person, f"{years}-{moment}", reference)
    if moment != "before":
        assert person.next_report(frozenset({moment}), since, 30) is not None, person.report
        clock.jump(years)
    return since


def order(person: Onlooker, identity: str, reference: str) -> None:
    answer = person.order("model/deploy", identity, 20, reference=reference)
    assert answer is not None, "no answer"
    assert answer["ok"], answer


def end(person: Onlooker, since: int) -> str:
    """Return how the deployment ended under the wrong clock, or that it waits; it says so in words."""
    report: Any = person.next_report(ENDS | {"waiting_for_clock"}, since, 40)
    assert report is not None, person.report
    if report["state"] != "committed":
        assert report["state"] in ("failed", "waiting_for_clock"), report
        assert "clock" in report["reason"], report
    return str(report["state"])


def committed(person: Onlooker, reference: str, since: int) -> None:
    report = person.next_report(ENDS - {"failed"}, since, 40)
    assert report is not None, person.report
    assert (report["state"], report["reference"]) == ("committed", reference), report


def year(ahead: int) -> str:
    """Return the year that a clock shows which is wrong by so many."""
    return str((datetime.now(timezone.utc) + timedelta(seconds=ahead * YEAR_S)).year)


def goes_on(person: Onlooker) -> None:
    """Frames are answered from now on, too."""
    seen = len(person.answers)
    person.wait(lambda: len(person.answers) > seen + 5, 20)


def look_whole(device: Device, person: Onlooker) -> None:
    """Nothing was lost, left or condemned; that no loop was late is looked at when the device is closed."""
    answers = list(person.answers)
    gap_s = max(after.seen_s - before.seen_s for before, after in itertools.pairwise(answers))
    assert gap_s < LONGEST_GAP_S
    assert all(before.frame < after.frame for before, after in itertools.pairwise(answers))
    status = device.status()
    assert (status.cameras[0].lost, status.degraded) == (0, ())
    assert device.log.read_text().count("mqtt.connected") == 1, "the connection survived"
    assert quarantined(device) == []
    print(f"{len(answers)} frames, none lost; longest gap {1000 * gap_s:.0f} ms")


def quarantined(device: Device) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{device.state / 'journal.db'}?mode=ro", uri=True)) as db:
        return db.execute("SELECT digest, reason FROM quarantine").fetchall()
