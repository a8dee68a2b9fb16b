"""Another broker, other routes, while the session lives."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

import pytest

from agent.config.schema import Mqtt
from agent.types import Outgoing
from tests.conftest import free_port
from tests.link.conftest import Link
from tests.patience import patient


def at(port: int, **more: Any) -> Mqtt:
    return Mqtt.model_validate({"host": "127.0.0.1", "port": port, "keepalive_s": 5, **more})


def state(device: Link) -> str:
    return device.session.statistics().state


def test_the_old_broker_hears_offline_and_the_new_one_online_and_the_count_of_sessions_goes_on(
    link: Any, mosquitto: Any, operator: Any
) -> None:
    old, new = mosquitto(), mosquitto()
    device, before, after = link(old.port), operator(old.port), operator(new.port)
    before.wait_for_payload("lookout/cam1/status", b"online")
    device.publisher.publish(Outgoing("events/front", b"last words", qos=1, stream="e"))
    device.session.reconfigure(at(new.port))
    after.wait_for_payload("lookout/cam1/status", b"online")
    before.wait_for_payload("lookout/cam1/status", b"offline")
    before.wait_for_payload("lookout/cam1/events/front", b"last words")  # what waited went where it was meant to go
    device.wait_connected(session=2)
    assert device.session.statistics().broker == f"127.0.0.1:{new.port}"
    after.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "here"})
    after.wait_for("lookout/cam1/result/device/ping")
    assert device.session.statistics().failures == 0


def test_commands_that_the_old_broker_kept_are_there_when_the_device_returns(
    link: Any, mosquitto: Any, operator: Any
) -> None:
    old, new = mosquitto(), mosquitto()
    device, before = link(old.port), operator(old.port)
    device.wait_connected()
    device.session.reconfigure(at(new.port))
    device.wait_connected(session=2)
    before.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "kept"})
    device.session.reconfigure(at(old.port))
    before.wait_for("lookout/cam1/result/device/ping")


@pytest.mark.parametrize("where", ["nowhere", "silent", "asleep", "unknown"])
def test_a_session_that_waits_for_a_dead_broker_turns_back_at_once(where: str, link: Any, mosquitto: Any) -> None:
    """Whatever it waits for: a delay, TCP, a CONNACK, a name."""
    good, bad = mosquitto(), mosquitto()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        os.kill(bad.process.pid, signal.SIGSTOP)
        port = {"nowhere": free_port(), "silent": silent.getsockname()[1], "asleep": bad.port, "unknown": 1883}[where]
        host = "no-such-host.invalid" if where == "unknown" else "127.0.0.1"
        device = link(good.port)
        device.wait_connected()
        device.session.reconfigure(at(port, host=host))
        device.wait_until(lambda: state(device) != "connected")
        time.sleep(0.3)
        began = time.monotonic()
        device.session.reconfigure(at(good.port))
        device.wait_connected(session=2)
        assert time.monotonic() - began < 5
        os.kill(bad.process.pid, signal.SIGCONT)


def test_an_old_broker_that_is_deaf_holds_nothing_up(link: Any, mosquitto: Any) -> None:
    old, new = mosquitto(), mosquitto()
    device = link(old.port)
    device.wait_connected()
    os.kill(old.process.pid, signal.SIGSTOP)
    device.publisher.publish(Outgoing("events/front", b"x", qos=1, stream="e", durable=True))
    began = time.monotonic()
    device.session.reconfigure(at(new.port))
    device.wait_connected(session=2)
    assert time.monotonic() - began < 5
    device.wait_until(device.publisher.idle)  # what the old one never acknowledged went to the new one
    os.kill(old.process.pid, signal.SIGCONT)


def test_without_a_host_the_session_is_off_until_it_gets_one(link: Any, mosquitto: Any, operator: Any) -> None:
    there = mosquitto()
    watcher = operator(there.port)
    device = link(1883, host=None)
    device.wait_until(lambda: state(device) == "off")
    device.session.reconfigure(at(there.port))
    device.wait_connected()
    device.session.reconfigure(Mqtt())
    device.wait_until(lambda: state(device) == "off")
    watcher.wait_for_payload("lookout/cam1/status", b"offline")
    assert device.session.statistics().broker == ""
    began = time.monotonic()
    device.stop()
    assert time.monotonic() - began < patient(1)


def test_the_same_configuration_and_another_patience_leave_the_connection_alone(link: Any, mosquitto: Any) -> None:
    there = mosquitto()
    device = link(there.port)
    device.wait_connected()
    visit = device.session._visit
    device.session.reconfigure(at(there.port))
    device.session.reconfigure(at(there.port, reconnect_s=1))
    device.session.reconfigure(at(there.port, reconnect_s=2))
    time.sleep(0.3)
    assert device.session._visit is visit
    device.session.reconfigure(at(there.port, reconnect_s=2, keepalive_s=6))
    device.wait_connected(session=2)


def test_the_newest_of_many_configurations_counts(link: Any, mosquitto: Any) -> None:
    there = [mosquitto() for _ in range(3)]
    device = link(there[0].port)
    device.wait_connected()
    for _ in range(5):
        for broker in there:
            device.session.reconfigure(at(broker.port))
    device.wait_until(
        lambda: state(device) == "connected" and device.session.statistics().broker.endswith(f":{there[2].port}")
    )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_routes_are_changed_on_the_living_connection(protocol: str, link: Any, mosquitto: Any, operator: Any) -> None:
    there = mosquitto()
    device, boss = link(there.port, protocol=protocol), operator(there.port)
    device.wait_connected()
    heard: list[str] = []

    def take(incoming: Any) -> None:
        heard.append(incoming.topic)
        incoming.acknowledge()

    own = device.router.routes()
    device.session.reroute(own | {"lookout/_group/doors/cmd/+/+": take, "homeassistant/status": take})
    device.wait_until(lambda: len(device.session._routes._routes) == len(own) + 2)
    time.sleep(0.2)
    boss.send("lookout/_group/doors/cmd/device/ping", {})
    boss.send("homeassistant/status", b"online")
    device.wait_until(lambda: len(heard) == 2)

    device.session.reroute(own | {"homeassistant/status": take})
    device.wait_until(lambda: len(device.session._routes._routes) == len(own) + 1)
    time.sleep(0.2)
    before = device.session.statistics().received
    boss.send("lookout/_group/doors/cmd/device/ping", {})
    boss.send("homeassistant/status", b"offline")
    device.wait_until(lambda: len(heard) == 3)
    assert device.session.statistics().received == before + 1  # the broker sends the group's no more
    assert device.session.statistics().session == 1


def test_a_route_that_was_left_while_the_broker_was_away_is_left_when_it_is_back(
    link: Any, mosquitto: Any, operator: Any
) -> None:
    there = mosquitto("allow_anonymous true")
    device = link(there.port)
    device.wait_connected()
    own = device.router.routes()
    device.session.reroute(own | {"lookout/_group/doors/cmd/+/+": lambda incoming: incoming.acknowledge()})
    time.sleep(0.3)
    device.session._visit.connection._client.socket().shutdown(socket.SHUT_RDWR)
    device.session.reroute(own)
    device.wait_connected(session=2)
    boss = operator(there.port)
    time.sleep(0.2)
    before = device.session.statistics().received
    boss.send("lookout/_group/doors/cmd/device/ping", {})
    boss.send("lookout/cam1/cmd/device/ping", {"v": 1, "id": "a"})
    boss.wait_for("lookout/cam1/result/device/ping")
    assert device.session.statistics().received == before + 1
