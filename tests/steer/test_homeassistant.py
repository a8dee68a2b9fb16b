"""What stands at Home Assistant's broker follows the configuration, over restarts and whatever became of the file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.link.discovery import Facts, Watched, components
from agent.link.messages import encode
from agent.link.standing import SessionStatistics
from agent.link.wire import Incoming
from agent.steer.homeassistant import Announcements, HomeAssistant, HomeAssistantSettings
from agent.types import Outgoing

TOPIC = "homeassistant/device/gate-7/config"


def settings(*cameras: str, enabled: bool = True, prefix: str = "homeassistant") -> HomeAssistantSettings:
    facts = Facts("gate-7", "lookout/gate-7/", "pi", "0.1.0", cameras=tuple(map(Watched, cameras)))
    return HomeAssistantSettings(prefix, facts if enabled else None)


class Broker:
    """Holds what is retained."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []
        self._changed = threading.Condition()

    def publish(self, message: Outgoing) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify()

    @property
    def retained(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for message in self.messages:
            assert message.retain
            assert message.qos == 1
            assert message.correlation is not None
            payload = message.payload if isinstance(message.payload, bytes) else encode(message.payload)
            found[message.correlation.response_topic] = json.loads(payload) if payload else None
        return {topic: said for topic, said in found.items() if said is not None}

    def wait(self, what: Callable[[], Any], timeout_s: float = 10) -> None:
        with self._changed:
            assert self._changed.wait_for(what, timeout_s), self.messages


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def begin(tmp_path: Path, broker: Broker) -> Iterator[Callable[..., HomeAssistant]]:
    """Start the part on the device's file, as each start of the agent does."""
    running: list[HomeAssistant] = []

    def start(wanted: HomeAssistantSettings) -> HomeAssistant:
        for before in running:
            before.stop()
        made = HomeAssistant(
            wanted,
            broker.publish,
            Announcements(tmp_path / "homeassistant.json"),
            settle_s=0.05,
            spread_s=0.05,
            sure_s=0.1,
        )
        running.append(made)
        made.start()
        return made

    yield start
    for one in running:
        one.stop()


def entities(broker: Broker, topic: str = TOPIC) -> set[str]:
    """The ids of those that are announced, without those that are gone."""
    return {key for key, one in broker.retained.get(topic, {"cmps": {}})["cmps"].items() if set(one) != {"p"}}


def gone(broker: Broker, topic: str = TOPIC) -> set[str]:
    return {key for key, one in broker.retained.get(topic, {"cmps": {}})["cmps"].items() if set(one) == {"p"}}


def ids(*cameras: str) -> set[str]:
    facts = settings(*cameras).facts
    assert facts is not None
    return set(components(facts))


def birth(payload: bytes = b"online") -> tuple[Incoming, list[int]]:
    acknowledged: list[int] = []
    return Incoming("homeassistant/status", payload, False, lambda: acknowledged.append(1)), acknowledged


def connected(session: int) -> SessionStatistics:
    return SessionStatistics(state="connected", session=session)


def remembers(folder: Path) -> set[str]:
    return set(json.loads((folder / "homeassistant.json").read_text())["topics"])


def until(what: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_enabled_device_is_announced_retained(begin, broker) -> None:
    begin(settings("yard"))
    broker.wait(lambda: entities(broker) == ids("yard"))
    assert broker.messages[-1].replaces == TOPIC


def test_a_device_that_never_was_announced_says_nothing(begin, broker, tmp_path) -> None:
    part = begin(settings("yard", enabled=False))
    part.stop()
    assert broker.messages == []
    assert list(tmp_path.iterdir()) == []


def test_home_assistant_is_told_again_when_it_has_started(begin, broker) -> None:
    part = begin(settings("yard"))
    broker.wait(lambda: len(broker.messages) == 1)
    route = part.routes()["homeassistant/status"]
    online, acknowledged = birth()
    route(online)
    broker.wait(lambda: len(broker.messages) == 2)
    assert acknowledged == [1]
    assert encode(broker.messages[0].payload) == encode(broker.messages[1].payload)
    offline, _ = birth(b"offline")
    route(offline)
    time.sleep(0.3)
    assert len(broker.messages) == 2


def test_a_camera_that_vanished_is_named_as_gone_and_comes_back(begin, broker) -> None:
    part = begin(settings("yard", "lane"))
    broker.wait(lambda: entities(broker) == ids("yard", "lane"))
    part.reconfigure(settings("lane"))
    broker.wait(lambda: entities(broker) == ids("lane") and gone(broker) == ids("yard") - ids("lane"))
    part.reconfigure(settings("yard"))
    broker.wait(lambda: entities(broker) == ids("yard") and gone(broker) == ids("lane") - ids("yard"))


def test_what_vanished_while_the_agent_was_off_is_named_as_gone(begin, broker) -> None:
    begin(settings("yard", "lane"))
    broker.wait(lambda: entities(broker) == ids("yard", "lane"))
    begin(settings("lane"))
    broker.wait(lambda: gone(broker) == ids("yard") - ids("lane"))
    begin(settings("lane"))  # and still, for a Home Assistant that was away meanwhile
    broker.wait(lambda: len(broker.messages) == 3 and gone(broker) == ids("yard") - ids("lane"))


@pytest.mark.parametrize("restarted", [True, False])
def test_disabled_is_taken_back_until_the_broker_has_heard_it(begin, broker, tmp_path, restarted) -> None:
    part = begin(settings("yard"))
    broker.wait(lambda: TOPIC in broker.retained)
    if restarted:
        part = begin(settings("yard", enabled=False))
    else:
        part.reconfigure(settings("yard", enabled=False))
    broker.wait(lambda: len(broker.messages) == 2 and broker.retained == {})
    assert part.routes() == {}
    part = begin(settings("yard", enabled=False))
    broker.wait(lambda: len(broker.messages) == 3)
    part.session(connected(1))
    part.session(SessionStatistics(state="waiting"))  # too short to be sure
    time.sleep(0.3)
    assert remembers(tmp_path) == {TOPIC}
    part.session(connected(2))
    until(lambda: remembers(tmp_path) == set())
    begin(settings("yard", enabled=False)).stop()
    assert len(broker.messages) == 3


def test_a_topic_is_not_forgotten_before_it_was_taken_back(begin, broker, tmp_path) -> None:
    part = begin(settings("yard"))
    broker.wait(lambda: TOPIC in broker.retained)
    part.session(connected(1))
    time.sleep(0.3)
    assert remembers(tmp_path) == {TOPIC}
    part.reconfigure(settings("yard", enabled=False))
    broker.wait(lambda: broker.retained == {})
    until(lambda: remembers(tmp_path) == set())


def test_another_prefix_leaves_nothing_under_the_old_one(begin, broker) -> None:
    part = begin(settings("yard"))
    broker.wait(lambda: TOPIC in broker.retained)
    part.reconfigure(settings("yard", prefix="ha"))
    broker.wait(lambda: set(broker.retained) == {"ha/device/gate-7/config"})
    assert set(part.routes()) == {"ha/status"}
    begin(settings("yard", prefix="homeassistant"))
    broker.wait(lambda: set(broker.retained) == {TOPIC})


def test_many_changes_in_a_row_are_one_announcement(begin, broker) -> None:
    part = begin(settings("yard"))
    broker.wait(lambda: len(broker.messages) == 1)
    for number in range(50):
        part.reconfigure(settings("yard", f"c{number}"))
    broker.wait(lambda: entities(broker) == ids("yard", "c49"))
    assert len(broker.messages) <= 4
    part.reconfigure(settings("yard", "c49"))  # nothing new
    time.sleep(0.3)
    assert len(broker.messages) <= 4


@pytest.mark.parametrize("damage", [b"", b"{", b'{"topics": {"a": 3}}', b"\xff\xfe"])
def test_a_damaged_file_is_set_aside_and_the_device_announced(begin, broker, tmp_path, damage) -> None:
    (tmp_path / "homeassistant.json").write_bytes(damage)
    begin(settings("yard"))
    broker.wait(lambda: entities(broker) == ids("yard"))
    assert (tmp_path / "homeassistant.json.broken").read_bytes() == damage


def test_where_nothing_can_be_written_the_device_is_announced_all_the_same(broker, tmp_path) -> None:
    (tmp_path / "folder").write_text("a file where the state folder should be")
    part = HomeAssistant(settings("yard"), broker.publish, Announcements(tmp_path / "folder" / "homeassistant.json"))
    part.start()
    broker.wait(lambda: entities(broker) == ids("yard"))
    part.stop()
