"""A disk that is full or read-only, a broker or a registry that is never there: frames go on, in words it says why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port
from tests.integration.device import Device
from tests.integration.processes import WORKER, children, kill

from .conftest import RING
from .onlooker import Onlooker

SIZE_BYTES = 24_000_000
ROOM = {"registry": {"free_floor_mb": 0}, "deploy": {"safe_mode_after": 0, "probation": {"frames": 5, "seconds": 0}}}


def try_to(*command: str) -> None:
    """Run a command of root's; the test is skipped where it does not work."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is absent")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no file system can be mounted here: {error.stderr.strip()}")


class Disk:
    """A small ext4 of its own, on a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"
        self._image = folder.with_suffix(".img")

    def mount(self) -> None:
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        try_to("mkfs.ext4", "-q", str(self._image))
        try_to("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))

    def remount(self, how: str) -> None:
        """``abort`` is what the kernel does by itself at an error of the medium: read-only, whatever is open."""
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)

    def fill(self) -> None:
        """Take everything that is left, to the last byte."""
        fd = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for piece in (1 << 20, 4096, 1):
                while True:
                    try:
                        os.write(fd, b"x" * piece)
                    except OSError:
                        break
        finally:
            os.close(fd)

    def free(self) -> None:
        self._filler.unlink()


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
def settled(disk, broker, world) -> Iterator[tuple[Device, Onlooker]]:
    """A device whose state lies on the small disk and that has committed a release."""
    device = world.device(port=broker.port, start=False, paths={"state": str(disk.folder / "state")}, **ROOM)
    person = Onlooker(broker.port, device.name)
    device.start()
    person.deployed_first(RING[0])
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


def test_with_broker_and_registry_down_throughout_frames_go_on_over_kills_and_restarts(broker, world):
    device = world.device(port=broker.port, start=False, **ROOM)
    person = Onlooker(broker.port, device.name)
    device.start()
    person.deployed_first(RING[0])
    person.close()
    device.stop()
    device.config["mqtt"]["port"] = free_port()
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


def test_a_registry_that_is_down_fails_the_deployment_in_words_and_frames_go_on(broker, world):
    device = world.device(port=broker.port, start=False, **ROOM)
    person = Onlooker(broker.port, device.name)
    try:
        device.start()
        person.deployed_first(RING[0])
        device.stop()
        there = device.config["registry"]["url"]
        device.config["registry"]["url"] = f"http://127.0.0.1:{free_port()}"
        device.start()
        person.wait_for_payload(person.topic("status"), b"online", 20)
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
