"""Folding: nothing is told twice within a window, and nothing that came is never told."""

from __future__ import annotations

import io
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.config.schema import Logs
from agent.logs.fold import MAX_WINDOWS, Fold
from agent.logs.setup import configure

from .conftest import lines


def record(event: str, at: int = 0, **rest: Any) -> dict[str, Any]:
    return {"at": str(at), "level": "info", "event": event, **rest}


def test_the_first_is_told_at_once_and_the_rest_once_with_how_often() -> None:
    fold = Fold(30)
    assert fold.take(record("x", 0), 0) == [record("x", 0)]
    assert fold.take(record("x", 1), 1 * NS_PER_S) == []
    assert fold.due_ns() == 30 * NS_PER_S
    assert fold.take(record("x", 2), 2 * NS_PER_S) == []
    assert fold.close(29 * NS_PER_S) == []
    assert fold.close(30 * NS_PER_S) == [record("x", 2, repeated=2)]
    assert fold.take(record("x", 31), 31 * NS_PER_S) == []
    assert fold.close(89 * NS_PER_S) == [], "the second window is twice as long"
    assert fold.close(90 * NS_PER_S) == [record("x", 31, repeated=1)]
    assert fold.due_ns() is None
    assert fold.close(210 * NS_PER_S) == []
    assert fold.take(record("x", 211), 211 * NS_PER_S) == [record("x", 211)], "after a silence it is news again"


def test_what_never_ends_is_told_ever_more_seldom() -> None:
    fold = Fold(30)
    told = [
        one for n in range(86_400 // 15) for one in fold.take(record("x", failures=n, delay_s=n / 7), n * 15 * NS_PER_S)
    ]
    assert 140 <= len(told) <= 155, "every ten minutes after a while"
    assert told[-1]["failures"] > 5700, "and the newest of each window is told"


def test_what_says_something_else_is_not_folded() -> None:
    fold = Fold(30)
    for other in (
        record("x"),
        record("y"),
        record("x", part="a"),
        record("x", n=1),
        record("x", n=2),
        record("x", n="2"),
    ):
        assert fold.take(other, 0) == [other]


def test_without_a_window_nothing_is_folded() -> None:
    fold = Fold(0)
    assert [fold.take(record("x"), 0) for _ in range(3)] == [[record("x")]] * 3


def test_what_waits_is_told_at_the_end() -> None:
    fold = Fold(30)
    for _ in range(3):
        fold.take(record("x"), 0)
    assert fold.finish() == [record("x", repeated=2)]
    assert fold.finish() == []


events = st.lists(st.tuples(st.integers(0, 300), st.floats(0, 40)), max_size=400)


@given(events)
def test_what_came_adds_up_to_what_was_told_and_memory_is_bounded(came: list[tuple[int, float]]) -> None:
    fold = Fold(30)
    now = 0
    told: list[Any] = []
    for number, wait_s in came:
        now += round(wait_s * NS_PER_S)
        told += fold.take(record(str(number)), now)
        assert len(fold._windows) <= MAX_WINDOWS
    told += fold.finish()
    for number in {number for number, _ in came}:
        mine = [one for one in told if one["event"] == str(number)]
        assert sum(one.get("repeated", 1) for one in mine) == sum(1 for other, _ in came if other == number)


def test_a_running_log_folds(out: io.BytesIO) -> None:
    logs = configure(Logs(fold_s=0.2), out)
    logs.start()
    for _ in range(5):
        structlog.get_logger(part="x").warning("again", error="the same")
    structlog.get_logger(part="x").warning("other")
    logs.desk.flush()
    assert [line["event"] for line in lines(out)] == ["again", "other"]
    logs.stop()
    assert [(line["event"], line["repeated"]) for line in lines(out)[2:]] == [("again", 4)]
