"""Ready is told once the first frame was answered, or late and with what is wrong; then the line follows the facts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.supervise.notify import Notifier
from agent.supervise.readiness import Readiness

FOR_EVER_S = 60.0


class Manager:
    """The socket that systemd would listen at."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(10)
        self.notifier = Notifier(str(folder / "notify"))

    def hears(self) -> list[str]:
        return self._socket.recv(4096).decode().splitlines()

    def hears_nothing_for(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            return not self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(10)


class Beat:
    def __init__(self) -> None:
        self.bounds: list[float] = []

    def waiting(self, bound_s: float) -> None:
        self.bounds.append(bound_s)


class Case:
    """A readiness at work; ``problems`` may change meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.manager = Manager(folder)
        self.problems: tuple[str, ...] = ()
        self.beat = Beat()
        self.made: Readiness | None = None

    def start(self, *, patience_s: float, every_s: float = FOR_EVER_S) -> Readiness:
        self.made = Readiness(
            self.manager.notifier,
            summary=lambda: "1 cameras, 1 pipelines",
            problems=lambda: self.problems,
            pulse=self.beat,
            patience_s=patience_s,
            every_s=every_s,
        )
        self.made.start()
        assert self.manager.hears() == ["STATUS=1 cameras, 1 pipelines; waiting for the first answered frame"]
        return self.made


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    if made.made is not None:
        made.made.stop()


def test_ready_is_told_with_the_first_answer_and_not_before(case: Case) -> None:
    readiness = case.start(patience_s=FOR_EVER_S)
    assert case.manager.hears_nothing_for(0.1)
    for number in range(100):  # any pipeline's thread, as often as it likes
        readiness.seen(number)
    assert case.manager.hears() == ["READY=1", "STATUS=1 cameras, 1 pipelines"]
    assert case.manager.hears_nothing_for(0.05)


def test_a_device_that_sees_nothing_is_ready_late_says_why_and_says_when_that_is_over(case: Case) -> None:
    case.problems = ("camera gate: failed (no such device)",)
    readiness = case.start(patience_s=0.05)
    ready, line = case.manager.hears()
    assert ready == "READY=1"
    assert "degraded: camera gate: failed (no such device); no frame was answered yet" in line
    case.problems = ()
    readiness.seen(None)
    assert case.manager.hears() == ["STATUS=1 cameras, 1 pipelines"]


def test_the_line_follows_what_is_degraded_and_replaces_what_the_watchdog_said(case: Case) -> None:
    readiness = case.start(patience_s=FOR_EVER_S, every_s=0.02)
    readiness.seen(None)
    assert case.manager.hears()[0] == "READY=1"
    case.problems = ("broker: refused",)
    assert case.manager.hears() == ["STATUS=1 cameras, 1 pipelines; degraded: broker: refused"]
    case.manager.notifier.status("running")
    assert case.manager.hears() == ["STATUS=running"]
    assert case.manager.hears() == ["STATUS=1 cameras, 1 pipelines; degraded: broker: refused"]
    assert case.manager.hears_nothing_for(0.1), "what has not changed is not said again"


def test_news_change_the_line_at_once_but_never_make_it_ready(case: Case) -> None:
    readiness = case.start(patience_s=FOR_EVER_S)
    readiness.changed("safe mode")
    assert case.manager.hears_nothing_for(0.1)
    readiness.seen(None)
    assert case.manager.hears()[0] == "READY=1"
    case.problems = ("safe mode: three crashes",)
    readiness.changed("safe mode")
    assert case.manager.hears() == ["STATUS=1 cameras, 1 pipelines; degraded: safe mode: three crashes"]


def test_it_ends_at_once_before_anything_was_seen_and_says_nothing_more(case: Case) -> None:
    readiness = case.start(patience_s=FOR_EVER_S)
    readiness.stop()
    assert case.manager.hears_nothing_for(0.05)
    assert "lookout-readiness" not in {thread.name for thread in threading.enumerate()}


def test_each_wait_is_declared_with_its_bound(case: Case) -> None:
    case.start(patience_s=1.0).stop()
    assert case.beat.bounds
    assert all(1.0 <= bound <= 20.0 for bound in case.beat.bounds)
