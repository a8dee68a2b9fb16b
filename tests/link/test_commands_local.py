"""Commands of somebody at the device itself: by the same rows, in the same lanes, answered to whoever gave them."""

from __future__ import annotations

import json
import queue
from typing import Any

import pytest

from tests.link.conftest import Done
from tests.web.conftest import until

from .test_commands import Bench


@pytest.fixture
def bench():
    made = Bench(max_waiting=4)
    yield made
    made.gate.set()
    made.router.stop()


def ask(bench: Bench, name: str, **args: Any) -> queue.SimpleQueue[bytes]:
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    bench.router.ask(name, args, answers.put)
    return answers


def told(answers: queue.SimpleQueue[bytes]) -> Any:
    found = json.loads(answers.get(timeout=5))
    assert answers.empty()
    return found


def test_a_command_is_run_by_its_row_and_answered_here_and_not_at_the_broker(bench):
    answer = told(ask(bench, "model/deploy", reference="m:1.0.0"))
    assert (answer["ok"], answer["id"]) == (True, None)
    assert bench.calls[0].reference == "m:1.0.0"
    assert bench.answers.empty()


@pytest.mark.parametrize(
    ("name", "args", "code", "field"),
    [
        ("model/deploi", {}, "unknown_verb", None),
        ("nonsense", {}, "unknown_verb", None),
        ("model/deploy", {}, "bad_argument", "args"),
        ("model/deploy", {"reference": 3}, "bad_argument", "args.reference"),
        ("model/rollback", {"pipelin": "x"}, "bad_argument", "args.pipelin"),
    ],
)
def test_what_is_wrong_with_one_is_said_as_to_anybody(bench, name, args, code, field):
    answer = told(ask(bench, name, **args))
    assert (answer["ok"], answer["error"]["code"]) == (False, code)
    if field is not None:
        assert answer["error"]["field"] == field
    assert bench.calls == []


def test_a_bug_of_a_handler_is_answered_and_the_next_command_runs(bench):
    assert told(ask(bench, "model/deploy", reference="bug:1.0.0"))["error"]["code"] == "internal"
    assert told(ask(bench, "model/deploy", reference="m:1.0.0"))["ok"]


def test_an_answer_that_comes_later_is_waited_for(bench):
    answers = ask(bench, "model/list")
    until(lambda: bench.deferred)
    assert answers.empty()
    bench.deferred[0].answer(Done("late"))
    assert told(answers)["result"]["what"] == "late"


def test_commands_of_one_lane_wait_for_each_other_and_too_many_are_told_to_come_again(bench):
    first = ask(bench, "model/deploy", reference="wait:1.0.0")
    until(lambda: bench.calls)
    waiting = [ask(bench, "model/rollback") for _ in range(4)]
    assert told(ask(bench, "model/rollback"))["error"]["code"] == "busy"
    assert len(bench.calls) == 1
    assert told(ask(bench, "device/ping"))["error"]["code"] == "busy"
    bench.gate.set()
    assert told(first)["ok"]
    assert [told(answers)["ok"] for answers in waiting] == [True] * 4


def test_they_count_like_any_other(bench):
    told(ask(bench, "device/ping"))
    told(ask(bench, "none/such"))
    counts = bench.router.statistics()
    assert (counts.received, counts.done, counts.refused) == (2, 1, 1)
