"""A worker as a real process: what it answers, and what becomes of it when things go wrong."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from agent.errors import ChildDied, ChildError, ChildHung, InputError, ModelError, OutputError
from agent.process.channel import Channel, ChannelClosed
from agent.process.child import ChildSpec
from agent.process.messages import Error, Grant, Hello, Output, Stop
from agent.process.ring import RingMemory
from agent.serve.handle import CANDIDATE_OOM, SERVING_OOM, WorkerHandle
from agent.types import CameraName, FrameRef, RunOptions
from tests.fakes.models import nan_model, slow_model, tiny_classifier, tiny_classifier_spec, tiny_detector, tiny_spec
from tests.patience import patient
from tests.serve.conftest import load_of

FRONT = CameraName("front")
SIZE = 64


class Listener:
    """Keeps what a worker says."""

    def __init__(self) -> None:
        self.answers: queue.Queue[Output | Error] = queue.Queue()
        self.deaths: queue.Queue[str] = queue.Queue()

    def output(self, worker, message) -> None:
        self.answers.put(message)

    def failed(self, worker, message) -> None:
        self.answers.put(message)

    def died(self, worker, reason) -> None:
        self.deaths.put(reason)

    def next(self) -> Output | Error:
        return self.answers.get(timeout=patient(10))


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    return tiny_detector(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def ring():
    """Slot 0 is black, slot 1 has a red cell at (8, 16)."""
    ring = RingMemory.create(SIZE, SIZE, 4)
    ring.frame(1)[16:24, 8:16] = (0, 0, 255)
    yield ring
    ring.close()


def frame(slot: int, generation: int = 1) -> FrameRef:
    return FrameRef(FRONT, generation, slot, 0, 0, 0, 0, SIZE, SIZE)


def boxes(output: Output) -> list[list[float]]:
    return np.frombuffer(output.detections, np.float32).reshape(-1, 6).round(2).tolist()


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_worker_reads_frames_in_place_and_answers_in_order(start, detector, ring, concurrency):
    worker, listener = start(detector, options=RunOptions(1, concurrency=concurrency)), Listener()
    assert worker.ready.providers == ("CPUExecutionProvider",)
    assert worker.ready.first_run_ms > 0
    assert worker.hello.versions["onnxruntime"]
    worker.attach_ring(FRONT, 1, ring)
    worker.listen(listener)
    for request in range(40):
        worker.infer(request, frame(request % 2), "serve")
    answers = [listener.next() for _ in range(40)]
    assert [answer.request for answer in answers] == list(range(40))
    assert [len(boxes(answer)) for answer in answers] == [0, 1] * 20
    assert boxes(answers[1]) == [[8.0, 16.0, 16.0, 24.0, 1.0, 2.0]]
    assert (answers[1].width, answers[1].height, answers[1].role) == (SIZE, SIZE, "serve")
    timings = answers[1].timings
    assert timings.run_ms > 0
    assert timings.wait_ms >= 0


def test_what_it_cannot_answer_is_an_error_in_its_place_and_it_goes_on(start, detector, ring, tmp_path):
    worker, listener = start(detector), Listener()
    worker.attach_ring(FRONT, 1, ring)
    worker.listen(listener)
    worker.infer(0, frame(1), "serve")
    worker.infer(1, frame(1, generation=2), "serve")
    worker.infer(2, frame(99), "serve")
    worker.infer(3, frame(1), "serve")
    answers = [listener.next() for _ in range(4)]
    assert [answer.request for answer in answers] == [0, 1, 2, 3]
    assert [type(answer) for answer in answers] == [Output, Error, Error, Output]
    assert "generation 2" in answers[1].message


def test_frames_that_are_computed_at_once_are_answered_in_order(start, ring, tmp_path):
    """One that fails needs no computing: its answer waits for those before it."""
    worker = start(slow_model(tmp_path / "slow.onnx", steps=20), options=RunOptions(1, concurrency=2))
    listener = Listener()
    worker.attach_ring(FRONT, 1, ring)
    worker.listen(listener)
    for request in range(12):
        worker.infer(request, frame(99 if request % 3 == 1 else 1), "serve")
    answers = [listener.next() for _ in range(12)]
    assert [answer.request for answer in answers] == list(range(12))
    assert [type(answer) for answer in answers] == [Output, Error, Output] * 4
    worker.infer(12, frame(1), "serve")
    worker.close()
    assert listener.next().request == 12


def test_a_detached_ring_is_forgotten_after_the_frames_before_it(start, detector, ring):
    worker, listener = start(detector), Listener()
    worker.attach_ring(FRONT, 1, ring)
    worker.listen(listener)
    for request in range(5):
        worker.infer(request, frame(1), "serve")
    worker.detach_ring(FRONT, 1)
    worker.infer(5, frame(1), "serve")
    answers = [listener.next() for _ in range(6)]
    assert [type(answer) for answer in answers] == [Output] * 5 + [Error]
    assert f"memfd:lookout-ring-{SIZE}x{SIZE}" not in Path(f"/proc/{worker.pid}/maps").read_text()


def test_a_golden_picture_is_answered_to_the_caller(start, detector, tmp_path):
    worker = start(detector, candidate=True)
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[16:24, 8:16] = (0, 0, 255)
    path = tmp_path / "golden.png"
    cv2.imwrite(str(path), picture)
    output = worker.infer_file(path, 10)
    assert boxes(output) == [[8.0, 16.0, 16.0, 24.0, 1.0, 2.0]]
    assert output.role == "trial"


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n cut off"])
def test_an_unreadable_picture_is_the_pictures_fault(start, detector, tmp_path, content):
    worker = start(detector)
    path = tmp_path / "golden.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"golden\.png"):
        worker.infer_file(path, 10)
    assert worker.alive


def test_a_model_that_gives_nan_is_told_of_and_the_worker_goes_on(start, ring, tmp_path):
    worker, listener = start(nan_model(tmp_path / "nan.onnx")), Listener()
    worker.attach_ring(FRONT, 1, ring)
    worker.listen(listener)
    for request in range(2):
        worker.infer(request, frame(1), "serve")
    answers = [listener.next() for _ in range(2)]
    assert [(answer.request, answer.code) for answer in answers] == [(0, "bad_output"), (1, "bad_output")]
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.zeros((SIZE, SIZE, 3), np.uint8))
    with pytest.raises(OutputError, match="not finite"):
        worker.infer_file(path, 10)


def test_a_classifier_answers_classes(start, ring, tmp_path):
    worker, listener = start(tiny_classifier(tmp_path / "c.onnx"), tiny_classifier_spec()), Listener()
    worker.attach_ring(FRONT, 1, ring)
    worker.listen(listener)
    ring.frame(2)[:] = (0, 255, 0)
    worker.infer(0, frame(2), "serve")
    answer = listener.next()
    assert answer.detections is None
    assert np.frombuffer(answer.classes, np.float32).reshape(-1, 2)[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("content", "spec", "words"),
    [
        (None, None, "cannot be read"),
        (b"", None, "is empty"),
        (b"no model", None, "cannot be loaded"),
        ("tiny", tiny_spec(num_classes=80), ""),
        ("tiny", tiny_spec(input=msgspec.structs.replace(tiny_spec().input, name="pixels")), "pixels"),
    ],
    ids=["absent", "empty", "garbage", "classes", "input"],
)
def test_a_model_that_cannot_serve_is_refused_in_its_own_words_and_leaves_nothing(
    start, detector, tmp_path, content, spec, words
):
    path = tmp_path / "model.onnx"
    if content == "tiny":
        path = detector
    elif content is not None:
        path.write_bytes(content)
    before = children()
    with pytest.raises(ModelError) as caught:
        start(path, spec)
    assert words in caught.value.message
    assert children() <= before


def test_a_model_that_takes_too_long_to_get_ready_is_hung_and_leaves_nothing(start, tmp_path):
    path = slow_model(tmp_path / "slow.onnx", steps=20000)
    before = children()
    with pytest.raises(ChildHung, match=r"not loaded and warm after 1\.5 s"):
        start(path, timeout_s=1.5)
    assert children() <= before


def test_a_killed_worker_is_told_of_once_after_it_was_reaped(start, detector, ring):
    worker, listener = start(detector), Listener()
    worker.listen(listener)
    os.kill(worker.pid, signal.SIGKILL)
    reason = listener.deaths.get(timeout=patient(5))
    assert "SIGKILL" in reason
    assert state_of(worker.pid) == "gone"
    assert not worker.alive
    worker.infer(1, frame(0), "serve")  # nobody there: no harm
    worker.attach_ring(FRONT, 1, ring)
    worker.kill("again")
    assert listener.deaths.empty()
    late = Listener()
    worker.listen(late)
    assert late.deaths.get(timeout=1) == reason
    with pytest.raises(ChildDied, match="SIGKILL"):
        worker.infer_file(Path("golden.png"), 1)


def test_a_stopped_worker_misses_the_deadline_and_can_be_killed_with_a_reason(start, detector, tmp_path):
    worker, listener = start(detector), Listener()
    worker.listen(listener)
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(ChildHung, match=r"no answer for golden\.png after 0\.3 s"):
        worker.infer_file(tmp_path / "golden.png", 0.3)
    worker.kill("no answer for 2.0 s")
    assert listener.deaths.get(timeout=patient(5)) == "no answer for 2.0 s"


def test_whoever_waits_for_a_picture_is_told_when_the_worker_dies(start, tmp_path):
    worker = start(slow_model(tmp_path / "slow.onnx", steps=400))
    cv2.imwrite(str(tmp_path / "golden.png"), np.zeros((SIZE, SIZE, 3), np.uint8))
    timer = threading.Timer(0.1, os.kill, (worker.pid, signal.SIGKILL))
    timer.start()
    started = time.monotonic()
    with pytest.raises(ChildDied, match="SIGKILL"):
        worker.infer_file(tmp_path / "golden.png", 30)
    assert time.monotonic() - started < 5
    timer.join()


def test_closing_answers_what_was_asked_and_tells_no_death(start, detector, ring):
    worker, listener = start(detector), Listener()
    worker.attach_ring(FRONT, 1, ring)
    worker.listen(listener)
    for request in range(10):
        worker.infer(request, frame(1), "serve")
    worker.close()
    assert [listener.next().request for _ in range(10)] == list(range(10))
    assert listener.deaths.empty()
    assert state_of(worker.pid) == "gone"
    worker.close()


def test_a_candidate_is_lifted_when_it_is_promoted(start, detector):
    worker = start(detector, candidate=True)
    adjustment = Path(f"/proc/{worker.pid}/oom_score_adj")
    assert int(adjustment.read_text()) == CANDIDATE_OOM
    worker.promote()
    assert int(adjustment.read_text()) == SERVING_OOM
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == 0


def test_no_worker_writes_below_the_home_folder(start, detector, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    start(detector).close()
    assert list(home.rglob("*")) == []


def test_a_worker_imports_nothing_of_brokers_registries_or_configuration(start, detector):
    worker = start(detector)
    maps = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "onnxruntime" in maps
    for foreign in ("pydantic_core", "_sqlite3", "cryptography"):
        assert foreign not in maps


class Raw:
    """A worker process without its handle, for conversations that no agent holds."""

    def __init__(self, spawner) -> None:
        self.child = spawner.start(ChildSpec("worker-raw", "agent.serve.main"))
        self.channel: Channel = self.child.channel

    def receive(self):
        received = self.channel.receive(patient(20))
        assert received is not None
        return received[0]


@pytest.fixture
def raw(spawner):
    raw = Raw(spawner)
    assert isinstance(raw.receive(), Hello)
    yield raw
    raw.child.close()


def test_anything_but_load_comes_first_is_an_error_and_the_end(raw):
    raw.channel.send(Grant(FRONT, 1, 1))
    error = raw.receive()
    assert isinstance(error, Error)
    assert "Load first" in error.message
    assert raw.child.wait(patient(5)) == 1


def test_a_load_that_cannot_be_read_is_an_error_and_the_end(raw):
    raw.channel._sock.send(b"\x81\xa4type\xa4Load")
    assert isinstance(raw.receive(), Error)
    assert raw.child.wait(patient(5)) == 1


def test_a_worker_that_is_not_needed_after_all_ends_cleanly(raw):
    raw.channel.send(Stop())
    assert raw.child.wait(patient(5)) == 0


def test_a_worker_ends_when_the_agents_end_of_the_channel_is_gone(raw, detector):
    raw.channel.send(load_of(detector))
    raw.receive()
    raw.channel.close()
    assert raw.child.wait(patient(5)) == 0


def test_a_message_that_makes_no_sense_ends_the_worker_with_words(raw, detector):
    raw.channel.send(load_of(detector))
    raw.receive()
    raw.channel.send(Grant(FRONT, 1, 1))
    with pytest.raises(ChannelClosed):
        raw.receive()
    assert raw.child.wait(patient(5)) == 70
    assert "no use for Grant" in raw.child.last_words()


def test_a_worker_of_another_protocol_is_refused(spawner, detector, monkeypatch):
    monkeypatch.setattr("agent.serve.handle.PROTOCOL", 99)
    with pytest.raises(ChildError, match="protocol 99"):
        WorkerHandle.start(spawner, name="worker-x", load=load_of(detector), candidate=False, timeout_s=patient(20))
