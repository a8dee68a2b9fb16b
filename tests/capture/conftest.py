"""Videos whose frames carry their number, and a taker of frames that stands in for a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.capture.handle import CaptureHandle
from agent.process.child import Spawner
from agent.process.leases import Leases
from agent.process.messages import Frame, Health, Rendered
from agent.process.ring import RingMemory
from agent.types import CameraName

CAMERA = CameraName("gate")
BITS = 16


def paint(number: int, width: int = 320, height: int = 240) -> np.ndarray:
    """A picture of ``BITS`` columns, black or white, that say ``number``."""
    columns = [255 if number >> bit & 1 else 0 for bit in range(BITS)]
    row = np.repeat(np.array(columns, np.uint8), width // BITS)
    return np.broadcast_to(row[None, :, None], (height, row.size, 3)).copy()


def read_number(picture: np.ndarray) -> int:
    """The number that ``paint`` put there, also after a lossy codec."""
    columns = picture.reshape(picture.shape[0], BITS, -1).mean(axis=(0, 2)) > 127
    return sum(1 << bit for bit, white in enumerate(columns) if white)


def write_video(path: Path, frames: int, fps: float = 25.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), fps, (320, 240))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(paint(number))
    writer.release()
    return path


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether ``condition`` came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


@dataclass
class Seen:
    """A frame as it lay in its slot."""

    message: Frame
    number: int
    size: tuple[int, int]


@dataclass
class Taker:
    """Implements the handle's ``CameraEvents``: takes each frame at once and grants its slot again.

    All of it happens on the handle's reader thread. While ``holding``, slots are not granted again.
    """

    handle: CaptureHandle
    slots: int = 3
    holding: bool = False
    seen: list[Seen] = field(default_factory=list)
    healths: list[Health] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    pictures: list[tuple[Rendered, bytes]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    generation: int = 0
    ring: RingMemory | None = None
    leases: Leases = field(default_factory=lambda: Leases(1))

    def need_ring(self, camera: CameraName, width: int, height: int) -> None:
        self.told.append(f"need_ring {width}x{height}")
        if self.ring is not None:
            self.ring.close()
        number = self.generation + 1
        self.ring = RingMemory.create(width, height, self.slots)
        self.leases = Leases(self.slots)
        self.handle.attach_ring(camera, number, self.ring)
        self.generation = number  # last: a test that waits for it grants slots at once
        if not self.holding:
            self.grant_all(camera)

    def grant_all(self, camera: CameraName = CAMERA) -> None:
        while (slot := self.leases.grant()) is not None:
            self.handle.grant(camera, self.generation, slot)

    def frame(self, message: Frame) -> None:
        self.told.append(f"frame {message.sequence}")
        assert message.generation == self.generation
        assert self.ring is not None
        self.leases.ready(message.slot)
        picture = self.ring.frame(message.slot)
        self.seen.append(Seen(message, read_number(picture), (picture.shape[1], picture.shape[0])))
        self.leases.discard(message.slot)
        if not self.holding:
            self.grant_all(message.camera)

    def health(self, message: Health) -> None:
        self.told.append(message.state)
        self.healths.append(message)

    def rendered(self, message: Rendered, jpeg: bytes) -> None:
        self.pictures.append((message, jpeg))

    def capture_lost(self, camera: CameraName, reason: str) -> None:
        self.told.append("lost")
        self.lost.append(reason)
        self.leases.reclaim_writer()

    def states(self) -> list[str]:
        return [message.state for message in self.healths]

    def ended(self) -> bool:
        return "ended" in self.states()

    def reason(self) -> str:
        return self.healths[-1].reason if self.healths else ""


@pytest.fixture
def logged() -> list[dict]:
    return []


@pytest.fixture
def handle(logged: list[dict]) -> Iterator[CaptureHandle]:
    spawner = Spawner(lambda child, record: logged.append(dict(record)))
    made = CaptureHandle(spawner)
    made.start()
    yield made
    made.close()
    spawner.close()


@pytest.fixture
def taker(handle: CaptureHandle) -> Taker:
    return Taker(handle)
