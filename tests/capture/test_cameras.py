"""Grabbers and the watch over them, with sources that do as they are told."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from agent.capture.cameras import Cameras
from agent.capture.grabber import Stuck
from agent.capture.main import SOURCES
from agent.capture.source import CameraStalled, Picture
from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import CameraError
from agent.process.messages import AttachRing, Close, Frame, Grant, Health, Message, NeedRing, Open, SourceSpec
from agent.process.ring import RingMemory
from agent.types import CameraName

from .conftest import CAMERA, eventually, paint, read_number, write_video

SPEC = SourceSpec("url", "rtsp://me:secret@camera/1")


@dataclass
class FakeSource:
    """A source whose frames come from ``feed``: a picture, an exception to raise, or an event to hang on."""

    feed: queue.Queue
    live: bool = True
    fps: float = 10.0
    patience_s: float = 5.0
    opened: int = 0
    closed: int = 0
    hang_in_retrieve: threading.Event | None = None
    picture: Picture | None = None
    _next: int = 0

    def open(self, start_index: int) -> None:
        self.opened += 1
        self._next = start_index

    def grab(self) -> int | None:
        item = self.feed.get()
        if isinstance(item, threading.Event):
            item.wait(20)
            item = paint(8)  # of its own: the feed may be another one's by now
        if isinstance(item, Exception):
            raise item
        self.picture = item
        self._next += 1
        return None if item is None else self._next - 1

    def retrieve(self, into: Picture | None) -> Picture:
        if self.hang_in_retrieve is not None and into is not None:
            self.hang_in_retrieve.wait(20)
        assert self.picture is not None
        if into is None or into.shape != self.picture.shape:
            return self.picture
        np.copyto(into, self.picture)
        return into

    def close(self) -> None:
        self.closed += 1


@dataclass
class Bench:
    """The reader loop's side of the cameras, with the agent's ring."""

    feed: queue.Queue = field(default_factory=queue.Queue)
    sent: list[Message] = field(default_factory=list)
    made: list[FakeSource] = field(default_factory=list)
    rings: list[RingMemory] = field(default_factory=list)
    live: bool = True
    cameras: Cameras = field(init=False)

    def __post_init__(self) -> None:
        self.cameras = Cameras({**SOURCES, "url": self.make}, self.sent.append, stuck_s=5.0)

    def make(self, spec: SourceSpec) -> FakeSource:
        self.made.append(FakeSource(self.feed, live=self.live))
        return self.made[-1]

    def attach(self, generation: int, width: int, height: int, slots: int = 4) -> RingMemory:
        ring = RingMemory.create(width, height, slots)
        self.rings.append(ring)
        self.cameras.attach(AttachRing(CAMERA, generation, width, height, slots), os.dup(ring.fd))
        return ring

    def grant(self, generation: int, *slots: int) -> None:
        for slot in slots:
            self.cameras.grant(Grant(CAMERA, generation, slot))

    def of(self, kind: type) -> list:
        return [message for message in self.sent if isinstance(message, kind)]

    def states(self) -> list[str]:
        return [message.state for message in self.of(Health)]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for _ in range(10):
        made.feed.put(CameraError("over"))
    made.cameras.stop(2)
    for ring in made.rings:
        ring.close()


def open_live(bench: Bench) -> RingMemory:
    """A live camera with its ring, nothing granted; one frame went into learning the size."""
    bench.cameras.open(Open(CAMERA, SPEC))
    bench.feed.put(paint(0))
    assert eventually(lambda: bench.of(NeedRing) == [NeedRing(CAMERA, 320, 240)])
    return bench.attach(1, 320, 240)


def test_a_live_camera_drops_and_counts_frames_until_a_slot_is_granted(bench):
    ring = open_live(bench)
    for number in range(1, 6):
        bench.feed.put(paint(number))
    assert eventually(bench.feed.empty)
    bench.feed.put(paint(6))  # comes after the fifth was dropped
    assert eventually(bench.feed.empty)
    assert bench.of(Frame) == []
    bench.grant(1, 2)
    bench.feed.put(paint(7))
    bench.feed.put(paint(8))
    assert eventually(lambda: len(bench.of(Frame)) == 1)
    (frame,) = bench.of(Frame)
    assert (frame.slot, frame.generation, frame.sequence, frame.source_index) == (2, 1, 0, 0)
    assert read_number(ring.frame(2)) - frame.skipped == 0
    assert bench.states() == ["opening", "streaming"]


def test_a_live_camera_that_changes_its_size_asks_for_another_ring_and_goes_on(bench):
    open_live(bench)
    bench.grant(1, 0, 1)
    bench.feed.put(paint(1, 160, 120))
    assert eventually(lambda: bench.of(NeedRing)[-1] == NeedRing(CAMERA, 160, 120))
    bench.feed.put(paint(2, 160, 120))
    ring = bench.attach(2, 160, 120)
    bench.grant(1, 0)  # of the old ring: ignored
    bench.grant(2, 3)
    bench.feed.put(paint(3, 160, 120))
    bench.feed.put(paint(4, 160, 120))
    assert eventually(lambda: len(bench.of(Frame)) == 1)
    assert (bench.of(Frame)[0].generation, bench.of(Frame)[0].slot) == (2, 3)
    assert read_number(ring.frame(3)) in (2, 3, 4)
    assert len(bench.of(NeedRing)) == 2


def test_a_stalled_camera_is_told_and_opened_anew_without_its_credentials(bench):
    open_live(bench)
    bench.feed.put(CameraStalled("rtsp://me:secret@camera/1: no frame for 2 s"))
    assert eventually(lambda: "stalled" in bench.states())
    bench.grant(1, 0)
    bench.feed.put(paint(5))
    assert eventually(lambda: len(bench.of(Frame)) == 1)
    assert bench.states() == ["opening", "streaming", "stalled", "streaming"]
    assert "camera/1: no frame" in bench.of(Health)[2].reason
    assert "secret" not in str(bench.sent)
    assert (bench.made[0].opened, bench.made[0].closed) == (2, 1)


def test_a_camera_that_keeps_failing_for_one_reason_says_it_once(bench):
    bench.cameras.open(Open(CAMERA, SPEC))
    for _ in range(3):
        bench.feed.put(CameraError("no way"))
    assert eventually(lambda: bench.made[0].closed == 3)
    assert bench.states() == ["opening", "failed"]


def test_a_read_that_hangs_is_abandoned_another_takes_over_and_the_late_one_changes_nothing(bench):
    ring = open_live(bench)
    hang = threading.Event()
    bench.feed.put(hang)
    assert eventually(bench.feed.empty)
    bench.grant(1, 0, 1)
    bench.cameras.check(monotonic_ns())  # patient still
    assert len(bench.made) == 1
    late = monotonic_ns() + 6 * NS_PER_S
    bench.cameras.check(late)
    assert len(bench.made) == 2
    assert eventually(lambda: bench.states() == ["opening", "streaming", "stalled", "opening"])
    assert "abandoned" in bench.of(Health)[2].reason
    bench.feed.put(paint(7))
    assert eventually(lambda: len(bench.of(Frame)) == 1)
    assert bench.of(Frame)[0].skipped == 1  # counted on
    assert read_number(ring.frame(bench.of(Frame)[0].slot)) == 7

    before = list(bench.sent)
    threads = threading.active_count()
    hang.set()  # the late one wakes with a frame, and must throw it away
    bench.feed.put(paint(9))
    assert eventually(lambda: threading.active_count() == threads - 1)
    assert eventually(lambda: len(bench.sent) == len(before) + 1)
    assert bench.made[0].closed == 1
    assert bench.of(Frame)[-1].sequence == 1
    bench.cameras.check(monotonic_ns())
    assert len(bench.made) == 2


def test_a_read_that_stays_hung_ends_the_process(bench):
    open_live(bench)
    hang = threading.Event()
    bench.feed.put(hang)
    assert eventually(bench.feed.empty)
    late = monotonic_ns() + 6 * NS_PER_S
    bench.cameras.check(late)
    bench.cameras.check(late + 4 * NS_PER_S)
    with pytest.raises(Stuck, match="camera gate: a call has hung for more than 5 s"):
        bench.cameras.check(late + 6 * NS_PER_S)
    hang.set()


def test_a_thread_that_hangs_while_it_writes_cannot_be_left(bench):
    open_live(bench)
    bench.made[0].hang_in_retrieve = threading.Event()
    bench.grant(1, 0)
    bench.feed.put(paint(1))
    assert eventually(bench.feed.empty)
    late = monotonic_ns() + 6 * NS_PER_S
    assert eventually(lambda: bench.cameras._open[CAMERA].grabber._writing)
    with pytest.raises(Stuck, match="hangs while it writes"):
        bench.cameras.check(late)
    bench.made[0].hang_in_retrieve.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_a_bug_ends_the_process(bench):
    bench.cameras.open(Open(CAMERA, SPEC))
    bench.feed.put(RuntimeError("a bug"))
    grabber = bench.cameras._open[CAMERA].grabber
    assert eventually(lambda: grabber.join(0))
    with pytest.raises(Stuck, match="by a bug"):
        bench.cameras.check(monotonic_ns())


def test_nothing_is_said_about_a_closed_camera(bench):
    open_live(bench)
    bench.grant(1, 0)
    bench.cameras.close(Close(CAMERA))
    said = len(bench.sent)
    for number in range(3):
        bench.feed.put(paint(number))
    assert bench.cameras.stop(2)
    assert len(bench.sent) == said


def test_frames_of_a_shape_that_is_no_picture_are_refused_with_a_reason(bench):
    bench.cameras.open(Open(CAMERA, SPEC))
    bench.feed.put(np.zeros((4, 4, 1), np.uint8))
    assert eventually(lambda: "failed" in bench.states())
    assert "(4, 4, 1)" in bench.of(Health)[-1].reason


def test_a_ring_for_an_unknown_camera_or_of_an_unasked_size_is_closed(bench):
    open_descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not walked
    bench.attach(1, 320, 240).close()
    open_live(bench).close()
    bench.attach(2, 640, 480).close()
    bench.grant(2, 0)
    bench.feed.put(paint(1))
    bench.feed.put(paint(2))
    assert eventually(bench.feed.empty)
    assert bench.of(Frame) == []
    assert len(os.listdir("/proc/self/fd")) == open_descriptors + 1  # noqa: PTH208 - the ring in use


@pytest.mark.parametrize("pace", ["lossless", "realtime"])
@pytest.mark.parametrize(("start", "loop"), [(7, False), (7, True), (12, True), (12, False)])
def test_a_file_goes_on_where_the_last_process_had_come_to(bench, tmp_path, pace, start, loop):
    spec = SourceSpec("file", str(write_video(tmp_path / "v.avi", 12, fps=100)), pace=pace, loop=loop)
    bench.cameras.open(Open(CAMERA, spec, start, 40, 3))
    wrapped = start == 12
    expected = list(range(0 if wrapped else start, 12)) if loop or not wrapped else []
    if expected:
        assert eventually(lambda: bench.of(NeedRing) != [])
        ring = bench.attach(1, 320, 240, 20)
        bench.grant(1, *range(20))
        assert eventually(lambda: len(bench.of(Frame)) >= len(expected))
    if not loop:
        assert eventually(lambda: bench.states()[-1] == "ended")
    frames = bench.of(Frame)[: len(expected)]
    assert [frame.source_index for frame in frames] == expected
    assert [frame.sequence for frame in frames] == list(range(40, 40 + len(expected)))
    assert all(read_number(ring.frame(frame.slot)) == frame.source_index for frame in frames)
    assert all(frame.skipped == 3 for frame in frames)


def test_a_file_without_a_frame_fails_instead_of_spinning(bench):
    bench.live = False
    bench.cameras.open(Open(CAMERA, SourceSpec("url", "empty", pace="lossless", loop=True)))
    bench.feed.put(None)
    assert eventually(lambda: "failed" in bench.states())
    assert "holds no frame" in bench.of(Health)[-1].reason
    name = CameraName("other")
    bench.cameras.grant(Grant(name, 1, 0))  # unknown: ignored
