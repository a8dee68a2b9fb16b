"""The seam: what is published becomes letters on the publisher's own thread."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import pytest

from agent.link.forms import DevicePing
from agent.link.messages import CameraState
from agent.link.outbox import MemoryOutbox
from agent.link.publisher import Publisher
from agent.link.topics import Topics
from agent.link.wire import Letter
from agent.types import Correlation, Outgoing


class Clock:
    now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


def made(*messages: Outgoing, clock: Clock | None = None, **options: Any) -> Publisher:
    """A publisher that has made letters of these, and whose thread has ended."""
    publisher = Publisher(Topics("lookout", "cam1"), MemoryOutbox(), clock_ns=clock or Clock(), **options)
    for message in messages:
        publisher.publish(message)
    publisher.start()
    publisher.stop()
    return publisher


def letters(publisher: Publisher) -> list[Letter]:
    found = []
    while (letter := publisher.next(window_open=True)) is not None:
        found.append(letter)
    return found


def test_structs_are_encoded_and_topics_made_absolute() -> None:
    [letter] = letters(made(Outgoing("state/front", CameraState(health="streaming"), qos=1)))
    assert letter.topic == "lookout/cam1/state/front"
    assert letter.payload.startswith(b'{"v":1,')


def test_json_is_never_encoded_on_the_producers_thread() -> None:
    threads: list[str] = []

    class Spy(msgspec.Struct):
        value: Any

    class Tattling:
        pass

    def tell(value: Any) -> Any:
        threads.append(threading.current_thread().name)
        return str(type(value))

    from agent.link import publisher as module

    encoder = msgspec.json.Encoder(enc_hook=tell)
    original, module.encode = module.encode, encoder.encode  # type: ignore[assignment]
    try:
        assert len(letters(made(Outgoing("info", Spy(Tattling()))))) == 1
    finally:
        module.encode = original  # type: ignore[assignment]
    assert threads == ["lookout-publisher"]


def test_an_answer_goes_to_its_response_topic_with_its_correlation() -> None:
    [letter] = letters(
        made(Outgoing("result/device/ping", b"{}", qos=1, correlation=Correlation("ops/replies", b"\x01")))
    )
    assert (letter.topic, letter.correlation) == ("ops/replies", b"\x01")


def test_qos_0_is_worth_little_after_a_while() -> None:
    clock = Clock()
    publisher = made(Outgoing("telemetry", b"x"), Outgoing("events/a", b"y", qos=1), clock=clock, qos0_age_s=2)
    clock.now += 2_000_000_001
    assert [letter.payload for letter in letters(publisher)] == [b"y"]


def test_the_expired_are_not_even_encoded() -> None:
    publisher = made(Outgoing("info", DevicePing(), expires_at_ns=1))
    assert letters(publisher) == []
    assert publisher.statistics().expired == 1


@pytest.mark.parametrize(
    "bad",
    [Outgoing("a+b", b"x"), Outgoing("", b"x"), Outgoing("info", CameraState(health=object()))],  # type: ignore[arg-type]
)
def test_a_producers_bug_costs_its_own_message_only(bad: Outgoing) -> None:
    publisher = made(bad, Outgoing("info", b"good"))
    assert [letter.payload for letter in letters(publisher)] == [b"good"]
    assert publisher.statistics().unencodable == 1


def test_a_full_inbox_refuses_and_lets_durables_in_up_to_twice_the_bound() -> None:
    publisher = Publisher(Topics("lookout", "cam1"), MemoryOutbox(), max_inbox=10)  # not started: gets no CPU
    for _ in range(15):
        publisher.publish(Outgoing("info", b"x"))
    for _ in range(15):
        publisher.publish(Outgoing("info", b"x", durable=True))
    statistics = publisher.statistics()
    assert (statistics.inbox, statistics.refused_by_inbox) == (20, 10)


def test_the_last_retained_message_of_each_key_is_queued_at_every_connection() -> None:
    def state(camera: str, payload: bytes) -> Outgoing:
        return Outgoing(f"state/{camera}", payload, qos=1, retain=True, stream=camera, replaces=f"state/{camera}")

    publisher = made(state("a", b"1"), state("b", b"1"), state("a", b"2"), Outgoing("events/a", b"e", qos=1))
    for letter in letters(publisher):
        publisher.acknowledged(letter.id)
    assert publisher.idle()
    for _ in range(2):
        publisher.connected()
        again = letters(publisher)
        assert sorted((letter.topic[-1], letter.payload) for letter in again) == [("a", b"2"), ("b", b"1")]
        publisher.disconnected()
    assert len(letters(publisher)) == 2  # not acknowledged: they wait, once each


def test_a_cleared_topic_is_not_sent_again() -> None:
    def state(payload: bytes) -> Outgoing:
        return Outgoing("state/a", payload, qos=1, retain=True, replaces="state/a")

    publisher = made(state(b"1"), state(b""))
    for letter in letters(publisher):
        publisher.acknowledged(letter.id)
    publisher.connected()
    assert letters(publisher) == []


def test_the_session_is_woken_and_what_was_published_before_a_stop_becomes_letters() -> None:
    woken = threading.Event()
    publisher = Publisher(Topics("lookout", "cam1"), MemoryOutbox())
    publisher.listen(woken.set)
    publisher.start()
    publisher.publish(Outgoing("info", b"x", qos=1))
    assert woken.wait(2)
    for number in range(200):
        publisher.publish(Outgoing("info", b"%d" % number, qos=1))
    publisher.stop()
    assert len(letters(publisher)) == 201
    publisher.publish(Outgoing("info", b"late"))
    assert letters(publisher) == []


def test_publishing_takes_microseconds() -> None:
    publisher = Publisher(Topics("lookout", "cam1"), MemoryOutbox(), max_inbox=100_000)
    publisher.start()
    message = Outgoing("state/front", CameraState(health="streaming"))
    began = time.perf_counter()
    for _ in range(5000):
        publisher.publish(message)
    mean_s = (time.perf_counter() - began) / 5000
    publisher.stop()
    assert mean_s < 200e-6  # some 2 to 10 µs, but the machine may be busy


def test_whoever_waits_until_all_has_left_is_told_when_the_broker_has_it() -> None:
    publisher = made(Outgoing("result/device/ping", b"{}", qos=1))
    assert not publisher.wait_idle(0.01)
    [letter] = letters(publisher)
    left: list[bool] = []
    waiting = threading.Thread(target=lambda: left.append(publisher.wait_idle(10)))
    waiting.start()
    publisher.acknowledged(letter.id)
    waiting.join(5)
    assert left == [True]
