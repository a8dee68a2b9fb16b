"""Real RTSP cameras that stall, die, and come back with another size: none of it delays another camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from agent.capture.handle import CaptureHandle
from agent.capture.pool import CapturePool
from agent.process.child import Spawner
from agent.process.leases import Leases
from agent.process.messages import Frame, Health, Rendered, SourceSpec
from agent.process.ring import RingMemory
from agent.types import CameraName
from tests.fakes.rtsp_camera import RtspCamera, require_gstreamer

FPS = 15
WITHIN = 0.02
"""How much a frame rate may change, of the others."""
ROUGHLY = 0.25
"""The same on a machine that runs other tests too; one that waited for a stalled camera would lose all of it."""

Capture = CaptureHandle | CapturePool


@dataclass
class Counter:
    """Implements ``CameraEvents``: takes each frame, remembers when it was captured, and grants its slot again."""

    capture: Capture
    times: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    healths: list[Health] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    generation: int = 0

    def need_ring(self, camera: CameraName, width: int, height: int) -> None:
        self.generation += 1
        self.sizes.append((width, height))
        self.leases = Leases(3)
        ring = RingMemory.create(width, height, 3)
        self.capture.attach_ring(camera, self.generation, ring)
        ring.close()
        while (slot := self.leases.grant()) is not None:
            self.capture.grant(camera, self.generation, slot)

    def frame(self, message: Frame) -> None:
        if message.generation == self.generation:
            self.times.append(message.at_ns)
            self.capture.grant(message.camera, self.generation, message.slot)

    def health(self, message: Health) -> None:
        self.healths.append(message)

    def rendered(self, message: Rendered, jpeg: bytes) -> None: ...

    def capture_lost(self, camera: CameraName, reason: str) -> None:
        self.lost.append(reason)

    def rate(self, since_ns: int) -> float:
        """Frames a second from the first to the last one after ``since_ns``; long silence at the end counts."""
        times = [at for at in self.times if at >= since_ns]
        end = max(times[-1], time.monotonic_ns() - 2 * 10**9 // FPS)
        return (len(times) - 1) * 1e9 / (end - times[0])


class Site:
    """Some cameras at one capture."""

    def __init__(self, capture: Capture, count: int) -> None:
        self.capture = capture
        self.cameras = [RtspCamera(fps=FPS) for _ in range(count)]
        self.counters = [Counter(capture) for _ in range(count)]

    def open(self) -> None:
        """Open all, and wait until all deliver."""
        for number, (camera, counter) in enumerate(zip(self.cameras, self.counters, strict=True)):
            self.capture.open(CameraName(f"cam{number}"), SourceSpec("url", camera.url), counter)
        self.until(lambda: all(len(counter.times) > FPS for counter in self.counters), 30)

    @staticmethod
    def until(condition, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.05)

    def rates(self, seconds: float, numbers: list[int]) -> dict[int, float]:
        """The frame rates of these cameras over the next seconds."""
        since = time.monotonic_ns()
        time.sleep(seconds)
        return {number: self.counters[number].rate(since) for number in numbers}

    def states(self, number: int) -> list[str]:
        return [message.state for message in self.counters[number].healths]

    def close(self) -> None:
        for camera in self.cameras:
            camera.kill()


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    require_gstreamer()
    made = Spawner(lambda child, record: None)
    yield made
    made.close()


def site_of(spawner: Spawner, process: str, count: int) -> Iterator[Site]:
    capture: Capture = CapturePool(spawner) if process == "per_camera" else CaptureHandle(spawner)
    capture.start()
    site = Site(capture, count)
    try:
        site.open()
        yield site
    finally:
        capture.close()
        site.close()


@pytest.fixture
def pair(spawner: Spawner) -> Iterator[Site]:
    yield from site_of(spawner, "shared", 2)


@pytest.fixture
def four(spawner: Spawner, request: pytest.FixtureRequest) -> Iterator[Site]:
    yield from site_of(spawner, request.param, 4)


def assert_undisturbed(before: dict[int, float], during: dict[int, float], within: float = WITHIN) -> None:
    changes = {number: rate / before[number] - 1 for number, rate in during.items()}
    print({number: f"{change:+.2%} of {before[number]:.2f}" for number, change in changes.items()})
    assert all(abs(change) <= within for change in changes.values()), changes


def test_a_camera_that_stalls_is_told_and_the_other_one_keeps_its_rate(pair):
    before = pair.rates(4, [1])
    pair.cameras[0].stall()
    assert_undisturbed(before, pair.rates(4, [1]), ROUGHLY)
    assert "stalled" in pair.states(0)
    assert not any("hunter2" in message.reason for counter in pair.counters for message in counter.healths)
    assert all(not counter.lost for counter in pair.counters)


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.parametrize("four", ["shared", "per_camera"], indirect=True)
def test_of_four_cameras_one_stalls_one_dies_and_one_changes_its_size_and_the_others_keep_their_rate(four):
    before = four.rates(12, [0, 1, 2, 3])
    assert all(rate == pytest.approx(FPS, rel=0.05) for rate in before.values()), before

    four.cameras[0].stall()
    assert_undisturbed(before, four.rates(10, [1, 2, 3]))
    assert "stalled" in four.states(0)

    four.cameras[1].kill()  # the first one is still stalled
    assert_undisturbed(before, four.rates(10, [2, 3]))
    assert four.states(1)[-1] in ("failed", "stalled")
    four.cameras[1].start()
    seen = len(four.counters[1].times)
    four.until(lambda: len(four.counters[1].times) > seen + FPS, 40)

    four.cameras[2].kill()
    four.cameras[2].start(640, 360)
    assert_undisturbed(before, four.rates(10, [3]))
    four.until(lambda: (640, 360) in four.counters[2].sizes, 40)
    assert four.counters[2].sizes[0] == (320, 240)

    four.cameras[0].go_on()
    seen = [len(counter.times) for counter in four.counters]
    four.until(lambda: all(len(one.times) > was + FPS for one, was in zip(four.counters, seen, strict=True)), 45)
    assert_undisturbed(before, four.rates(10, [0, 1, 2, 3]))
    assert all(not counter.lost for counter in four.counters)
