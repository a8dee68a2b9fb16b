"""Two devices with one id: both find out on every broker, both say so, neither hammers, and it ends when it ended."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.link.backoff import Backoff
from agent.link.twins import MARGIN_S, Twins
from agent.types import Outgoing
from tests.link.conftest import Link


def info(instance: str, session: int) -> bytes:
    return json.dumps({"v": 1, "instance": instance, "session": session, "device": "cam1"}).encode()


def test_what_stood_there_first_may_be_this_device_before_its_restart() -> None:
    twins = Twins("mine", 120)
    twins.connected(0)
    twins.heard(info("before", 7), 0)
    twins.heard(info("mine", 1), 1)
    twins.connected(10)
    twins.heard(info("before", 7), 10)  # the broker lost what came since
    assert not twins.found


@pytest.mark.parametrize("first", [("other", 3), None])
def test_another_instance_in_a_newer_session_is_another_device(first: tuple[str, int] | None) -> None:
    twins = Twins("mine", 120)
    twins.connected(0)
    if first is not None:
        twins.heard(info(*first), 0)
    twins.connected(10)
    twins.heard(info("other", 4), 10)
    assert twins.found


def test_it_is_over_when_a_connection_was_left_alone_for_longer_than_the_other_waits() -> None:
    twins = Twins("mine", 120)
    twins.connected(0)
    twins.taken_over()
    twins.lost()
    twins.look(10_000)
    assert twins.found  # not connected: nobody was there to be thrown out
    twins.connected(10_000)
    twins.look(10_000 + 120 + MARGIN_S - 1)
    assert twins.found
    twins.look(10_000 + 120 + MARGIN_S)
    assert not twins.found


@given(st.lists(st.binary(max_size=200) | st.from_regex(r'\{"instance": ?.{0,20}\}', fullmatch=True).map(str.encode)))
def test_nothing_that_a_broker_sends_as_info_hurts(payloads: list[bytes]) -> None:
    twins = Twins("mine", 120)
    for number, payload in enumerate(payloads):
        twins.connected(number)
        twins.heard(payload, number)
    assert len(twins._known) <= 16


def announce(device: Link) -> None:
    """Publish ``info`` at each new connection, as the agent does."""
    state = device.session.statistics()
    body = {"instance": device.session._instance, "session": state.session}
    device.publisher.publish(Outgoing("info", json.dumps(body).encode(), qos=1, retain=True, replaces="info"))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_both_find_out_say_so_wait_longest_and_stop_saying_so(
    protocol: str, link: Any, mosquitto: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's mosquitto closes without a word, whichever the protocol."""
    monkeypatch.setattr("agent.link.twins.MARGIN_S", 1.0)
    there = mosquitto()
    twins = [
        link(there.port, protocol=protocol, instance=name, backoff=Backoff(base_s=0.2, cap_s=1.0))
        for name in ("one", "two")
    ]
    told: list[set[int]] = [set(), set()]
    deadline = time.monotonic() + 30
    while not all(device.session.statistics().duplicate_device_id for device in twins):
        assert time.monotonic() < deadline, [device.session.statistics() for device in twins]
        for device, sessions in zip(twins, told, strict=True):
            state = device.session.statistics()
            if state.state == "connected" and state.session not in sessions:
                sessions.add(state.session)
                announce(device)
        time.sleep(0.02)
    advice = "give each device its own device.id"  # said by the one that is thrown out next
    twins[0].wait_until(lambda: any(advice in text for device in twins for text in device.errors), 20)

    before = [device.session.statistics().session for device in twins]
    time.sleep(4)
    after = [device.session.statistics().session for device in twins]
    assert sum(after) - sum(before) <= 2 * 4 / 1.0 + 2  # each waits between the cap and twice the cap

    twins[1].stop()
    twins[0].wait_until(lambda: not twins[0].session.statistics().duplicate_device_id, 20)
    assert twins[0].session.statistics().state == "connected"
