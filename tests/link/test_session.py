"""The session when the broker is dead, deaf, foreign, strict or shared; and what it then says."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from agent.link.peer import MAX_PACKET_BYTES
from agent.link.probe import ProtocolMemory
from agent.types import Outgoing
from tests.conftest import free_port
from tests.link.conftest import Link
from tests.patience import patient

CONNACK, CONNACK_3 = b"\x20\x03\x00\x00\x00", b"\x20\x02\x00\x00"
SUBACK, SUBACK_3 = b"\x90\x06\x00\x01\x00\x01\x01\x01", b"\x90\x05\x00\x01\x01\x01\x01"
"""To the first message, which subscribes to three filters."""


class RawServer:
    """Accepts, and answers each connection's first bytes with what it was given (None: never)."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.connections: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(peer)
            if self.answer is not None:
                with contextlib.suppress(OSError):
                    peer.recv(1024)
                    peer.sendall(self.answer)
                    if not self.answer.startswith(b"\x20"):
                        peer.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.connections:
            peer.close()
        self.thread.join(2)


@pytest.fixture
def raw() -> Iterator[Callable[[bytes | None], RawServer]]:
    servers: list[RawServer] = []

    def make(answer: bytes | None) -> RawServer:
        servers.append(RawServer(answer))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def error_of(device: Link) -> Any:
    return device.wait_until(lambda: device.session.statistics().last_error)


def stopped_in(device: Link) -> float:
    began = time.monotonic()
    device.stop()
    return time.monotonic() - began


def test_a_dead_broker_never_blocks_publish(link: Any) -> None:
    device = link(free_port())
    slowest = 0.0
    for number in range(3000):
        began = time.perf_counter()
        device.publisher.publish(Outgoing("events/front", b"x" * 1000, qos=1, stream="e"))
        slowest = max(slowest, time.perf_counter() - began)
        if number % 100 == 0:
            time.sleep(0.001)
    assert slowest < 0.1  # microseconds, but for the scheduler
    device.wait_until(lambda: device.publisher.statistics().inbox == 0)
    statistics = device.publisher.statistics()
    assert statistics.outbox.waiting == 2000
    assert statistics.outbox.dropped + statistics.refused_by_inbox == 1000
    assert "connection refused" in error_of(device).message
    assert stopped_in(device) < 2


def test_a_deaf_broker_hangs_neither_publish_nor_start_nor_stop(link: Any, raw: Any) -> None:
    began = time.monotonic()
    device = link(raw(None).port)
    device.publisher.publish(Outgoing("events/front", b"x", qos=1))
    assert time.monotonic() - began < patient(0.5)
    time.sleep(0.2)  # in the middle of the probe
    assert stopped_in(device) < 1


def test_a_broker_that_goes_deaf_in_the_handshake_is_named_and_stop_is_not_held_up(link: Any, raw: Any) -> None:
    device = link(raw(None).port, protocol="3.1.1")
    time.sleep(0.2)  # waits for the CONNACK
    assert stopped_in(device) < 1


def test_a_connection_that_never_answers_is_given_up(link: Any, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.link.connection.CONNECT_S", 0.3)
    device = link(raw(None).port, protocol="5")
    assert "did not answer within 0.3 s" in error_of(device).message


def test_a_broker_that_answers_no_subscription_is_given_up(
    link: Any, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.link.connection.CONNECT_S", 0.3)
    device = link(raw(CONNACK).port, protocol="5")
    assert "did not answer" in error_of(device).message
    assert device.session.statistics().session == 0


def test_publishing_does_not_cut_the_probe_short(link: Any, mosquitto: Any) -> None:
    there = mosquitto()
    os.kill(there.process.pid, 19)  # SIGSTOP: it accepts and does not answer
    device = link(there.port)
    for _ in range(20):
        device.publisher.publish(Outgoing("telemetry", b"{}"))
        time.sleep(0.01)
    os.kill(there.process.pid, 18)
    device.wait_connected()
    assert device.session.statistics().protocol == "5"


def test_a_peer_that_stops_reading_fills_no_memory_and_blocks_nobody(link: Any, raw: Any) -> None:
    device = link(raw(CONNACK + SUBACK).port, protocol="5")  # and then silence
    device.wait_connected()
    for _ in range(2500):
        device.publisher.publish(Outgoing("snapshots/front", b"x" * 20_000, stream="s"))
    device.wait_until(lambda: device.publisher.statistics().inbox == 0)
    assert device.publisher.statistics().outbox.bytes <= 16 * 1024 * 1024
    assert len(device.session._visit.connection._client._out_packet) < 100
    assert stopped_in(device) < 2


def test_an_unknown_host_is_named(link: Any) -> None:
    device = link(1883, host="no-such-host.invalid")
    error = error_of(device)
    assert "no-such-host.invalid:1883" in error.message
    assert "mqtt.host" in error.message


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_said_and_not_hammered(protocol: str, link: Any, mosquitto: Any, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", "right"], check=True)
    there = mosquitto(f"allow_anonymous false\npassword_file {passwords}")
    device = link(there.port, protocol=protocol, username="cam", password="wrong")
    error = error_of(device)
    assert error.code == "broker_refused"
    assert "mqtt.password" in error.message
    assert "wrong" not in error.message.replace("password is wrong", "")
    assert device.session.statistics().retry_s >= 0.1  # half of the cap, however few failures there were
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    good = link(there.port, protocol="auto", username="cam", password_file=str(secret), device="cam2")
    good.wait_connected()
    assert good.session.statistics().protocol == "5"


def test_a_password_file_that_cannot_be_read_is_named(link: Any) -> None:
    error = error_of(link(free_port(), username="cam", password_file="/nowhere/secret"))
    assert "/nowhere/secret" in error.message
    assert "No such file" in error.message


def test_what_is_no_broker_is_named(link: Any, raw: Any) -> None:
    error = error_of(link(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").port))
    assert "no MQTT broker" in error.message
    assert "HTTP/1.1" in error.message


def test_a_broker_that_does_not_speak_the_chosen_version_is_named(link: Any, raw: Any) -> None:
    refused = b"\x20\x03\x00\x84\x00"  # CONNACK: unsupported protocol version
    error = error_of(link(raw(refused).port, protocol="5"))
    assert "mqtt.protocol" in error.message


# --- the protocol's memory -------------------------------------------------------------------------------------------


def test_the_probe_is_made_once_and_its_verdict_kept(link: Any, mosquitto: Any) -> None:
    kept: list[tuple[str, str | None]] = []
    there = mosquitto()
    memory = ProtocolMemory(keep=lambda broker, protocol: kept.append((broker, protocol)))
    device = link(there.port, protocols=memory)
    device.wait_connected()
    device.session._visit.connection._client.socket().shutdown(socket.SHUT_RDWR)
    device.wait_connected(session=2)
    assert kept == [(f"127.0.0.1:{there.port}", "5")]


def test_a_verdict_that_no_longer_holds_is_forgotten(link: Any, amqtt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker was exchanged for one that hangs on an MQTT 5 CONNECT with a will."""
    monkeypatch.setattr("agent.link.connection.CONNECT_S", 0.5)
    there = amqtt()
    memory = ProtocolMemory({f"127.0.0.1:{there.port}": "5"})
    device = link(there.port, protocols=memory)
    device.wait_connected()
    assert device.session.statistics().protocol == "3.1.1"


def test_silence_is_no_proof_and_not_made_durable(link: Any, raw: Any) -> None:
    kept: list[Any] = []
    memory = ProtocolMemory(keep=lambda *verdict: kept.append(verdict))
    device = link(raw(CONNACK_3 + SUBACK_3).port, protocols=memory)
    device.wait_connected()
    assert kept == [(f"127.0.0.1:{device.session._config.port}", "3.1.1")]
    memory.learn("other:1883", "3.1.1", sure=False)
    assert len(kept) == 1


# --- shared names, strict brokers ------------------------------------------------------------------------------------


def test_a_second_device_of_the_same_name_is_reported(link: Any, raw: Any) -> None:
    """The broker accepts, and then says that the session was taken over."""
    device = link(raw(CONNACK + b"\xe0\x01\x8e").port, protocol="5")
    error = error_of(device)
    assert error.code == "duplicate_device_id"
    assert "device.id" in error.message
    statistics = device.session.statistics()
    assert statistics.duplicate_device_id
    assert statistics.retry_s >= 0.2  # at least the cap


def test_a_second_device_of_the_same_name_is_suspected_where_the_broker_only_hangs_up(
    link: Any, mosquitto: Any
) -> None:
    there = mosquitto()  # Debian's closes without a word
    device = link(there.port)
    for session in range(1, 4):
        device.wait_connected(session)
        other = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="lookout-cam1")
        other.connect("127.0.0.1", there.port)
        device.wait_until(lambda n=session: device.session.statistics().failures >= n)
        other.disconnect()
    assert any("does another client use this device's device.id?" in text for text in device.errors)


def test_a_subscription_that_is_refused_is_reported(link: Any, raw: Any) -> None:
    device = link(raw(CONNACK + b"\x90\x06\x00\x01\x00\x01\x87\x01").port, protocol="5")
    device.wait_until(lambda: device.session.statistics().not_subscribed)
    assert device.session.statistics().not_subscribed == ("lookout/cam1/cmd/+/+",)


def test_a_broker_that_stops_acknowledging_is_left(link: Any, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.link.connection.ACKNOWLEDGE_S", 0.2)
    device = link(raw(CONNACK + SUBACK).port, protocol="5")
    assert "acknowledged nothing for 0.2 s" in error_of(device).message


def test_a_message_that_the_broker_does_not_allow_is_counted_and_not_repeated(
    link: Any, mosquitto: Any, tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite lookout/cam1/status\ntopic read #\n")
    device = link(mosquitto(f"allow_anonymous true\nacl_file {acl}").port)
    device.wait_connected()
    device.publisher.publish(Outgoing("events/front", b"x", qos=1))
    device.wait_until(lambda: device.publisher.statistics().refused_by_broker == 1)
    assert device.publisher.idle()


def test_a_message_too_large_for_the_broker_is_dropped_and_the_next_goes(
    link: Any, mosquitto: Any, operator: Any
) -> None:
    there = mosquitto("allow_anonymous true\nmax_packet_size 5000")
    watcher = operator(there.port)
    device = link(there.port)
    device.wait_connected()
    device.publisher.publish(Outgoing("events/front", b"x" * 6000, qos=1, stream="e"))
    device.publisher.publish(Outgoing("events/front", b"small", qos=1, stream="e"))
    watcher.wait_for_payload("lookout/cam1/events/front", b"small")
    assert device.publisher.statistics().refused_by_broker == 1
    assert device.session.statistics().session == 1


def test_a_huge_message_on_3_1_1_costs_one_connection_not_the_memory(link: Any, mosquitto: Any, operator: Any) -> None:
    there = mosquitto()
    device = link(there.port, protocol="3.1.1")
    device.wait_connected()
    watcher = operator(there.port)
    watcher.send("lookout/cam1/cmd/device/ping", b"x" * (MAX_PACKET_BYTES + 100))
    device.wait_connected(session=2)
    watcher.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "next"})
    watcher.wait_for("lookout/cam1/result/device/ping")
    assert device.session.statistics().session <= 3


def test_a_handlers_bug_costs_the_connection_not_the_link(link: Any, mosquitto: Any, operator: Any) -> None:
    there = mosquitto()
    device = link(there.port)
    device.wait_connected()
    [handler] = set(device.session._routes._routes.values())
    filters = tuple(device.session._routes._routes)
    device.session.reroute(dict.fromkeys(filters, lambda incoming: 1 / 0))
    watcher = operator(there.port)
    watcher.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "a"})
    device.wait_until(lambda: device.session.statistics().state != "connected")
    device.session.reroute(dict.fromkeys(filters, handler))
    watcher.wait_for("lookout/cam1/result/device/ping")  # it was not acknowledged, so it comes again


def test_nothing_is_left_open_after_a_stop(link: Any, mosquitto: Any) -> None:
    there = mosquitto()
    before = len(list(Path("/proc/self/fd").iterdir()))
    threads = threading.active_count()
    for _ in range(3):
        device = Link(there.port).start()
        device.wait_connected()
        device.stop()
        del device
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert threading.active_count() == threads


def test_a_letter_on_which_an_older_broker_hangs_up_is_given_up_and_the_next_goes(
    link: Any, mosquitto: Any, operator: Any
) -> None:
    """3.1.1 has no way to say how large a message may be."""
    there = mosquitto("allow_anonymous true\nmax_packet_size 5000")
    watcher = operator(there.port, modern=False)
    device = link(there.port, protocol="3.1.1")
    device.wait_connected()
    for payload in (b"before", b"x" * 6000, b"after"):
        device.publisher.publish(Outgoing("events/front", payload, qos=1, stream="e", durable=True))
    watcher.wait_for_payload("lookout/cam1/events/front", b"after", 30)
    device.wait_until(device.publisher.idle)
    assert device.publisher.statistics().refused_by_broker == 1
