"""Whatever is killed or hangs, frames go on or come back, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.conftest import free_port

from . import shelf
from .device import CAMERA
from .processes import CAPTURE, WORKER, children, kill

HUNG_WORKER_S = 2.0
HUNG_CAPTURE_S = 3.0


def seconds_to_frames(person, reference: str) -> float:
    """The longest time between two detections around now: until the next three have come."""
    started = time.monotonic()
    person.sees(reference)
    return time.monotonic() - started


@pytest.mark.parametrize(("who", "number"), [
    (WORKER, signal.SIGKILL), (WORKER, signal.SIGSTOP), (CAPTURE, signal.SIGKILL), (CAPTURE, signal.SIGSTOP),
])  # fmt: skip
def test_a_child_that_is_killed_or_hangs_is_replaced_and_frames_go_on(who, number, at_work):
    device, person = at_work()
    (before,) = children(device.pid, who)
    sequence = person.frames()[-1]["frame"]
    kill([before], number)
    seen = device.wait_status(lambda _: children(device.pid, who) not in ([before], []), 15)
    took = seconds_to_frames(person, shelf.TINY)
    (after,) = children(device.pid, who)
    assert after != before
    assert seen.pid == device.pid
    numbers = [frame["frame"] for frame in person.frames()]
    assert numbers == sorted(set(numbers)), "no frame is reported twice, or out of order"
    assert numbers[-1] > sequence
    status = device.wait_status(lambda s: s.degraded == ())
    assert status.cameras[0].health == "streaming"
    print(f"{who} {number.name}: {took:.2f} s")


def test_frames_in_flight_of_a_killed_worker_are_answered_by_the_next_one(broker, shared, world):
    """A lossless file shows every frame; the worker is killed twice in the middle of it."""
    video = {"source": {"kind": "file", "path": str(shared / "data/video/plaza.avi"), "pace": "lossless", "loop": True}}
    device = world.device(port=broker.port, start=False, cameras={CAMERA: video}, report={"all": True})
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


@pytest.mark.parametrize("how", ["the agent alone", "all at once", "the agent while its children are stopped"])
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
