"""Threads of the deployment part: order, bounds, and ends."""

from __future__ import annotations

import threading

import pytest

from agent.deploy.lanes import REQUESTS, Cancel, Cancelled, Inbox, InternalError, Lane
from agent.deploy.parts import Turn
from agent.deploy.timers import Timers
from agent.errors import DeploymentRefused, LookoutError, StorageError
from agent.types import PipelineName


def drain(inbox: Inbox) -> None:
    while (message := inbox.receive(0)) is not None:
        message()


def test_messages_are_read_in_order_and_keyed_ones_replace_one_another() -> None:
    inbox, read = Inbox(), []
    for text, key in (("a", None), ("old", "k"), ("b", None), ("new", "k")):
        inbox.post(lambda text=text: read.append(text), key=key)
    drain(inbox)
    assert read == ["a", "new", "b"]


def test_too_many_requests_are_refused_and_events_are_not() -> None:
    inbox, read = Inbox(), []
    for number in range(REQUESTS):
        inbox.request(lambda number=number: read.append(number))
    with pytest.raises(DeploymentRefused, match="busy"):
        inbox.request(lambda: None)
    inbox.post(lambda: read.append(-1))
    drain(inbox)
    assert read == [*range(REQUESTS), -1]
    inbox.request(lambda: None)


def test_a_lane_hands_results_and_errors_back_and_survives_a_bug() -> None:
    lane, got, done = Lane("lookout-test-lane"), [], threading.Event()
    lane.start()

    def fails() -> None:
        raise StorageError("full")

    lane.submit(lambda: 7, got.append)
    lane.submit(fails, got.append)
    lane.submit(lambda: 1 // 0, got.append)
    lane.submit(lambda: None, lambda _: done.set())
    assert done.wait(2)
    assert lane.stop(2)
    assert got[0] == 7
    assert isinstance(got[1], StorageError)
    assert isinstance(got[2], InternalError)
    assert "ZeroDivisionError" in got[2].message


def test_a_cancel_ends_what_blocks_and_what_comes_later() -> None:
    cancel, ended = Cancel(), []
    cancel.bind(ended.append)
    cancel.cancel("superseded")
    cancel.cancel("again")
    assert ended == ["superseded"]
    with pytest.raises(Cancelled):
        cancel.bind(ended.append)
    assert isinstance(Cancelled("x"), LookoutError)


def test_turns_are_given_in_order() -> None:
    turn, began = Turn(), []
    a, b, c = (PipelineName(name) for name in "abc")
    assert turn.ask(a, lambda: began.append("a")) is None
    assert turn.ask(b, lambda: began.append("b")) == "a"
    assert turn.ask(c, lambda: began.append("c")) == "a"
    turn.give_up(b)
    turn.give_up(a)
    assert began == ["a", "c"]
    turn.give_up(c)
    assert turn.holder is None


def test_a_timer_is_called_once_and_a_cancelled_one_never() -> None:
    timers, called = Timers(), []
    timers.set("a", 10, lambda: (called.append("a"), timers.cancel("b")))
    timers.set("b", 10, lambda: called.append("b"))
    timers.set("c", 20, lambda: called.append("c"))
    assert timers.next_ns() == 10
    timers.run(9)
    timers.run(15)
    timers.run(15)
    assert called == ["a"]
    assert timers.next_ns() == 20
