"""What no broker may send, at a link: it costs a connection at most, and the next one carries commands."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.hostile_broker import HostileBroker
from tests.link.conftest import Link

ROOT = "lookout/cam1/"

NO_MQTT = {
    "a reserved packet": b"\x00\x00",
    "an AUTH of 256 MB": b"\xf0\xff\xff\xff\x7f",
    "a length without an end": b"\x30\xff\xff\xff\xff",
    "a PUBLISH that is cut": b"\x32\x05\x00\x01a\x00\x00",
    "a PUBLISH shorter than its topic": b"\x30\x03\xff\xff\x00",
    "an empty SUBACK": b"\x90\x00",
    "a SUBACK nobody waits for": b"\x90\x04\xff\xff\x00\x01",
    "a second CONNACK": b"\x20\x03\x00\x00\x00",
    "a PUBACK nobody waits for": b"\x40\x02\xff\xff",
    "a PUBREL nobody waits for": b"\x62\x02\xff\xff",
    "a SUBSCRIBE": b"\x82\x06\x00\x01\x00\x00\x01#",
    "noise": b"\xff" * 4096,
    "a topic that is no UTF-8": b"\x30\x05\x00\x02\xff\xfe\x00",
    "QoS 3": b"\x36\x07\x00\x01a\x00\x01\x00x",
    "a property that there is not": b"\x30\x06\x00\x01a\x02\x7f\x00x",
    "256 MB": b"\x30\xff\xff\xff\x7f" + b"x" * 2_000_000,
    "an alias for no topic": b"\x30\x07\x00\x00\x03\x23\x00\x05x",
}


@pytest.fixture
def broker() -> Iterator[HostileBroker]:
    made = HostileBroker()
    yield made
    made.close()


def commandable(broker: HostileBroker, identity: str) -> None:
    """A command is answered, over whichever connection there is."""
    mark = f'"id":"{identity}"'.encode()

    def answered() -> Any:
        return [m for m in broker.seen if m.topic == ROOT + "result/device/ping" and mark in m.payload]

    for _ in range(10):  # one that is sent on a connection that has ended is lost
        with contextlib.suppress(OSError, AssertionError):
            broker.publish(ROOT + "cmd/device/ping", {"v": 1, "id": identity})
            broker.wait(answered, 2)
            return
        time.sleep(0.2)
    broker.wait(answered, 1)


@pytest.mark.parametrize("name", NO_MQTT)
def test_what_is_no_mqtt_costs_a_connection_at_most(link: Any, broker: HostileBroker, name: str) -> None:
    device: Link = link(broker.port)
    device.wait_connected()
    broker.peer()
    with contextlib.suppress(OSError):  # it may hang up in the middle
        broker.raw(NO_MQTT[name])
    if device.session.statistics().session == 1:
        broker.drop()
    commandable(broker, "after")


def test_deliveries_that_are_begun_and_never_ended_do_not_fill_the_memory(link: Any, broker: HostileBroker) -> None:
    """QoS 2, which was not asked for."""
    device: Link = link(broker.port)
    device.wait_connected()
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    with contextlib.suppress(OSError):
        for _ in range(200):
            broker.publish(ROOT + "cmd/device/ping", b"x" * 900_000, qos=2)
    commandable(broker, "after")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000 - before_mb < 60


@pytest.mark.parametrize("qos", [0, 1])
def test_a_flood_is_answered_command_by_command(link: Any, broker: HostileBroker, qos: int) -> None:
    device: Link = link(broker.port)
    device.wait_connected()
    for number in range(2000):
        broker.publish(ROOT + "cmd/device/ping", {"v": 1, "id": f"flood-{number}"}, qos=qos)
    broker.wait(lambda: sum(m.topic == ROOT + "result/device/ping" for m in broker.seen) >= 2000, 60)
    ids = [told["id"] for told in broker.on(ROOT + "result/device/ping")]
    assert sorted(ids) == sorted(f"flood-{number}" for number in range(2000))
    commandable(broker, "after")


def test_retained_commands_of_a_broker_that_lost_its_mind_run_never(link: Any, broker: HostileBroker) -> None:
    device: Link = link(broker.port)
    for connection in range(1, 4):
        device.wait_connected(connection)
        broker.peer()
        broker.publish(ROOT + "cmd/model/rollback", {"v": 1}, retained=True)
        broker.wait(lambda connection=connection: len(broker.on(ROOT + "result/model/rollback")) >= connection)
        broker.drop()
    assert {told["error"]["code"] for told in broker.on(ROOT + "result/model/rollback")} == {"retained"}
    assert device.calls == []
