"""The link against real brokers of both protocol versions: a mosquitto (5) and an amqtt (3.1.1)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.link.messages import CameraState
from agent.types import Outgoing
from tests.fakes.mqtt_operator import Operator
from tests.patience import patient

STATE = "lookout/cam1/state/front"


def state(fps: float) -> Outgoing:
    return Outgoing(
        "state/front",
        CameraState(health="streaming", fps=fps),
        qos=1,
        retain=True,
        stream="state/front",
        replaces="state/front",
    )


@pytest.fixture
def at(broker: Any, operator: Callable[..., Operator]) -> Callable[[], Operator]:
    """An operator at the broker, speaking its version."""
    return lambda: operator(broker[0].port, modern=broker[1] == "5")


def test_a_device_finds_out_the_protocol_and_says_that_it_is_online(broker: Any, link: Any, at: Any) -> None:
    device = link(broker[0].port)
    at().wait_for_payload("lookout/cam1/status", b"online")
    assert device.session.statistics().protocol == broker[1]
    assert device.protocols.get(f"127.0.0.1:{broker[0].port}") == broker[1]


def test_a_clean_stop_says_offline_within_two_seconds(broker: Any, link: Any, at: Any) -> None:
    device, operator = link(broker[0].port), at()
    operator.wait_for_payload("lookout/cam1/status", b"online")
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < patient(2)
    operator.wait_for_payload("lookout/cam1/status", b"offline")
    assert device.session.statistics().state == "stopped"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_was_published_before_a_stop_still_goes_out(
    protocol: str, mosquitto: Any, link: Any, operator: Callable[..., Operator]
) -> None:
    """On mosquitto: amqtt drops what it acknowledged when a client disconnects at once."""
    there = mosquitto()
    device, watcher = link(there.port, protocol=protocol), operator(there.port)
    device.wait_connected()
    for number in range(50):
        device.publisher.publish(Outgoing(f"events/c{number}", b"x", qos=1, stream="e", durable=True))
    device.stop()
    watcher.wait_for_payload("lookout/cam1/status", b"offline")
    assert sum("/events/" in m.topic for m in watcher.seen) == 50


def test_a_command_is_answered_on_the_result_topic(broker: Any, link: Any, at: Any) -> None:
    link(broker[0].port).wait_connected()
    operator = at()
    operator.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "a", "args": {}})
    operator.wait_for("lookout/cam1/result/device/ping")
    assert operator.payloads("lookout/cam1/result/device/ping") == [
        {"v": 1, "id": "a", "ok": True, "result": {"what": "pong", "number": 0.0}}
    ]


def test_commands_to_all_and_to_a_group_are_answered_on_the_devices_own_topic(broker: Any, link: Any, at: Any) -> None:
    link(broker[0].port, groups=["gate"]).wait_connected()
    operator = at()
    operator.send("lookout/_all/cmd/device/ping", {"v": 1, "id": "all"})
    operator.send("lookout/_group/gate/cmd/device/ping", {"v": 1, "id": "gate"})
    operator.send("lookout/_group/yard/cmd/device/ping", {"v": 1, "id": "yard"})
    operator.send("lookout/other/cmd/device/ping", {"v": 1, "id": "other"})
    operator.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "last"})
    operator.wait(lambda: [p["id"] for p in operator.payloads("lookout/cam1/result/device/ping")][-1:] == ["last"])
    assert [p["id"] for p in operator.payloads("lookout/cam1/result/device/ping")] == ["all", "gate", "last"]


def test_a_command_with_an_id_runs_once_and_is_answered_each_time(broker: Any, link: Any, at: Any) -> None:
    device, operator = link(broker[0].port), at()
    device.wait_connected()
    for _ in range(3):
        operator.send("lookout/cam1/cmd/model/rollback", {"v": 1, "id": "once"})
    operator.wait_for("lookout/cam1/result/model/rollback", 3)
    assert len(device.calls) == 1
    assert len({m.payload for m in operator.on("lookout/cam1/result/model/rollback")}) == 1


def test_a_command_without_an_id_runs_each_time(broker: Any, link: Any, at: Any) -> None:
    device, operator = link(broker[0].port), at()
    device.wait_connected()
    for _ in range(3):
        operator.send("lookout/cam1/cmd/model/rollback", {"v": 1})
    operator.wait_for("lookout/cam1/result/model/rollback", 3)
    assert len(device.calls) == 3


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_commands_sent_while_the_agent_was_away_are_answered_once(
    protocol: str, mosquitto: Any, link: Any, operator: Callable[..., Operator]
) -> None:
    """Both versions on mosquitto: amqtt keeps nothing for an anonymous client that is away."""
    there = mosquitto()
    first, watcher = link(there.port, protocol=protocol), operator(there.port)
    first.wait_connected()
    first.stop()
    for number in range(10):
        watcher.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": f"away-{number}"})
    second = link(there.port, memory=first.memory, protocol=protocol)
    watcher.wait_for("lookout/cam1/result/device/ping", 10)
    second.stop()
    link(there.port, memory=first.memory, protocol=protocol).wait_connected()
    time.sleep(0.3)  # nothing must come: there is no event for that
    answered = [p["id"] for p in watcher.payloads("lookout/cam1/result/device/ping")]
    assert answered == [f"away-{number}" for number in range(10)]
    assert len(second.calls) == 10


def test_a_retained_command_is_refused(broker: Any, link: Any, at: Any) -> None:
    operator = at()
    operator.send("lookout/cam1/cmd/model/rollback", {"v": 1, "id": "kept"}, retain=True)
    device = link(broker[0].port)
    operator.wait_for("lookout/cam1/result/model/rollback")
    answer = operator.payloads("lookout/cam1/result/model/rollback")[0]  # amqtt delivers it twice
    assert answer["error"]["code"] == "retained"
    assert answer["id"] == "kept"
    assert not device.calls
    assert "kept" not in device.memory.commands


def test_after_the_broker_was_killed_state_stands_again_and_commands_are_answered(
    broker: Any, link: Any, operator: Callable[..., Operator]
) -> None:
    there, version = broker
    device = link(there.port)
    device.wait_connected()
    device.publisher.publish(state(1.0))
    device.publisher.publish(state(2.0))
    device.wait_until(device.publisher.idle)
    there.kill()
    device.wait_until(lambda: device.session.statistics().state != "connected")
    device.publisher.publish(Outgoing("events/front", b"while away", qos=1, stream="events", durable=True))
    there.restart()
    device.wait_connected(session=2)
    watcher = operator(there.port, modern=version == "5")
    watcher.wait_for(STATE)
    watcher.wait_for_payload("lookout/cam1/status", b"online")
    assert json.loads(watcher.on(STATE)[-1].payload)["fps"] == 2.0
    watcher.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "after"})
    watcher.wait_for("lookout/cam1/result/device/ping")
    device.wait_until(device.publisher.idle)
    assert device.publisher.statistics().outbox.dropped == 0
    assert device.session.statistics().last_error is None


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_nothing_of_qos_1_is_lost_or_reordered_when_connections_break(
    protocol: str, mosquitto: Any, link: Any, operator: Callable[..., Operator]
) -> None:
    there = mosquitto("allow_anonymous true\nmax_queued_messages 0")
    device, watcher = link(there.port, protocol=protocol), operator(there.port)
    for cut in range(4):
        device.wait_connected(session=cut + 1)
        for number in range(cut * 100, cut * 100 + 100):
            device.publisher.publish(Outgoing("events/front", b"%d" % number, qos=1, stream="e", durable=True))
        device.session._visit.connection._client.socket().shutdown(socket.SHUT_RDWR)
    device.wait_until(device.publisher.idle)
    watcher.wait_for_payload("lookout/cam1/events/front", b"399")
    got = [int(m.payload) for m in watcher.on("lookout/cam1/events/front")]
    assert list(dict.fromkeys(got)) == list(range(400))  # at least once, the first time in order


def test_a_late_will_is_answered_with_online(broker: Any, link: Any, at: Any) -> None:
    device, operator = link(broker[0].port), at()
    device.wait_connected()
    operator.wait_for_payload("lookout/cam1/status", b"online")
    operator.send("lookout/cam1/status", b"offline", retain=True)
    operator.wait(lambda: [m.payload for m in operator.on("lookout/cam1/status")][-2:] == [b"offline", b"online"])


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_lost_connection_is_made_again_and_ends_online(
    protocol: str, mosquitto: Any, link: Any, operator: Callable[..., Operator]
) -> None:
    there = mosquitto()
    device, watcher = link(there.port, protocol=protocol), operator(there.port)
    watcher.wait_for_payload("lookout/cam1/status", b"online")
    peer = device.session._visit.connection._client.socket()
    peer.shutdown(socket.SHUT_RDWR)  # no DISCONNECT: the broker sends the will, on MQTT 5 unless we are back in 10 s
    device.wait_connected(session=2)
    watcher.wait(
        lambda: (
            b"offline" in [m.payload for m in watcher.on("lookout/cam1/status")]
            or (protocol == "5" and len(watcher.on("lookout/cam1/status")) > 1)
        )
    )
    watcher.wait_for_payload("lookout/cam1/status", b"online")
    if protocol == "5":
        assert b"offline" not in [m.payload for m in watcher.on("lookout/cam1/status")]
