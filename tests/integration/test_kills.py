"""Whatever is killed or hangs, frames go on or come back, and nothing is left behind."""

from __future__ import annotations

import itertools
import os
import signal
import time
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import free_port

from . import shelf
from .device import CAMERA
from .processes import CAPTURE, WORKER, children, kill

DEADLINE_S = {(WORKER, signal.SIGSTOP): 2.0, (CAPTURE, signal.SIGSTOP): 3.0}
"""After which silence one that hangs is killed."""


def widest_gap_s(frames: list[dict[str, Any]]) -> float:
    """The longest time between two frames that were answered, by the time they were taken."""
    at = [datetime.fromisoformat(frame["at"].replace("Z", "+00:00")) for frame in frames]
    return max((later - earlier).total_seconds() for earlier, later in itertools.pairwise(at))


def test_the_third_death_of_a_committed_models_worker_gives_it_up_for_the_previous_one(at_work):
    device, person = at_work()
    person.deployed(shelf.NEWER)
    for _ in range(3):
        person.sees(shelf.NEWER, 5)
        kill([device.worker])
    report = person.wait_state(shelf.NEWER, "rolled_back")
    assert "3 times in ten minutes" in report["reason"]
    assert "SIGKILL" in report["reason"]
    person.sees(shelf.TINY)
    assert device.status().cameras[0].lost == 0
    since = person.deploy(shelf.NEWER)
    assert "quarantine" in person.wait_state(shelf.NEWER, "failed", since=since)["reason"]


def test_frames_in_flight_of_a_killed_worker_are_answered_by_the_next_one(broker, world):
    """A lossless source shows every frame; the worker is killed twice in the middle of it."""
    lossless = {CAMERA: {"source": {"pace": "lossless"}}}
    device = world.device(port=broker.port, start=False, cameras=lossless, report={"all": True})
    person = world.person(broker.port, device)
    device.start()
    person.deployed(shelf.STEADY)
    for _ in range(2):
        person.sees(shelf.STEADY, 10)
        (worker,) = children(device.pid, WORKER)
        kill([worker])
    person.sees(shelf.STEADY, 10)
    camera = device.status().cameras[0]
    numbers = [frame["frame"] for frame in person.frames()]
    missing = set(range(numbers[0], numbers[-1] + 1)) - set(numbers)
    assert numbers == sorted(set(numbers))
    assert len(missing) == camera.lost == 0, f"lost {missing}"


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("the agent alone", marks=pytest.mark.faults),
        "all at once",
        "the agent while its children are stopped",
    ],
)
def test_nothing_is_left_behind_and_the_committed_model_serves_again_without_registry_and_broker(how, world, veteran):
    device = world.device(
        state=veteran,
        registry={"url": f"http://127.0.0.1:{free_port()}"},
        mqtt={"host": "127.0.0.1", "port": free_port()},
    )
    device.wait_serving(shelf.TINY)
    if how == "all at once":
        device.kill_all()
    else:
        if how.endswith("stopped"):
            kill([*children(device.pid, WORKER), *children(device.pid, CAPTURE)], signal.SIGSTOP)
        device.kill()
    started = time.monotonic()
    device.start()
    status = device.wait_serving(shelf.TINY)
    print(f"{how}: serves {time.monotonic() - started:.2f} s after the start")
    assert status.pipelines[0].deployment == "committed"
    assert [reason for reason in status.degraded if not reason.startswith("broker")] == []


def test_a_stop_in_the_middle_of_everything_ends_in_time_with_nothing_left(at_work):
    device, person = at_work()
    since = person.deploy(shelf.NEWER)
    person.wait_state(shelf.NEWER, "trial", since=since)
    started = time.monotonic()
    assert device.stop() == 0
    assert time.monotonic() - started < 10


def test_ctrl_c_for_the_whole_group_is_a_clean_stop(at_work):
    device, _ = at_work()
    members = {device.pid, *children(device.pid, WORKER), *children(device.pid, CAPTURE)}
    for pid in members:
        os.kill(pid, signal.SIGINT)
    assert device.gone(members) == 0


@pytest.fixture(scope="module")
def struck(broker, shared_world, veteran):
    """A device without a previous release, whose children are killed one after the other, and its operator."""
    device = shared_world.device(port=broker.port, state=veteran, start=False)
    person = shared_world.person(broker.port, device)
    device.start()
    person.sees(shelf.TINY, 1)
    return device, person


@pytest.mark.parametrize(
    ("who", "number"),
    [(WORKER, signal.SIGKILL), (WORKER, signal.SIGSTOP), (CAPTURE, signal.SIGKILL), (CAPTURE, signal.SIGSTOP)],
)
def test_a_child_that_is_killed_or_hangs_is_replaced_and_frames_go_on(who, number, struck):
    device, person = struck
    (before,) = children(device.pid, who)
    so_far = len(person.frames())
    sequence = person.frames()[-1]["frame"]
    kill([before], number)
    device.wait_status(lambda _: children(device.pid, who) not in ([before], []), 15)
    person.sees(shelf.TINY, 8)  # the first few may be those that were in flight
    numbers = [frame["frame"] for frame in person.frames()]
    assert numbers == sorted(set(numbers)), "no frame is reported twice, or out of order"
    assert numbers[-1] > sequence
    gap_s = widest_gap_s(person.frames()[so_far - 1 :])
    print(f"{who} {number.name}: {gap_s:.2f} s without detections")
    assert gap_s < DEADLINE_S.get((who, number), 0.0) + 5.0  # the deadline, and a restart on a busy machine
    status = device.wait_status(lambda s: s.degraded == ())
    assert status.cameras[0].health == "streaming"
    assert status.pipelines[0].deployment == "committed"


@pytest.mark.faults
def test_a_models_worker_that_dies_again_and_again_is_restarted_where_there_is_no_previous_one(struck):
    device, person = struck
    for _ in range(4):
        person.sees(shelf.TINY, 5)
        kill([device.worker])
    person.sees(shelf.TINY, 5)
    assert device.wait_status(lambda s: s.degraded == ()).pipelines[0].deployment == "committed"
