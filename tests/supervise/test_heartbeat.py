"""Heartbeats and the watchdog: food only while every loop progresses or is in a declared, bounded wait."""

from __future__ import annotations

import math
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ProgrammingError
from agent.supervise.heartbeat import MAX_WAIT_S, Heartbeats
from agent.supervise.notify import Notifier
from agent.supervise.watchdog import Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += int(seconds * NS_PER_S)


def test_a_loop_is_late_once_its_patience_is_over_and_no_longer_once_it_progressed() -> None:
    clock = Clock()
    beats = Heartbeats(clock)
    beat = beats.add("loop", patience_s=2)
    clock.pass_s(2)
    assert beats.late() == ()
    clock.pass_s(0.1)
    assert beats.late() == ("loop",)
    beat.progress()
    assert beats.late() == ()


def test_a_declared_wait_is_not_late_within_its_bound_and_is_late_beyond_it() -> None:
    clock = Clock()
    beats = Heartbeats(clock)
    beat = beats.add("loop", patience_s=1)
    beat.waiting(10)
    clock.pass_s(10.9)
    assert beats.late() == ()
    clock.pass_s(0.2)
    assert beats.late() == ("loop",)


def test_progress_ends_a_wait() -> None:
    clock = Clock()
    beats = Heartbeats(clock)
    beat = beats.add("loop", patience_s=1)
    beat.waiting(100)
    beat.progress()
    clock.pass_s(1.1)
    assert beats.late() == ("loop",)


def test_a_loop_that_was_stopped_on_purpose_is_never_late() -> None:
    clock = Clock()
    beats = Heartbeats(clock)
    beats.add("b", 1)
    beats.add("a", 1)
    clock.pass_s(2)
    assert beats.late() == ("a", "b")
    beats.remove("a")
    beats.remove("unknown")
    assert beats.late() == ("b",)
    beats.add("a", 1)


@pytest.mark.parametrize("bound_s", [-1, MAX_WAIT_S + 1, math.inf, math.nan])
def test_a_wait_without_a_sensible_bound_is_a_programmers_error(bound_s: float) -> None:
    beat = Heartbeats(Clock()).add("loop", 1)
    with pytest.raises(ProgrammingError):
        beat.waiting(bound_s)


def test_a_name_is_watched_once() -> None:
    beats = Heartbeats(Clock())
    beats.add("loop", 1)
    with pytest.raises(ProgrammingError, match="already"):
        beats.add("loop", 1)
    with pytest.raises(ProgrammingError, match="patience"):
        beats.add("other", 0)


@given(st.lists(st.tuples(st.sampled_from(["progress", "wait", "pass"]), st.floats(0, 100)), max_size=30))
def test_late_means_silent_beyond_the_last_promise(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    beats = Heartbeats(clock)
    beat = beats.add("loop", patience_s=5)
    promised = 5 * NS_PER_S
    for step, seconds in steps:
        if step == "progress":
            beat.progress()
            promised = clock.now + 5 * NS_PER_S
        elif step == "wait":
            beat.waiting(seconds)
            promised = clock.now + int(seconds * NS_PER_S) + 5 * NS_PER_S
        else:
            clock.pass_s(seconds)
        assert (beats.late() == ("loop",)) == (clock.now > promised)


# --- the watchdog and systemd ----------------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path):
    """The receiving end of sd_notify, and the variables that lead to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = tmp_path / "notify"
        listener.bind(str(path))
        listener.settimeout(5)
        yield listener, {"NOTIFY_SOCKET": str(path)}


def heard(listener: socket.socket) -> list[str]:
    found = []
    listener.setblocking(False)
    try:
        while True:
            found.append(listener.recv(4096).decode())
    except BlockingIOError:
        return found


def test_systemd_is_told_what_it_understands(systemd) -> None:
    listener, environ = systemd
    notifier = Notifier.from_environ(environ)
    assert notifier.ready("serving\nyolox  1.0")
    assert notifier.status("degraded: broker")
    assert notifier.alive()
    assert notifier.stopping()
    assert heard(listener) == [
        "READY=1\nSTATUS=serving yolox 1.0",
        "STATUS=degraded: broker",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_an_abstract_socket_is_reached() -> None:
    name = f"lookout-test-{monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        assert Notifier.from_environ({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert listener.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/no/such"}]
)
def test_without_systemd_nothing_is_told_and_nothing_fails(environ: dict[str, str]) -> None:
    assert not Notifier.from_environ(environ).ready("x")


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_period_is_systemds_if_it_is_meant_for_us(
    environ: dict[str, str], watchdog_s: float | None
) -> None:
    assert Notifier.from_environ(environ, pid=7).watchdog_s == watchdog_s


def test_food_is_withheld_while_a_loop_is_late_and_comes_again_afterwards(systemd) -> None:
    listener, environ = systemd
    clock = Clock()
    beats = Heartbeats(clock)
    beat = beats.add("pipeline-main", 1)
    watchdog = Watchdog(beats, Notifier.from_environ({**environ, "WATCHDOG_USEC": "2000000"}))
    watchdog.look()
    assert heard(listener) == ["WATCHDOG=1"]
    clock.pass_s(2)
    assert watchdog.look() == ("pipeline-main",)
    watchdog.look()
    assert heard(listener) == ["STATUS=hangs: pipeline-main"]
    beat.progress()
    watchdog.look()
    assert heard(listener) == ["WATCHDOG=1", "STATUS=running"]
    assert (watchdog.statistics().fed, watchdog.statistics().withheld) == (2, 2)


def test_the_thread_feeds_twice_in_each_period_and_stops_at_once(systemd) -> None:
    listener, environ = systemd
    watchdog = Watchdog(Heartbeats(monotonic_ns), Notifier.from_environ({**environ, "WATCHDOG_USEC": "100000"}))
    watchdog.start()
    assert [listener.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    watchdog.stop()
    watchdog.stop()
    assert not any(thread.name == "lookout-watchdog" for thread in threading.enumerate())
    with pytest.raises(ProgrammingError):
        watchdog.start()


def test_a_watchdog_that_never_started_can_be_stopped() -> None:
    Watchdog(Heartbeats(monotonic_ns), Notifier(None)).stop()
