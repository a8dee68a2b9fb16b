"""The pipeline as an actor: what other threads may rely on, without processes."""

from __future__ import annotations

import threading
import time

import pytest

from agent.loop.pipeline import IDLE_S, INBOX_LIMIT, Pipeline
from agent.process.messages import Health
from agent.types import CameraName, PipelineName
from tests.loop.fakes import LABELS, FakeCapture, FakeEvents, FakeWorker
from tests.patience import patient

FRONT = CameraName("front")


class FakeHeartbeat:
    def __init__(self) -> None:
        self.beats = 0
        self.waits: list[float] = []
        self.changed = threading.Condition()

    def progress(self) -> None:
        with self.changed:
            self.beats += 1
            self.changed.notify_all()

    def waiting(self, bound_s: float) -> None:
        with self.changed:
            self.waits.append(bound_s)
            self.changed.notify_all()

    def wait(self, condition) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, 5)


@pytest.fixture
def make():
    made: list[Pipeline] = []

    def make(**changes):
        arguments = {
            "in_flight": 2,
            "capture": FakeCapture(),
            "events": FakeEvents(),
            "sinks": [],
            "heartbeat": FakeHeartbeat(),
        }
        arguments.update(changes)
        made.append(Pipeline(PipelineName("main"), [FRONT], **arguments))
        return made[-1], arguments

    yield make
    for pipeline in made:
        pipeline.stop()


def test_an_idle_loop_declares_a_bounded_wait(make):
    pipeline, parts = make()
    pipeline.start()
    parts["heartbeat"].wait(lambda: parts["heartbeat"].waits == [IDLE_S])


def test_a_loop_that_awaits_an_answer_waits_no_longer_than_its_deadline(make):
    pipeline, parts = make()
    heartbeat = parts["heartbeat"]
    pipeline.start()
    pipeline.swap(FakeWorker("worker-1"), labels=LABELS, score=0.5)
    pipeline.need_ring(FRONT, 64, 48)
    pipeline.statistics()  # until then everything before it was done
    pipeline.frame(parts["capture"].frame("front"))
    assert pipeline.statistics().in_flight == 1
    heartbeat.wait(lambda: heartbeat.waits[-1] <= 2.0)
    assert heartbeat.beats >= 4


def test_health_messages_cannot_fill_the_inbox(make):
    pipeline, _ = make()
    for _ in range(INBOX_LIMIT + 10):
        pipeline.health(Health(FRONT, "stalled"))
    assert pipeline.health_dropped == 10


def test_a_loop_that_does_not_answer_gives_an_older_snapshot(make, monkeypatch):
    monkeypatch.setattr("agent.loop.pipeline.ANSWER_S", 0.1)
    gate = threading.Event()
    pipeline, _ = make(health_sinks=[lambda message: gate.wait(5)])
    pipeline.start()
    pipeline.health(Health(FRONT, "stalled"))
    started = time.monotonic()
    assert pipeline.statistics().cameras[FRONT].health == "opening"
    assert time.monotonic() - started < patient(2)
    gate.set()


def test_statistics_may_be_asked_for_on_the_loops_own_thread(make):
    seen = []
    pipeline, _ = make(health_sinks=[lambda message: seen.append(pipeline.statistics())])
    pipeline.start()
    pipeline.health(Health(FRONT, "ended"))
    pipeline.stop()
    assert seen[0].cameras[FRONT].health == "ended"


def test_a_bug_ends_the_thread_loudly_and_the_heart_stops(make, monkeypatch):
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    def broken(message):
        raise RuntimeError("a bug in a sink")

    pipeline, parts = make(health_sinks=[broken])
    pipeline.start()
    pipeline.health(Health(FRONT, "ended"))
    pipeline._thread.join(5)
    assert isinstance(failures[0].exc_value, RuntimeError)
    beats = parts["heartbeat"].beats
    pipeline.health(Health(FRONT, "ended"))
    assert parts["heartbeat"].beats == beats
