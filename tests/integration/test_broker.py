"""A broker that is dead, comes back, or refuses: frames go on, and the way back is found."""

from __future__ import annotations

import socket
import subprocess

import pytest

from tests.conftest import free_port

from . import shelf
from .device import CAMERA


def goes_on(device) -> None:
    """Frames are answered at this moment."""
    device.wait_serving(shelf.TINY)


def test_frames_flow_without_a_broker_and_messages_arrive_when_it_comes_and_comes_back(world, veteran, mosquitto):
    broker = mosquitto()
    broker.kill()
    device = world.device(port=broker.port, state=veteran)
    goes_on(device)
    status = device.wait_status(lambda s: s.broker.reason)
    assert status.broker.state in ("failed", "connecting")
    assert str(broker.port) in status.broker.reason
    assert "is the broker running" in status.broker.reason
    assert [reason for reason in status.degraded if not reason.startswith("broker")] == []

    broker.restart()
    person = world.person(broker.port, device)
    person.wait_for_payload(person.topic("status"), b"online", 40)
    person.sees(shelf.TINY, timeout_s=10)

    broker.kill()
    device.wait_status(lambda s: s.broker.state != "connected")
    goes_on(device)
    broker.restart()
    seen = len(person.seen)
    device.wait_status(lambda s: s.broker.state == "connected", 40)
    person.wait(lambda: any(m.topic == person.topic(f"detections/{CAMERA}") for m in person.seen[seen:]), 20)
    person.wait(lambda: (said := person.said("info")) and said[-1]["session"] >= 2)
    assert device.status().cameras[0].lost == 0


def test_a_broker_that_takes_the_connection_and_says_nothing_holds_nothing_up(world, veteran):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        device = world.device(port=silent.getsockname()[1], state=veteran)
        goes_on(device)
        reason = device.wait_status(lambda s: "did not answer" in s.broker.reason).broker.reason
        assert "MQTT broker" in reason
        goes_on(device)
        assert device.stop() == 0


def test_a_wrong_password_is_told_with_its_remedy_and_the_right_one_works(world, veteran, mosquitto, tmp_path):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "yard", "right"], check=True, capture_output=True)
    broker = mosquitto(f"allow_anonymous false\npassword_file {passwords}")
    device = world.device(port=broker.port, state=veteran, start=False, mqtt={"username": "yard"})
    device.start(LOOKOUT__MQTT__PASSWORD="wrong-and-secret")
    goes_on(device)
    status = device.wait_status(lambda s: "password" in s.broker.reason)
    assert "mqtt.username" in status.broker.reason
    shown = device.run("status", "-c", str(device.file))
    assert shown.returncode == 3
    assert "mqtt.username" in shown.stdout
    assert "wrong-and-secret" not in shown.stdout + device.log.read_text()
    device.stop()

    device.start(LOOKOUT__MQTT__PASSWORD="right")
    person = world.person(broker.port, device, username="yard", password="right")
    person.sees(shelf.TINY)
    assert "right" not in device.log.read_text().split()


@pytest.mark.parametrize("what", ["no broker", pytest.param("nobody", marks=pytest.mark.faults)])
def test_what_is_no_broker_is_named(what, world, veteran, registry):
    port = registry.port if what == "no broker" else free_port()
    device = world.device(port=port, state=veteran)
    goes_on(device)
    reason = device.wait_status(lambda s: s.broker.reason).broker.reason
    assert str(port) in reason
    assert "mqtt.port" in reason
