"""The router without a broker: every bytes get one answer, and an id runs once whatever happens in between."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.errors import StorageError
from agent.link.commands import Router
from agent.link.forms import DevicePing, ModelDeploy, ModelList, ModelRollback
from agent.link.memory import Answered, Fresh, Pending
from agent.link.messages import MAX_COMMAND_BYTES
from agent.link.topics import Topics
from agent.link.verbs import Deferred, verb
from agent.link.wire import Incoming
from agent.types import Outgoing
from tests.depth import examples
from tests.fakes.payloads import mangled
from tests.link.conftest import DictMemory, Done, Link
from tests.patience import patient

NOW = 1_790_000_000_000


class Bench:
    """A router, what it published, and in which order things happened."""

    def __init__(self, memory: DictMemory | None = None, **options: Any) -> None:
        self.order: list[str] = []
        self.memory = memory or DictMemory()
        self.answers: queue.SimpleQueue[Outgoing] = queue.SimpleQueue()
        self.calls: list[Any] = []
        self.deferred: list[Deferred] = []
        self.gate = threading.Event()
        self.acknowledged = 0
        self.now: int | None = NOW
        self.router = Router(
            Topics("lookout", "cam1"),
            [
                verb("model/deploy", ModelDeploy, self.deploy),
                verb("model/rollback", ModelRollback, self.call),
                verb("model/list", ModelList, self.later, repeatable=True),
                verb("device/ping", DevicePing, self.call, repeatable=True),
            ],
            memory=options.pop("remember", self.memory),
            publish=self.answers.put,
            utc_ms=lambda: self.now,
            groups=["gate"],
            **options,
        )
        self.router.start()

    def call(self, args: Any) -> Done:
        self.order.append("call")
        self.calls.append(args)
        return Done("done")

    def deploy(self, args: ModelDeploy) -> Any:
        self.calls.append(args)
        if args.reference == "wait:1.0.0":
            self.gate.wait(5)
        if args.reference == "bug:1.0.0":
            raise RuntimeError("a bug")
        if args.reference == "odd:1.0.0":
            return Done(object())  # type: ignore[arg-type]
        return Done(args.reference)

    def later(self, args: ModelList) -> Deferred:
        self.calls.append(args)
        self.deferred.append(Deferred())
        return self.deferred[-1]

    def acknowledge(self) -> None:
        self.order.append("acknowledge")
        self.acknowledged += 1

    def offer(self, payload: bytes | dict[str, Any], name: str = "model/rollback", **options: Any) -> None:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        topic = options.pop("topic", f"lookout/cam1/cmd/{name}")
        retained = options.pop("retained", False)
        self.router.offer(Incoming(topic, body, retained, self.acknowledge, **options))

    def answer(self) -> Any:
        self.outgoing = self.answers.get(timeout=5)
        return json.loads(self.outgoing.payload)  # type: ignore[arg-type]

    def ask(self, payload: bytes | dict[str, Any], name: str = "model/rollback", **options: Any) -> Any:
        self.offer(payload, name, **options)
        return self.answer()

    def error(self, payload: bytes | dict[str, Any], name: str = "model/rollback", **options: Any) -> Any:
        told = self.ask(payload, name, **options)
        assert not told["ok"], told
        assert told["v"] == 1
        assert not self.calls
        return told["error"]


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**options: Any) -> Bench:
        benches.append(Bench(**options))
        return benches[-1]

    yield make
    for each in benches:
        each.gate.set()
        each.router.stop()


VALID = [
    b'{"v":1,"id":"abc","args":{"pipeline":"main","reference":"yolox:1.0.0","force":true}}',
    b'{"v":1,"id":"abc","args":{"reference":"yolox:1.0.0"},"expires_at":"2030-01-01T00:00:00Z"}',
    b'{"v":1}',
]


@settings(max_examples=examples(2000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    mangled(st.sampled_from(VALID), least=0, most=4) | st.binary(max_size=100),
    st.sampled_from(["model/deploy", "device/ping", "no/verb"]),
)
@example(b"[" * 60_000, "model/deploy")
@example(b'{"v":1,"args":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "model/deploy")
@example(b'{"v":1,"id":"\\ud800"}', "device/ping")
@example(b'{"v":1,"expires_at":"0001-01-01T00:00:00+14:00"}', "device/ping")
@example(b'{"v":1,"expires_at":"9999-12-31T23:59:59-14:00"}', "device/ping")
@example(b'{"v":' + b"9" * 5000 + b"}", "device/ping")
def test_any_bytes_get_exactly_one_answer_and_no_crash(payload: bytes, name: str) -> None:
    if not SHARED_BENCH:
        SHARED_BENCH.append(Bench())
    shared = SHARED_BENCH[0]
    shared.memory.commands.clear()
    before = shared.acknowledged
    told = shared.ask(payload, name)
    assert set(told) in ({"v", "id", "ok", "result"}, {"v", "id", "ok", "error"})
    assert told["ok"] or (told["error"]["code"] not in ("internal", "error") and told["error"]["message"])
    shared.ask({"v": 1}, "device/ping")  # the acknowledgement follows the answer; the next answer follows both
    assert shared.acknowledged >= before + 1
    assert shared.answers.empty()


SHARED_BENCH: list[Bench] = []


@pytest.fixture(scope="module", autouse=True)
def _stop_the_shared_bench() -> Iterator[None]:
    yield
    for each in SHARED_BENCH:
        each.router.stop()


@pytest.mark.parametrize(
    ("payload", "code", "field", "words"),
    [
        (b"", "bad_json", None, "not JSON"),
        (b"{", "bad_json", None, "not JSON"),
        (b"[1]", "bad_json", None, "list"),
        (b"\xff\xfe", "bad_json", None, "not JSON"),
        (b"x" * (MAX_COMMAND_BYTES + 1), "too_large", None, "65537 bytes"),
        ({"args": {}}, "bad_version", "v", "speaks version 1"),
        ({"v": 2}, "bad_version", "v", "speaks version 1"),
        ({"v": True}, "bad_version", "v", "True"),
        ({"v": 1, "id": 7}, "bad_argument", "id", "str"),
        ({"v": 1, "id": ""}, "bad_argument", "id", ""),
        ({"v": 1, "arg": {}}, "bad_argument", "arg", "did you mean 'args'"),
        ({"v": 1, "args": []}, "bad_argument", "args", "object"),
        ({"v": 1, "args": {"refrence": "a"}}, "bad_argument", None, "reference"),
        ({"v": 1, "args": {"reference": 7}}, "bad_argument", "args.reference", "`str`"),
        ({"v": 1, "args": {"reference": "a", "pipeline": "A/"}}, "bad_argument", "args.pipeline", "regex"),
        ({"v": 1, "args": {"reference": "a", "forc": True}}, "bad_argument", "args.forc", "did you mean 'force'"),
        ({"v": 1, "args": {"reference": "a"}, "expires_at": "soon"}, "bad_argument", "expires_at", "RFC 3339"),
        ({"v": 1, "args": {}, "expires_at": "2030-01-01T00:00:00"}, "bad_argument", "expires_at", "zone"),
        ({"v": 1, "args": {"reference": "a"}, "expires_at": "2020-01-01T00:00:00Z"}, "expired", "expires_at", "2020"),
    ],
)  # fmt: skip
def test_each_fault_has_its_own_answer(bench: Any, payload: Any, code: str, field: str | None, words: str) -> None:
    error = bench().error(payload, "model/deploy")
    assert error["code"] == code
    assert words in error["message"]
    if field is not None:
        assert error["field"] == field


def test_the_id_is_in_the_answer_even_when_the_command_is_wrong(bench: Any) -> None:
    told = bench().ask({"v": 1, "id": "mine", "args": {"x": 1}})
    assert told["id"] == "mine"
    assert not told["ok"]


@pytest.mark.parametrize(
    "payload", [{"v": "x" * 60_000}, {"v": 1, "x" * 60_000: 1}, {"v": 1, "args": {"y" * 60_000: 1}}]
)
def test_what_is_foreign_is_quoted_in_short(bench: Any, payload: Any) -> None:
    there = bench()
    there.error(payload, "model/list")
    assert len(there.outgoing.payload) < 600


def test_an_unknown_verb_names_the_nearest(bench: Any) -> None:
    there = bench()
    assert "'model/deploy'" in there.error({"v": 1}, "model/deploi")["message"]
    assert there.outgoing.topic == "result/model/deploi"
    assert there.error({"v": 1}, "xx/yy")["code"] == "unknown_verb"


def test_a_name_that_is_none_is_not_repeated_into_a_topic(bench: Any) -> None:
    there = bench()
    assert there.error({"v": 1}, "Model/Deploy!")["code"] == "unknown_verb"
    assert there.outgoing.topic == "result/unknown/unknown"


def test_a_retained_command_is_refused_and_its_id_is_not_used_up(bench: Any) -> None:
    there = bench()
    assert there.error({"v": 1, "id": "a"}, retained=True)["code"] == "retained"
    assert there.ask({"v": 1, "id": "a"})["ok"]


def test_without_a_trusted_clock_an_expiry_cannot_be_judged(bench: Any) -> None:
    there = bench()
    there.now = None
    assert there.error({"v": 1, "expires_at": "2030-01-01T00:00:00Z"})["code"] == "clock_unsynced"
    assert there.ask({"v": 1})["ok"]


def test_an_answer_goes_to_the_response_topic_with_its_correlation(bench: Any) -> None:
    there = bench()
    assert there.ask({"v": 1}, response_topic="ops/me", correlation=b"\x00\x01")["ok"]
    assert there.outgoing.correlation.response_topic == "ops/me"
    assert there.outgoing.correlation.data == b"\x00\x01"
    assert (there.outgoing.qos, there.outgoing.durable) == (1, True)


@pytest.mark.parametrize(
    "topic",
    ["", "a/#", "a/+/b", "x" * 257, "$SYS/x", "lookout/cam1/status", "lookout/cam2/cmd/model/deploy",
     "lookout/_all/cmd/device/restart"],
)  # fmt: skip
def test_a_response_topic_that_means_something_else_is_refused(bench: Any, topic: str) -> None:
    there = bench()
    assert there.error({"v": 1, "id": "a"}, response_topic=topic)["code"] == "bad_response_topic"
    assert there.outgoing.correlation is None  # it goes to the result topic


def test_an_id_is_remembered_before_it_is_acknowledged_and_before_it_runs(bench: Any) -> None:
    class Ordered(DictMemory):
        def remember(self, command_id: str, verb: str) -> Any:
            there.order.append("remember")
            return super().remember(command_id, verb)

        def answer(self, command_id: str, payload: bytes) -> None:
            there.order.append("answer")
            super().answer(command_id, payload)

    there = bench(remember=Ordered())
    there.ask({"v": 1, "id": "a"})
    assert there.order == ["remember", "acknowledge", "call", "answer"]


def test_the_same_id_is_answered_again_from_memory_also_to_somebody_else(bench: Any) -> None:
    there = bench()
    first = there.ask({"v": 1, "id": "a"})
    assert there.ask({"v": 1, "id": "a"}, response_topic="ops/me") == first
    assert there.outgoing.correlation.response_topic == "ops/me"
    assert len(there.calls) == 1


def test_an_id_belongs_to_its_verb(bench: Any) -> None:
    there = bench()
    there.ask({"v": 1, "id": "a"})
    told = there.ask({"v": 1, "id": "a"}, "device/ping")
    assert told["error"]["code"] == "id_reused"
    assert "model/rollback" in told["error"]["message"]


def test_after_a_kill_a_repeatable_verb_runs_again_and_another_says_interrupted(bench: Any) -> None:
    memory = DictMemory()
    memory.commands = {"a": ("model/rollback", None), "b": ("device/ping", None)}
    there = bench(memory=memory)
    told = there.answer()  # at the start, unasked: whoever sent it may wait
    assert told["id"] == "a"
    assert told["error"]["code"] == "interrupted"
    assert there.outgoing.topic == "result/model/rollback"
    assert there.ask({"v": 1, "id": "a"}) == told  # from memory now
    assert not there.calls
    assert there.ask({"v": 1, "id": "b"}, "device/ping")["ok"]


def test_a_deferred_answer_comes_when_it_is_given_and_only_once(bench: Any) -> None:
    there = bench()
    there.offer({"v": 1, "id": "slow"}, "model/list")
    there.ask({"v": 1}, "device/ping")  # others are not held up
    there.offer({"v": 1, "id": "slow"}, "model/list")  # runs already: no second run, no answer yet
    there.ask({"v": 1}, "device/ping")
    assert len(there.deferred) == 1
    there.deferred[0].answer(Done("at last"))
    there.deferred[0].fail(StorageError("too late"))
    assert there.answer() == {"v": 1, "id": "slow", "ok": True, "result": {"what": "at last", "number": 0.0}}
    assert there.ask({"v": 1, "id": "slow"}, "model/list")["result"]["what"] == "at last"
    assert there.answers.empty()


def test_a_handlers_refusal_is_answered_with_its_code_and_field(bench: Any) -> None:
    there = bench()
    there.offer({"v": 1, "id": "slow"}, "model/list")
    while not there.deferred:
        time.sleep(0.001)
    there.deferred[0].fail(StorageError("the disk is full", field="args.x"))
    assert there.answer()["error"] == {"code": "storage", "message": "the disk is full", "field": "args.x"}


@pytest.mark.parametrize("reference", ["bug:1.0.0", "odd:1.0.0"])
def test_a_handlers_bug_is_answered_and_the_next_command_runs(bench: Any, reference: str) -> None:
    there = bench()
    told = there.ask({"v": 1, "id": "a", "args": {"reference": reference}}, "model/deploy")
    assert told["error"]["code"] == "internal"
    assert there.ask({"v": 1}, "device/ping")["ok"]


def test_too_many_commands_are_answered_busy_at_once(bench: Any) -> None:
    there = bench(max_waiting=2)
    there.offer({"v": 1, "args": {"reference": "wait:1.0.0"}}, "model/deploy")
    while not there.calls:
        time.sleep(0.001)
    began = time.monotonic()
    for _ in range(3):
        there.offer({"v": 1}, "device/ping")
    assert time.monotonic() - began < patient(0.5)
    assert there.answer()["error"]["code"] == "busy"
    there.gate.set()
    assert [there.answer()["ok"] for _ in range(3)] == [True, True, True]
    assert there.acknowledged == 4


def test_a_full_disk_refuses_the_command_instead_of_running_it_unremembered(bench: Any) -> None:
    class Full(DictMemory):
        def remember(self, command_id: str, verb: str) -> Fresh | Pending | Answered:
            raise StorageError("journal: the disk is full; free some room")

    there = bench(remember=Full())
    assert there.error({"v": 1, "id": "a"})["code"] == "storage"
    assert there.ask({"v": 1})["ok"]  # without an id nothing need be remembered


def test_a_command_to_a_group_that_was_left_is_acknowledged_and_ignored(bench: Any) -> None:
    there = bench()
    there.offer({"v": 1}, topic="lookout/_group/yard/cmd/model/rollback")
    there.offer({"v": 1}, topic="lookout/cam2/cmd/model/rollback")
    assert there.ask({"v": 1}, topic="lookout/_group/gate/cmd/model/rollback")["ok"]
    assert len(there.calls) == 1
    assert there.router.statistics().ignored == 2
    assert there.acknowledged == 3


def test_a_stop_leaves_what_waits_unacknowledged_so_that_it_comes_again(bench: Any) -> None:
    there = bench()
    there.offer({"v": 1, "args": {"reference": "wait:1.0.0"}}, "model/deploy")
    while not there.calls:
        time.sleep(0.001)
    there.offer({"v": 1, "id": "next"}, "model/rollback")
    threading.Timer(0.1, there.gate.set).start()
    there.router.stop()
    assert there.acknowledged == 1
    assert "next" not in there.memory.commands


def test_over_mqtt_5_the_answer_carries_the_correlation(mosquitto: Any, link: Any, operator: Any) -> None:
    there = mosquitto()
    device: Link = link(there.port)
    device.wait_connected()
    watcher = operator(there.port)
    watcher.send("lookout/cam1/cmd/device/ping", {"v": 1}, response_topic="ops/me", correlation=b"\x07")
    [message] = watcher.wait_for("ops/me")
    assert message.properties.CorrelationData == b"\x07"
    assert json.loads(message.payload)["ok"]
    watcher.send("lookout/cam1/cmd/device/ping", {"v": 1}, response_topic="lookout/cam1/status")
    watcher.wait_for("lookout/cam1/result/device/ping")
    assert watcher.payloads("lookout/cam1/result/device/ping")[0]["error"]["code"] == "bad_response_topic"
