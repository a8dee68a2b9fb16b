"""Who asks for the log gets it: bounded, to a deadline, and never because of itself."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import structlog

from agent.clock import NS_PER_S
from agent.config.schema import Logs
from agent.errors import CommandError
from agent.link.forms import LogsLevel, LogsTail
from agent.link.messages import LogLine
from agent.logs import desk as desks
from agent.logs.afar import MAX_FOLLOWERS, AskedLogs, Followed, Kept
from agent.logs.entry import Entry, Sink, Wanted
from agent.logs.setup import Logging, configure
from agent.logs.tail import MAX_WAITING, LocalFollower, RemoteTail
from agent.types import Outgoing

from .conftest import lines


class Broker:
    """Takes what is published."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []

    def __call__(self, message: Outgoing) -> None:
        self.messages.append(message)

    @property
    def lines(self) -> list[LogLine]:
        return [message.payload for message in self.messages if isinstance(message.payload, LogLine)]

    @property
    def events(self) -> list[str]:
        return [line.event for line in self.lines]


def until(what: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def asked(logs: Logging, broker: Broker) -> AskedLogs:
    return AskedLogs(logs, broker)


def log(part: str = "deploy") -> Any:
    return structlog.get_logger(part=part)


# --- logs/tail -------------------------------------------------------------------------------------------------------


def test_a_tail_begins_with_what_was_kept_and_goes_on_with_what_comes(asked: AskedLogs, broker: Broker) -> None:
    for n in range(5):
        log().info("old", n=n)
    answer = asked.tail(LogsTail(lines=2))
    assert (answer.lines, answer.until is not None) == (2, True)
    log().warning("new", child="worker-1")
    assert [(line.event, line.fields) for line in broker.lines] == [("old", {"n": 3}), ("old", {"n": 4}), ("new", {})]
    last = broker.lines[-1]
    assert (last.level, last.part, last.child) == ("warning", "deploy", "worker-1")
    assert {(m.topic, m.qos, m.retain, m.durable) for m in broker.messages} == {("logs", 0, False, False)}


def test_a_tail_takes_only_what_was_asked_for(asked: AskedLogs, broker: Broker) -> None:
    asked.tail(LogsTail(level="warning", part="link", grep="Timed OUT"))
    log("link").info("no: timed out")
    log("deploy").error("no: timed out")
    log("link").error("no")
    log("link").error("yes", reason="it timed out")
    assert broker.events == ["yes"]


def test_a_new_tail_takes_the_place_of_the_former_and_0_seconds_end_it(asked: AskedLogs, broker: Broker) -> None:
    asked.tail(LogsTail(part="link", lines=0))
    asked.tail(LogsTail(part="deploy", lines=0))
    log("link").info("no")
    log("deploy").info("yes")
    assert asked.tail(LogsTail(seconds=0)).until is None
    log("deploy").info("no")
    assert broker.events == ["logs.tail_ended", "yes", "logs.tail_ended"]


def test_a_part_that_does_not_exist_is_told_with_those_that_do(asked: AskedLogs) -> None:
    for refused in (
        lambda: asked.tail(LogsTail(part="deplyo")),
        lambda: asked.level(LogsLevel(level="info", part="x")),
    ):
        with pytest.raises(CommandError, match="capture, config, deploy") as caught:
            refused()
        assert caught.value.field == "args.part"


def test_a_child_may_be_named_once_it_logged(asked: AskedLogs, broker: Broker) -> None:
    log("serve").info("loaded", child="worker-7")
    log("serve").info("loaded", child="worker-8")
    assert asked.tail(LogsTail(part="worker-7")).lines == 1


def test_a_tail_never_feeds_itself(asked: AskedLogs, broker: Broker) -> None:
    asked.tail(LogsTail(level="debug", lines=0))
    log("link").warning("publish.refused", topic="lookout/x/logs", reason="too large")
    log("link").warning("publish.refused", topic="logs")
    log("link").warning("publish.refused", topic="lookout/x/events/logs-camera")
    assert broker.events == ["publish.refused"]


def entry(event: str) -> Entry:
    return Entry.of({"at": "2026-01-01T00:00:00Z", "level": "info", "part": "x", "event": event})


def test_the_rate_is_bounded_and_what_was_left_out_is_counted(broker: Broker) -> None:
    tail = RemoteTail(broker, Wanted(), until_ns=10 * NS_PER_S, per_second=5, now_ns=0)
    for n in range(100):
        tail.take(entry(f"a{n}"), 0)
    assert len(broker.lines) == 5
    tail.take(entry("b"), NS_PER_S)
    assert (broker.lines[-1].event, broker.lines[-1].dropped) == ("b", 95)
    for n in range(1000):
        tail.take(entry(f"c{n}"), NS_PER_S + n * NS_PER_S // 100)
    assert 40 <= len(broker.lines) <= 60, "5 a second"
    assert tail.tick(9 * NS_PER_S)
    assert not tail.tick(10 * NS_PER_S)
    assert broker.events[-1] == "logs.tail_ended"
    assert sum(line.dropped for line in broker.lines) + len(broker.lines) - 1 == 1101


def test_a_tail_ends_by_itself(broker: Broker, out: io.BytesIO) -> None:
    logs = configure(Logs(fold_s=0), out)
    logs.start()
    AskedLogs(logs, broker).tail(LogsTail(seconds=0.2))
    until(lambda: broker.events[-1:] == ["logs.tail_ended"])
    assert logs.statistics().followers == 0
    logs.stop()


# --- logs/level ------------------------------------------------------------------------------------------------------


def test_a_level_returns_by_itself(broker: Broker, out: io.BytesIO) -> None:
    logs = configure(Logs(fold_s=0), out)
    logs.start()
    answer = AskedLogs(logs, broker).level(LogsLevel(level="debug", part="loop", seconds=0.3))
    assert (answer.part, answer.level) == ("loop", "debug")
    log("loop").debug("seen")
    log("link").debug("not seen")
    until(lambda: logs.levels.level_of("loop") == "info")
    log("loop").debug("not seen")
    logs.desk.flush()
    told = [(line["event"], line.get("of"), line.get("to")) for line in lines(out)]
    logs.stop()
    assert told == [("logs.level_set", "loop", "debug"), ("seen", None, None), ("logs.level_returned", "loop", "info")]


# --- the local socket ------------------------------------------------------------------------------------------------


def test_the_newest_records_are_answered_as_they_were_logged(asked: AskedLogs) -> None:
    for n in range(5):
        log().info("event", n=n)
    answer = asked.answer({"op": "logs", "lines": 2, "part": "deploy"})
    assert isinstance(answer, Kept)
    assert [msgspec.json.decode(raw)["n"] for raw in answer.records] == [3, 4]
    assert msgspec.json.decode(msgspec.json.encode(answer))["dropped"] == 0


@pytest.mark.parametrize("args", [{"lines": "x"}, {"level": "loud"}, {"nothing": 1}, {"part": "nobody"}])
def test_what_cannot_be_asked_is_refused_in_words(asked: AskedLogs, args: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        asked.answer(args)


def follow(asked: AskedLogs, **args: Any) -> tuple[Followed, socket.socket, socket.socket]:
    found = asked.answer({"op": "logs", "follow": True, **args})
    assert isinstance(found, Followed)
    return found, *socket.socketpair()


def test_a_follower_hears_of_everything_after_the_answer_and_of_nothing_twice(asked: AskedLogs) -> None:
    log().info("before")
    followed, ours, theirs = follow(asked, lines=10)
    assert [msgspec.json.decode(raw)["event"] for raw in followed.result.records] == ["before"]
    log().info("while it is answered")
    followed.go(ours)
    log().info("after")
    with theirs, theirs.makefile("rb") as peer:
        assert [json.loads(peer.readline())["event"] for _ in range(2)] == ["while it is answered", "after"]


def test_a_slow_follower_makes_nobody_wait_and_is_told_what_it_missed(asked: AskedLogs, logs: Logging) -> None:
    followed, ours, theirs = follow(asked)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    followed.go(ours)
    count = MAX_WAITING + 500
    for n in range(count):
        log().info("event", n=n, text="x" * 200)
    got: list[Any] = []
    with theirs, theirs.makefile("rb") as peer:

        def read() -> None:
            while line := peer.readline():
                got.append(json.loads(line))
                if got[-1].get("n") == count - 1:
                    return

        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: (logs.desk.followers(), not reader.is_alive())[1])
    numbers = [one["n"] for one in got if "n" in one]
    dropped = sum(one.get("dropped", 0) for one in got)
    assert numbers == sorted(numbers)
    assert dropped > 0
    assert dropped + len(numbers) == count


def test_followers_are_bounded_and_one_that_left_makes_room(asked: AskedLogs) -> None:
    pairs = []
    for _ in range(MAX_FOLLOWERS):
        followed, ours, theirs = follow(asked)
        followed.go(ours)
        pairs.append(theirs)
    with pytest.raises(CommandError, match="follow"):
        follow(asked)
    pairs[0].close()
    followed, ours, theirs = follow(asked)
    followed.abandon()
    follow(asked)[0].abandon()
    for peer in (*pairs, ours, theirs):
        peer.close()


def test_a_follower_never_written_to_is_bounded(logs: Logging) -> None:
    follower = LocalFollower(Wanted())
    for n in range(5 * MAX_WAITING):
        follower.take(entry(str(n)), 0)
    assert len(follower._waiting) == MAX_WAITING


# --- the desk --------------------------------------------------------------------------------------------------------


class Stuck:
    """A sink that stands still until it is let go."""

    lost = 0
    problem = None

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()
        self.written: list[Entry] = []

    def write(self, entries: list[Entry]) -> None:
        self.began.set()
        assert self.go.wait(10)
        self.written += entries

    def close(self) -> None:
        self.go.set()


def test_nobody_waits_for_a_disk_and_what_does_not_fit_is_counted_and_told(
    out: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "MAX_INBOX", 10)
    logs = configure(Logs(fold_s=0), out)
    sink: Sink = Stuck()
    logs.desk._sinks = (sink,)
    logs.start()
    log().info("first")
    assert sink.began.wait(5)
    began = time.monotonic()
    for n in range(100):
        log().info("more", n=n)
    for n in range(100):
        log().error("worse", n=n)
    assert time.monotonic() - began < 5
    sink.go.set()
    logs.stop()
    events = [entry.record["event"] for entry in sink.written]
    assert events.count("more") == 10
    assert events.count("worse") == 10, "warnings and worse have a room of their own"
    (told,) = [entry.record for entry in sink.written if entry.record["event"] == "logs.dropped"]
    assert told["records"] == logs.statistics().dropped == 180


def test_after_the_thread_has_ended_who_logs_writes(out: io.BytesIO) -> None:
    logs = configure(Logs(fold_s=0), out)
    log().info("before")
    logs.start()
    log().info("while it runs")
    logs.stop()
    log().info("after")
    logs.stop()
    assert [line["event"] for line in lines(out)] == ["before", "while it runs", "after"]


def test_the_thread_waits_without_turning(out: io.BytesIO) -> None:
    logs = configure(Logs(), out)
    rounds = []
    logs.desk._process = lambda batch: rounds.append(batch)  # type: ignore[method-assign]
    logs.start()
    time.sleep(0.3)
    assert len(rounds) <= 1
    logs.stop()
