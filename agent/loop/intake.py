"""The cameras' side of a pipeline: frames that are ready, slots that are granted, whose turn it is, what was left out.

A live camera always holds one granted slot and keeps only its newest ready frame: an older one is replaced and counted
as skipped, by us here or by capture where it got no slot. A lossless camera loses nothing: its frames are kept in order
and it is granted slots only :data:`READ_AHEAD` frames ahead, so that it waits. One owner: the pipeline's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import structlog

from agent.errors import LookoutError
from agent.loop.records import CameraHealth, CameraStatistics
from agent.loop.rings import Generation, Rings, slots_for
from agent.loop.scheduler import Scheduler
from agent.loop.stats import Rate
from agent.process.messages import Frame, Health
from agent.process.ring import RingMemory
from agent.types import CameraName, FrameRef

log = structlog.get_logger(part="loop")

READ_AHEAD = 3
"""Frames of a lossless camera that are ready or being written: enough that a worker never waits for a decoder."""


class CameraPort(Protocol):
    """What a pipeline asks of capture. Neither call blocks; while capture is down they do nothing."""

    def attach_ring(self, camera: CameraName, generation: int, ring: RingMemory) -> None:
        """Hand capture the memory for frames of this generation."""
        ...

    def grant(self, camera: CameraName, generation: int, slot: int) -> None:
        """Let capture write this slot."""
        ...


class Camera:
    """What is known of one camera, and its counters."""

    def __init__(self, name: CameraName, *, lossless: bool) -> None:
        self.name = name
        self.lossless = lossless
        self.writable = False
        self.ready: deque[FrameRef] = deque()
        self.health: CameraHealth = "opening"
        self.reason = ""
        self.size: tuple[int, int] | None = None
        self.rate = Rate()
        self.captured = self.answered = self.failed = self.lost = self.replaced = 0
        self._dropped = 0
        self._dropped_before = 0

    @property
    def skipped(self) -> int:
        """Live frames that a newer one replaced, here or in capture."""
        return self.replaced + self._dropped_before + self._dropped

    def note_dropped(self, since_opened: int) -> None:
        """Take over capture's own count, which starts again when the camera is opened again."""
        if since_opened < self._dropped:
            self._dropped_before += self._dropped
        self._dropped = since_opened

    def reopened(self) -> None:
        """Keep what was counted so far: capture counts from 0 again."""
        self._dropped_before += self._dropped
        self._dropped = 0

    def statistics(self, now_ns: int) -> CameraStatistics:
        """Sum up."""
        return CameraStatistics(
            camera=self.name,
            health=self.health,
            reason=self.reason,
            size=self.size,
            fps=self.rate.per_second(now_ns),
            captured=self.captured,
            answered=self.answered,
            failed=self.failed,
            lost=self.lost,
            skipped=self.skipped,
            replaced=self.replaced,
        )


class Intake:
    """All cameras of one pipeline."""

    def __init__(
        self,
        cameras: Sequence[CameraName],
        *,
        lossless: Collection[CameraName],
        in_flight: int,
        capture: CameraPort,
    ) -> None:
        self.cameras = {name: Camera(name, lossless=name in lossless) for name in cameras}
        self._rings = Rings(slots_for(in_flight))
        self._scheduler = Scheduler(cameras)
        self._capture = capture

    @property
    def skipped(self) -> int:
        """Of all cameras."""
        return sum(camera.skipped for camera in self.cameras.values())

    @property
    def lost(self) -> int:
        """Of all cameras."""
        return sum(camera.lost for camera in self.cameras.values())

    # --- from capture ------------------------------------------------------------------------------------------------

    def need_ring(self, name: CameraName, width: int, height: int) -> tuple[Generation | None, Iterable[Generation]]:
        """Give the camera memory for its frames; return the new generation (None: refused), and those that are gone."""
        camera = self.cameras[name]
        try:
            generation = self._rings.renew(name, width, height)
        except LookoutError as error:
            log.error("ring.refused", camera=name, reason=error.message)  # noqa: TRY400 - no bug: the reason says it all
            camera.health, camera.reason, camera.writable = "failed", error.message, False
            return None, ()
        camera.size = (width, height)
        camera.writable = True
        self._capture.attach_ring(name, generation.number, generation.memory)
        self._grant(camera)
        return generation, self._rings.drop_unused(name)

    def frame(self, message: Frame) -> None:
        """Take a frame that capture has written."""
        camera = self.cameras[message.camera]
        camera.note_dropped(message.skipped)
        frame = self._rings.written(message)
        if frame is None:
            return
        camera.captured += 1
        if camera.ready and not camera.lossless:
            self._rings.discard(camera.ready.popleft())
            camera.replaced += 1
        camera.ready.append(frame)
        self._grant(camera)

    def health(self, message: Health) -> None:
        """Take note of a camera's state."""
        camera = self.cameras[message.camera]
        camera.health, camera.reason = message.state, message.reason

    def capture_lost(self, name: CameraName, reason: str) -> None:
        """Capture was reaped: what it was writing is void, what it had written stays; it will ask for a ring again."""
        camera = self.cameras[name]
        camera.health, camera.reason, camera.writable = "lost", reason, False
        camera.reopened()
        self._rings.forbid_writing(name)

    # --- to workers --------------------------------------------------------------------------------------------------

    def next_frame(self, reader: str) -> FrameRef | None:
        """Take the next ready frame and lease it to ``reader``; None: no camera has one."""
        name = self._scheduler.next(lambda camera: bool(self.cameras[camera].ready))
        if name is None:
            return None
        camera = self.cameras[name]
        frame = camera.ready.popleft()
        self._rings.lease(frame, reader)
        self._grant(camera)
        return frame

    def lease(self, frame: FrameRef, reader: str) -> None:
        """Let one more reader read a frame that is leased already."""
        self._rings.lease(frame, reader)

    def release(self, frame: FrameRef, reader: str) -> Iterable[Generation]:
        """End a lease; return the generations that are gone with it."""
        self._rings.release(frame, reader)
        self._grant(self.cameras[frame.camera])
        return self._rings.drop_unused(frame.camera)

    def reclaim(self, reader: str) -> list[Generation]:
        """End all leases of a reader that was reaped; return the generations that are gone with them."""
        self._rings.reclaim(reader)
        for camera in self.cameras.values():
            self._grant(camera)
        return [gone for name in self.cameras for gone in self._rings.drop_unused(name)]

    def generations(self) -> tuple[Generation, ...]:
        """Return every generation of which a frame may be asked for."""
        return self._rings.alive()

    def close(self) -> None:
        """Close every ring."""
        self._rings.close()

    def _grant(self, camera: Camera) -> None:
        """Let capture write as far ahead as the camera's kind allows, where slots are free."""
        if not camera.writable:
            return
        newest = self._rings.newest(camera.name)
        assert newest is not None
        ahead = READ_AHEAD - len(camera.ready) if camera.lossless else 1
        while len(newest.granted) < ahead:
            granted = self._rings.grant(camera.name)
            if granted is None:
                return
            self._capture.grant(camera.name, *granted)
