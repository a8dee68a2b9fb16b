from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import DecodeError
from paho.mqtt.enums import CallbackAPIVersion

from agent.link.messages import CommandResult, Deploy, Detections
from tools.demo import broker, processes
from tools.demo.failure import DemoFailed
from tools.demo.operator import FORMS, Heard, Operator, Tape, read

DETECTIONS = {
    "v": 1,
    "camera": "car",
    "frame": 7,
    "index": 7,
    "at": "2026-01-01T00:00:00.000Z",
    "size": [176, 144],
    "model": "faces:1.0.0",
    "digest": "0" * 64,
    "config": None,
    "latency_ms": 9.5,
    "detections": [{"track": None, "class_id": 0, "label": "face", "score": 0.9, "box": [1, 2, 3, 4]}],
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    pytest.importorskip("amqtt", reason="the extra 'demo' brings the broker")
    with ExitStack() as stack:
        yield broker.start(stack, tmp_path_factory.mktemp("broker") / "log")
        family = psutil.Process().children(recursive=True)
    assert processes.survivors(family, 5.0) == []


class Device:
    """A scripted device: answers every deploy command over the real broker."""

    def __init__(self, port: int) -> None:
        self.subscribed = threading.Event()
        name = f"device-{uuid.uuid4().hex}"
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self._on_command
        self.client.on_connect = lambda *_: self.client.subscribe("lookout/demo/cmd/+/+", qos=1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.subscribed.wait(5)

    def say(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        data = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        self.client.publish(f"lookout/demo/{topic}", data, qos=1, retain=retain)

    def _on_command(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        if "/cmd/" not in message.topic:
            return  # amqtt sends a new client retained messages that others have subscribed to
        command = json.loads(message.payload)
        self.say("result/model/deploy", {"v": 1, "id": command["id"], "ok": True, "result": {}})
        status = {"v": 1, "pipeline": "faces", "state": "committed", "reference": command["args"]["reference"]}
        self.say("deploy/faces", status, retain=True)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def device(port: int) -> Iterator[Device]:
    speaker = Device(port)
    yield speaker
    speaker.close()


def test_a_command_and_its_end_pass_through_the_real_broker(port: int, device: Device) -> None:
    with Operator(port, "demo") as operator:
        before = operator.tape.position
        sent = operator.command("model/deploy", {"pipeline": "faces", "reference": "faces:1.0.0"})
        _, answer = operator.tape.wait(before, CommandResult, lambda r: r.id == sent, timeout_s=5, what="the answer")
        assert answer.ok
        _, end = operator.tape.wait(before, Deploy, lambda d: True, timeout_s=5, what="the end")
        assert end.reference == "faces:1.0.0"


def test_messages_are_read_in_their_form_and_in_order(port: int, device: Device) -> None:
    with Operator(port, "demo") as operator:
        device.say("status", "online", retain=True)
        for frame in range(5):
            device.say("detections/car", {**DETECTIONS, "frame": frame})
        operator.tape.wait(0, Detections, lambda d: d.frame == 4, timeout_s=5, what="the frames")
        assert [d.frame for _, d in operator.tape.since(0, Detections)] == [0, 1, 2, 3, 4]
        assert "online" in [text for _, text in operator.tape.since(0, str)]


def test_a_message_that_breaks_its_form_fails_whoever_waits(port: int, device: Device) -> None:
    with Operator(port, "demo") as operator:
        device.say("detections/car", {**DETECTIONS, "frame": "seven"})
        with pytest.raises(DemoFailed, match=r"broke its form: detections/car.*frame"):
            operator.tape.wait(0, Detections, lambda d: True, timeout_s=5, what="a frame")


def test_an_unreachable_broker_is_named() -> None:
    with pytest.raises(DemoFailed, match="cannot reach the broker"), Operator(broker.free_port(), "demo"):
        pass


def test_waiting_in_vain_says_for_what_and_what_came_last() -> None:
    tape = Tape()
    with pytest.raises(DemoFailed, match=r"waited 0\.05 s for a miracle, in vain; nothing at all was heard"):
        tape.wait(0, Detections, lambda _: True, timeout_s=0.05, what="a miracle")
    tape.add(Heard(time.monotonic(), time.time(), "status", "online"))
    with pytest.raises(DemoFailed, match="last heard: status"):
        tape.wait(0, Detections, lambda _: True, timeout_s=0.05, what="a miracle")


def test_what_came_before_a_position_is_past() -> None:
    tape = Tape()
    tape.add(Heard(1.0, 1.0, "status", "online"))
    with pytest.raises(DemoFailed):
        tape.wait(tape.position, str, lambda _: True, timeout_s=0.05, what="news")


@given(st.sampled_from(sorted(FORMS)), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_as_undecodable(kind: str, payload: bytes) -> None:
    try:
        read(kind, payload)
    except (DecodeError, UnicodeDecodeError):
        return


def test_a_broker_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("amqtt", reason="the extra 'demo' brings the broker")
    monkeypatch.setattr(broker, "ATTEMPTS", 1)
    monkeypatch.setattr(broker, "free_port", lambda: 70_000)
    with ExitStack() as stack, pytest.raises(DemoFailed, match="the broker ended before it was ready"):
        broker.start(stack, tmp_path / "log")
