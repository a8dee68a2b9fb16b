"""A change that was wrong is undone: by the operator, or by the device itself while it is on probation."""

from __future__ import annotations

import pytest

from . import shelf
from .device import CAMERA, PIPELINE, pictures
from .processes import WORKER, children, kill, until

SLOW_PROBATION = {"probation": {"frames": 5, "seconds": 60}}


def test_an_operator_rolls_a_committed_release_back_and_forth_once_there_is_one_to_go_back_to(at_work):
    _, person = at_work()
    answer = person.command("model/rollback")
    assert answer["ok"] is False
    assert "no previous release" in answer["error"]["message"]
    person.deployed(shelf.NEWER)
    answer = person.command("model/rollback", pipeline=PIPELINE)
    assert answer["ok"], answer
    report = person.wait_state(shelf.NEWER, "rolled_back")
    assert "operator" in report["reason"]
    assert (report["current"]["version"], report["previous"]["version"]) == ("1.0.0", "1.1.0")
    person.sees(shelf.TINY)
    assert person.command("model/rollback")["ok"]
    person.sees(shelf.NEWER)


def test_a_candidate_that_answers_nan_for_real_frames_only_is_rolled_back_at_once_and_the_previous_serves_on(
    broker, world, veteran
):
    device = world.device(port=broker.port, state=veteran, start=False, deploy=SLOW_PROBATION, report={"all": True})
    pictures(device.folder / "bright", cells=16)
    device.config["cameras"][CAMERA]["source"] |= {"path": "bright", "pace": "lossless"}
    person = world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    since = person.deploy(shelf.DAZZLED)
    report = person.wait_state(shelf.DAZZLED, "rolled_back", "committed", since=since)
    assert report["state"] == "rolled_back"
    assert "finite" in report["reason"]
    assert person.states(shelf.DAZZLED, since)[-3:] == ["trial", "probation", "rolled_back"], "its trial it passed"
    assert report["current"]["version"] == report["serving"]["version"] == "1.0.0"
    person.sees(shelf.TINY)
    assert shelf.DAZZLED not in {frame["model"] for frame in person.frames()}
    assert device.status().cameras[0].lost == 0

    again = person.deploy(shelf.DAZZLED)
    assert "quarantine" in person.wait_state(shelf.DAZZLED, "failed", since=again)["reason"]


@pytest.fixture(scope="module")
def slow(broker, shared_world, veteran):
    """A device whose probations end by themselves only after a minute, and its operator."""
    device = shared_world.device(
        port=broker.port, state=veteran, start=False, deploy=SLOW_PROBATION, report={"all": True}
    )
    person = shared_world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    return device, person


def test_a_rollback_in_probation_is_instant_because_the_previous_worker_is_still_warm(slow):
    device, person = slow
    worker = device.worker
    since = person.deploy(shelf.NEWER)
    person.wait_state(shelf.NEWER, "probation", since=since)
    person.sees(shelf.NEWER)
    busy = person.command("model/deploy", reference=shelf.NEWEST)
    assert busy["error"]["code"] == "refused"
    assert "probation" in busy["error"]["message"]
    person.command("model/rollback")
    person.sees(shelf.TINY)
    report = person.wait_state(shelf.NEWER, "rolled_back", since=since)
    assert report["current"]["version"] == "1.0.0"
    until(lambda: children(device.pid, WORKER) == [worker], 10)  # the one that served before serves again
    numbers = [frame["frame"] for frame in person.frames()]
    assert numbers == sorted(set(numbers))


def test_a_candidate_whose_worker_is_killed_in_probation_is_rolled_back_and_no_frame_is_lost(slow):
    device, person = slow
    since = person.deploy(shelf.NEWEST)
    person.wait_state(shelf.NEWEST, "probation", since=since)
    person.sees(shelf.NEWEST, 1)
    kill([device.worker])
    report = person.wait_state(shelf.NEWEST, "rolled_back", since=since)
    assert "SIGKILL" in report["reason"]
    person.sees(shelf.TINY)
    assert device.status().cameras[0].lost == 0
