"""Several commands at once: which wait for which, who gets whose answer, and what a late one comes to."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import CommandError
from agent.link.commands import THREADS, Router
from agent.link.forms import Arguments
from agent.link.lanes import Lanes
from agent.link.runner import MAX_DEFERRED, MAX_REPEATABLE_BYTES
from agent.link.topics import Topics
from agent.link.verbs import Deferred, verb, verb_by_id
from agent.link.wire import Incoming
from agent.types import Outgoing
from tests.depth import examples
from tests.link.conftest import DictMemory, Done

PATIENCE_S = 5.0


class Text(Arguments, frozen=True, kw_only=True):
    """What the verbs of these tests take."""

    text: str = ""


class Bench:
    """A router whose verbs wait until the test lets them go."""

    def __init__(self, **options: Any) -> None:
        self.memory = DictMemory()
        self.answers: queue.SimpleQueue[Outgoing] = queue.SimpleQueue()
        self.runs: list[tuple[str, str]] = []
        self.begun = threading.Condition()
        self.gates: dict[str, threading.Event] = {}
        self.deferred: list[Deferred] = []
        self.afterwards: list[int] = []
        self.router = Router(
            Topics("lookout", "cam1"),
            [
                verb("config/patch", Text, self.hold),
                verb("config/get", Text, self.hold, repeatable=True),
                verb("model/deploy", Text, self.hold),
                verb("camera/snapshot", Text, self.later, repeatable=True, patience_s=options.pop("patience_s", 60.0)),
                verb("device/ping", Text, self.hold, repeatable=True, lane="device/ping"),
                verb(
                    "device/restart", Text, self.hold, afterwards=lambda: self.afterwards.append(self.answers.qsize())
                ),
                verb_by_id("model/list", Text, lambda _, identity: Done(str(identity)), repeatable=True),
            ],
            memory=self.memory,
            publish=self.answers.put,
            utc_ms=lambda: None,
            groups=["gate"],
            **options,
        )
        self.router.start()

    def hold(self, args: Text) -> Done:
        with self.begun:
            self.runs.append((threading.current_thread().name, args.text))
            self.begun.notify_all()
        if args.text in self.gates:
            assert self.gates[args.text].wait(PATIENCE_S)
        if args.text == "bad":
            raise CommandError("this one is bad")
        if args.text == "long":
            return Done("x" * MAX_REPEATABLE_BYTES)
        return Done(args.text)

    def later(self, _: Text) -> Deferred:
        with self.begun:
            self.deferred.append(Deferred())
            self.begun.notify_all()
        return self.deferred[-1]

    def gate(self, text: str) -> threading.Event:
        return self.gates.setdefault(text, threading.Event())

    def wait(self, what: Callable[[], Any]) -> None:
        with self.begun:
            assert self.begun.wait_for(what, PATIENCE_S)

    def offer(self, name: str, text: str = "", *, topic: str = "", **envelope: Any) -> None:
        options = {key: envelope.pop(key) for key in ("response_topic", "correlation") if key in envelope}
        body = json.dumps({"v": 1, "args": {"text": text} if text else {}, **envelope}).encode()
        self.router.offer(Incoming(topic or f"lookout/cam1/cmd/{name}", body, False, lambda: None, **options))

    def outgoing(self) -> Outgoing:
        return self.answers.get(timeout=PATIENCE_S)

    def answer(self) -> Any:
        payload = self.outgoing().payload
        return json.loads(payload if isinstance(payload, bytes) else msgspec.json.encode(payload))

    def what(self) -> str:
        return str(self.answer()["result"]["what"])

    def texts(self) -> list[str]:
        return [text for _, text in self.runs]


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**options: Any) -> Bench:
        benches.append(Bench(**options))
        return benches[-1]

    yield make
    for each in benches:
        for gate in each.gates.values():
            gate.set()
        each.router.stop()


def test_what_is_independent_does_not_wait_behind_a_slow_change(bench: Any) -> None:
    there = bench()
    slow = there.gate("slow")
    there.offer("config/patch", "slow")
    there.wait(lambda: there.runs)
    there.offer("device/ping", "ping")
    there.offer("model/deploy", "deploy")
    assert {there.what(), there.what()} == {"ping", "deploy"}
    slow.set()
    assert there.what() == "slow"


def test_commands_of_one_part_run_in_their_order_and_one_at_a_time(bench: Any) -> None:
    there = bench()
    slow = there.gate("0")
    for number in range(10):
        there.offer("config/get" if number % 2 else "config/patch", str(number))
    there.wait(lambda: there.runs)
    there.offer("device/ping", "ping")
    assert there.what() == "ping"
    assert there.texts() == ["0", "ping"]
    slow.set()
    assert [there.what() for _ in range(10)] == [str(number) for number in range(10)]


def test_the_threads_are_few_and_have_names(bench: Any) -> None:
    there = bench()
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("lookout-command")}
    assert names >= {f"lookout-command-{number}" for number in range(1, THREADS + 1)}
    there.offer("device/ping", "ping")
    there.what()
    assert there.runs[0][0] in names


def test_an_id_that_runs_is_joined_by_another_place_and_both_get_the_one_answer(bench: Any) -> None:
    there = bench()
    for place in (None, "ops/a", "ops/b", "ops/a"):
        there.offer("camera/snapshot", id="one", response_topic=place)
    there.offer("device/ping", "after")
    there.what()
    there.wait(lambda: there.deferred)
    deadline = time.monotonic() + PATIENCE_S
    while there.router.statistics().repeated < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert len(there.deferred) == 1
    there.deferred[0].answer(Done("picture"))
    told = [there.outgoing() for _ in range(3)]
    places = [None if one.correlation is None else one.correlation.response_topic for one in told]
    assert sorted(map(str, places)) == ["None", "ops/a", "ops/b"]
    assert len({one.payload for one in told}) == 1
    assert there.answers.empty()


def test_more_than_a_few_places_may_not_wait_for_one_answer(bench: Any) -> None:
    there = bench()
    for number in range(12):
        there.offer("camera/snapshot", id="one", response_topic=f"ops/{number}")
    assert {there.answer()["error"]["code"] for _ in range(3)} == {"busy"}
    there.deferred[0].answer(Done("picture"))
    assert {there.what() for _ in range(9)} == {"picture"}


def test_a_verb_whose_answers_are_outstanding_is_busy_and_others_are_not(bench: Any) -> None:
    there = bench()
    for number in range(MAX_DEFERRED + 1):
        there.offer("camera/snapshot", id=f"id-{number}")
    told = there.answer()
    assert told["error"]["code"] == "busy"
    assert told["id"] == f"id-{MAX_DEFERRED}"
    there.offer("device/ping", "ping")
    assert there.what() == "ping"
    there.deferred[0].answer(Done("first"))
    assert there.what() == "first"
    there.offer("camera/snapshot", id=f"id-{MAX_DEFERRED}")  # its id was not used up
    there.wait(lambda: len(there.deferred) == MAX_DEFERRED + 1)


def test_an_answer_that_never_comes_is_an_error_in_time_and_one_that_comes_late_is_nothing(bench: Any) -> None:
    there = bench(patience_s=0.05)
    there.offer("camera/snapshot", id="lost")
    told = there.answer()
    assert told["error"]["code"] == "timeout"
    there.deferred[0].answer(Done("too late"))
    there.offer("camera/snapshot", id="lost")
    assert there.answer() == told
    assert there.answers.empty()
    assert there.router.statistics().timed_out == 1
    assert there.router.statistics().running == 0


def test_progress_is_told_to_who_asked_and_never_after_the_answer(bench: Any) -> None:
    now = [0]
    there = bench(now_ns=lambda: now[0])
    there.offer("camera/snapshot", id="mute")
    there.offer("camera/snapshot", id="curious", progress=True, response_topic="ops/me", correlation=b"7")
    there.wait(lambda: len(there.deferred) == 2)
    mute, curious = there.deferred
    mute.progress("half of it", 0.5)
    curious.progress("half of it", 0.5)
    told = there.outgoing()
    assert (told.qos, told.durable) == (0, False)
    assert (told.correlation.response_topic, told.correlation.data) == ("ops/me", b"7")
    assert msgspec.to_builtins(told.payload) == {"v": 1, "id": "curious", "progress": "half of it", "done": 0.5}
    curious.progress("too soon to say more", 0.6)
    now[0] += 10**9
    curious.progress("x" * 1000, float("nan"))
    told = msgspec.to_builtins(there.outgoing().payload)
    assert (len(told["progress"]), told["done"]) == (256, None)
    curious.answer(Done("picture"))
    now[0] += 10**9
    curious.progress("never heard", 1.0)
    assert there.what() == "picture"
    assert there.answers.empty()


def test_progress_told_before_the_router_listened_is_not_lost() -> None:
    deferred, heard = Deferred(), []
    deferred.progress("first")
    deferred.progress("second", 2.0)
    deferred.then(lambda _: None, heard.append)
    assert [(step.text, step.done) for step in heard] == [("second", 1.0)]


def test_what_follows_an_answer_happens_once_it_was_sent_and_only_if_it_was_done(bench: Any) -> None:
    there = bench()
    there.offer("device/restart", "bad", id="a")
    assert there.answer()["error"]["code"] == "bad_command"
    assert there.afterwards == []
    there.offer("device/restart", "good", id="b")
    assert there.what() == "good"
    there.offer("device/restart", "good", id="b")
    assert there.what() == "good"
    there.offer("device/restart", "wait", id="c")
    there.what()
    assert len(there.afterwards) == 2  # not for the repeated one


def test_a_long_answer_that_can_be_made_again_is_not_remembered(bench: Any) -> None:
    there = bench()
    for _ in range(2):
        there.offer("config/get", "long", id="dump")
        assert len(there.what()) == MAX_REPEATABLE_BYTES
    assert there.texts() == ["long", "long"]
    there.offer("config/patch", "long", id="order")
    there.what()
    there.offer("config/patch", "long", id="order")
    there.what()
    assert len(there.texts()) == 3


def test_a_command_to_many_is_answered_on_the_devices_own_topic_whatever_place_was_given(bench: Any) -> None:
    there = bench()
    for scope in ("_all", "_group/gate"):
        there.offer("", topic=f"lookout/{scope}/cmd/device/ping", id=scope, response_topic="ops/all", correlation=b"1")
        told = there.outgoing()
        assert told.correlation.response_topic == "lookout/cam1/result/device/ping"
        assert told.correlation.data == b"1"


def test_another_group_is_obeyed_as_soon_as_it_is_named(bench: Any) -> None:
    there = bench()
    routes = there.router.regroup(["yard"])
    assert "lookout/_group/yard/cmd/+/+" in routes
    assert "lookout/_group/gate/cmd/+/+" not in routes
    there.offer("", topic="lookout/_group/gate/cmd/device/ping", id="old")
    there.offer("", topic="lookout/_group/yard/cmd/device/ping", id="new")
    assert there.answer()["id"] == "new"
    assert there.router.statistics().ignored == 1


def test_a_row_may_take_the_id_of_its_command(bench: Any) -> None:
    there = bench()
    there.offer("model/list", id="mine")
    assert there.what() == "mine"


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.sampled_from("abcdef"), max_size=60))
def test_each_lane_keeps_its_order_and_is_never_worked_on_twice_at_once(arrivals: list[str]) -> None:
    done: list[tuple[str, int]] = []
    inside: list[str] = []
    clashes: list[str] = []
    lock = threading.Lock()

    def work(item: tuple[str, int], _: object) -> None:
        with lock:
            clashes.extend([item[0]] * (item[0] in inside))
            inside.append(item[0])
        time.sleep(0)
        with lock:
            inside.remove(item[0])
            done.append(item)

    lanes: Lanes[tuple[str, int]] = Lanes("lookout-test", work, threads=3, max_waiting=100)
    lanes.start()
    items = [(lane, number) for number, lane in enumerate(arrivals)]
    assert all(lanes.offer(item[0], item) for item in items)
    deadline = time.monotonic() + PATIENCE_S
    while len(done) < len(items) and time.monotonic() < deadline:
        time.sleep(0.001)
    lanes.stop(PATIENCE_S)
    assert clashes == []
    for lane in set(arrivals):
        assert [item for item in done if item[0] == lane] == [item for item in items if item[0] == lane]


def test_when_all_lanes_are_full_nothing_more_is_taken() -> None:
    lanes: Lanes[int] = Lanes("lookout-test", lambda *_: None, threads=1, max_waiting=3)
    assert [lanes.offer("a", number) for number in range(5)] == [True, True, True, False, False]
    lanes.stop(1.0)
