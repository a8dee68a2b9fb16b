"""A disk that is full or read-only, a broker or a registry that is never there: frames go on, in words it says why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port
from tests.integration.device import Device
from tests.integration.processes import WORKER, children, kill

from .conftest import RING
from .disk import Disk
from .onlooker import Onlooker

ROOM = {"registry": {"free_floor_mb": 0}, "deploy": {"safe_mode_after": 0, "probation": {"frames": 5, "seconds": 0}}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Requested before ``world``, so that it is unmounted after the last process has ended."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    made = Disk(tmp_path / "disk")
    made.mount()
    yield made
    made.unmount()


@pytest.fixture
def settled(disk, seasoned, broker, world) -> Iterator[tuple[Device, Onlooker]]:
    """A device whose state lies on the small disk and that has committed a release."""
    paths = {"state": str(disk.folder / "state")}
    device = world.device(port=broker.port, state=seasoned, start=False, paths=paths, **ROOM)
    person = Onlooker(broker.port, device.name)
    device.start()
    person.meets(RING[0])
    yield device, person
    person.close()


def goes_on(device: Device, reference: str) -> None:
    """Frames are answered at this moment."""
    device.wait_serving(reference)


def deploy(person: Onlooker, reference: str, name: str) -> dict[str, Any]:
    """Order a deployment; return the refusal or the report of its end."""
    since = len(person.reports)
    answer = person.order("model/deploy", name, 20, reference=reference, force=True)
    assert answer is not None
    if not answer["ok"]:
        return {"state": "refused", "reason": answer["error"]["message"]}
    wanted: Callable[[dict[str, Any]], bool] = lambda r: r["reference"] == reference  # noqa: E731 - a word for it
    ends = {"committed", "failed", "rolled_back"}
    return person.wait(lambda: next((r for r in person.reports[since:] if r["state"] in ends and wanted(r)), None))


def test_on_a_full_disk_frames_go_on_deployments_say_what_to_do_and_all_heals_when_there_is_room(disk, settled):
    device, person = settled
    disk.fill()
    end = deploy(person, RING[1], "full")
    print(end["state"], end["reason"])
    assert end["state"] in ("refused", "failed")
    assert "disk" in end["reason"] or "space" in end["reason"]
    goes_on(device, RING[0])
    kill(children(device.pid, WORKER))
    goes_on(device, RING[0])
    device.kill()
    device.start()
    goes_on(device, RING[0])
    print(device.status().degraded)
    disk.free()
    assert deploy(person, RING[1], "free")["state"] == "committed"
    goes_on(device, RING[1])
    device.wait_status(lambda status: status.degraded == ())


def test_on_a_disk_that_goes_read_only_under_it_frames_go_on_and_deployments_say_what_to_do(disk, settled):
    device, person = settled
    disk.remount("abort")
    end = deploy(person, RING[1], "aborted")
    print(end["state"], end["reason"])
    assert end["state"] in ("refused", "failed")
    assert "disk" in end["reason"]
    goes_on(device, RING[0])
    kill(children(device.pid, WORKER))
    goes_on(device, RING[0])
    print(device.status().degraded)


def test_an_agent_that_starts_on_a_read_only_state_serves_what_it_has(disk, settled):
    device, person = settled
    device.stop()
    disk.remount("ro")
    try:
        device.start()
        goes_on(device, RING[0])
        device.wait_status(lambda s: any("journal" in reason for reason in s.degraded))
        end = deploy(person, RING[1], "read-only")
        print(end["state"], end["reason"])
        assert end["state"] in ("refused", "failed")
        device.stop()
    finally:
        disk.remount("rw")
    device.start()
    person.wait_for_payload(person.topic("status"), b"online", 20)
    assert deploy(person, RING[2], "writable")["state"] == "committed"


@pytest.mark.faults
def test_with_broker_and_registry_down_throughout_frames_go_on_over_kills_and_restarts(world, seasoned):
    device = world.device(port=free_port(), state=seasoned, start=False, **ROOM)
    device.config["registry"]["url"] = f"http://127.0.0.1:{free_port()}"
    device.start()
    goes_on(device, RING[0])
    kill([device.worker])
    goes_on(device, RING[0])
    kill([device.capture])
    goes_on(device, RING[0])
    device.kill()
    device.start()
    goes_on(device, RING[0])
    status = device.wait_status(lambda s: s.broker.reason)
    assert "is the broker running" in status.broker.reason
    assert [reason for reason in status.degraded if not reason.startswith("broker")] == []


@pytest.mark.faults
def test_a_registry_that_is_down_fails_the_deployment_in_words_and_frames_go_on(broker, world, seasoned):
    """``make test`` has one of ``tests/integration/test_bad_releases.py``."""
    device = world.device(port=broker.port, state=seasoned, start=False, **ROOM)
    person = Onlooker(broker.port, device.name)
    try:
        there = device.config["registry"]["url"]
        device.config["registry"]["url"] = f"http://127.0.0.1:{free_port()}"
        device.start()
        person.meets(RING[0])
        end = deploy(person, RING[1], "down")
        assert end["state"] == "failed", end
        assert device.config["registry"]["url"].removeprefix("http://") in end["reason"]
        goes_on(device, RING[0])
        device.stop()
        device.config["registry"]["url"] = there
        device.start()
        person.wait_for_payload(person.topic("status"), b"online", 20)
        assert deploy(person, RING[2], "up")["state"] == "committed"
    finally:
        person.close()
