"""The cameras' side of a pipeline: frames that are ready, slots that are granted, whose turn it is, what was left out.

A live camera always holds one granted slot and keeps only its newest ready frame: an older one is replaced and counted
as skipped, by us here or by capture where it got no slot. A lossless camera loses nothing: its frames are kept in order
and it is granted slots only :data:`READ_AHEAD` frames ahead, so that it waits. One owner: the pipeline's thread.

A frame that the motion gate leaves out is freed at once and counted as gated; it never takes the place of one that is
ready. An upper bound of the frame rate is kept by granting later: capture then drops frames (skipped), or waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from agent.clock import NS_PER_S
from agent.errors import LookoutError
from agent.loop.cadence import Cadence
from agent.loop.plan import CameraPlan
from agent.loop.records import CameraHealth, CameraStatistics
from agent.loop.rings import Generation, Rings, slots_for
from agent.loop.scheduler import Scheduler
from agent.loop.stats import Rate
from agent.process.messages import Condition, Frame, Health, Render
from agent.process.ring import RingMemory
from agent.types import CameraName, FrameRef
from agent.vision.gate import Gate
from agent.vision.whynot import Sights

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

    def render(self, message: Render) -> None:
        """Have a picture made of a slot that is leased for it."""
        ...


class Camera:
    """What is known of one camera, and its counters."""

    def __init__(self, name: CameraName, plan: CameraPlan, *, lossless: bool) -> None:
        self.name = name
        self.lossless = lossless
        self.writable = False
        self.ready: deque[FrameRef] = deque()
        self.health: CameraHealth = "opening"
        self.reason = ""
        self.size: tuple[int, int] | None = None
        self.rate = Rate()
        self.captured = self.answered = self.failed = self.lost = self.replaced = self.gated = 0
        self.gate = None if plan.gate is None else Gate(plan.gate)
        self.cadence = Cadence(plan.max_fps)
        self.known = False
        """Objects were seen of late: the gate lets them be looked at again sooner."""
        self.newest_ns: int | None = None
        self.conditions: tuple[Condition, ...] = ()
        self.changed_fps: float | None = None
        self._dropped = 0
        self._dropped_before = 0

    @property
    def skipped(self) -> int:
        """Live frames that a newer one replaced, here or in capture."""
        return self.replaced + self._dropped_before + self._dropped

    @property
    def waiting(self) -> int:
        """Frames that are ready or in flight."""
        return self.captured - self.answered - self.failed - self.lost - self.replaced - self.gated

    def note_dropped(self, since_opened: int) -> None:
        """Take over capture's own count, which starts again when the camera is opened again."""
        if since_opened < self._dropped:
            self._dropped_before += self._dropped
        self._dropped = since_opened

    def reopened(self) -> None:
        """Keep what was counted so far: capture counts from 0 again."""
        self._dropped_before += self._dropped
        self._dropped = 0

    def statistics(self, now_ns: int, sights: Sights | None = None) -> CameraStatistics:
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
            gated=self.gated,
            idle_s=None if self.newest_ns is None else self._idle_s(now_ns, self.newest_ns),
            sights=sights,
            conditions=self.conditions,
            changed_fps=self.changed_fps,
        )

    def _idle_s(self, now_ns: int, newest_ns: int) -> float:
        """Return how long a frame has been due: one that its bound does not allow yet is not missed."""
        return max(0.0, (now_ns - newest_ns - self.cadence.interval_ns) / NS_PER_S)


class Intake:
    """All cameras of one pipeline."""

    def __init__(
        self,
        cameras: Sequence[CameraName],
        *,
        lossless: Collection[CameraName],
        in_flight: int,
        capture: CameraPort,
        plans: Mapping[CameraName, CameraPlan],
    ) -> None:
        known = {name: plans.get(name, CameraPlan()) for name in cameras}
        self.cameras = {name: Camera(name, plan, lossless=name in lossless) for name, plan in known.items()}
        self._rings = Rings(slots_for(in_flight))
        self._scheduler = Scheduler(cameras, {name: plan.weight for name, plan in known.items()})
        self._capture = capture
        self._grant_due_ns: int | None = None
        """When a bounded camera may be granted again, the first of them; None: nobody waits for that."""

    @property
    def skipped(self) -> int:
        """Of all cameras."""
        return sum(camera.skipped for camera in self.cameras.values())

    @property
    def lost(self) -> int:
        """Of all cameras."""
        return sum(camera.lost for camera in self.cameras.values())

    @property
    def gated(self) -> int:
        """Of all cameras."""
        return sum(camera.gated for camera in self.cameras.values())

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
        camera.cadence.give_back()  # what was granted before was granted in vain
        self._capture.attach_ring(name, generation.number, generation.memory)
        self._grant(camera)
        return generation, self._rings.drop_unused(name)

    def frame(self, now_ns: int, message: Frame, *, needed: bool = False) -> bool:
        """Take a frame that capture has written; return whether the gate left it out (``needed``: it must not)."""
        camera = self.cameras[message.camera]
        camera.note_dropped(message.skipped)
        frame = self._rings.written(message)
        if frame is None:
            return False
        camera.captured += 1
        camera.newest_ns = frame.at_ns
        gate = camera.gate
        if gate is not None and not gate.passes(message.motion, now_ns, known=camera.known, needed=needed):
            self._rings.discard(frame)
            camera.gated += 1
            self._grant(camera)
            return True
        if camera.ready and not camera.lossless:
            self._rings.discard(camera.ready.popleft())
            camera.replaced += 1
        camera.ready.append(frame)
        self._grant(camera)
        return False

    def health(self, message: Health) -> None:
        """Take note of a camera's state."""
        camera = self.cameras[message.camera]
        camera.health, camera.reason = message.state, message.reason
        camera.conditions, camera.changed_fps = message.conditions, message.changed_fps

    def capture_lost(self, name: CameraName, reason: str) -> None:
        """Capture was reaped: what it was writing is void, what it had written stays; it will ask for a ring again."""
        camera = self.cameras[name]
        camera.health, camera.reason, camera.writable = "lost", reason, False
        camera.conditions, camera.changed_fps = (), None
        camera.reopened()
        self._rings.forbid_writing(name)

    # --- frame rates -------------------------------------------------------------------------------------------------

    def limit(self, now_ns: int, limits: Mapping[CameraName, float | None]) -> None:
        """Bound the frame rates of these cameras (None: no bound)."""
        for name, fps in limits.items():
            camera = self.cameras[name]
            camera.cadence.limit(fps, now_ns)
            self._grant(camera)

    @property
    def grant_due_ns(self) -> int | None:
        """When :meth:`grant_due` has something to do; None: nothing is awaited."""
        return self._grant_due_ns

    def grant_due(self, now_ns: int) -> None:
        """Grant slots to the cameras whose bound allows another frame by now. Costs nothing where none is bounded."""
        if self._grant_due_ns is None or now_ns < self._grant_due_ns:
            return
        self._grant_due_ns = None
        for camera in self.cameras.values():
            camera.cadence.refill(now_ns)
            self._grant(camera)

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

    def lend(self, frame: FrameRef, reader: str) -> None:
        """Let a reader beside the workers read a frame that is ready."""
        self._rings.lend(frame, reader)

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
            due_ns = camera.cadence.due_ns
            if due_ns is not None:
                self._grant_due_ns = due_ns if self._grant_due_ns is None else min(self._grant_due_ns, due_ns)
                return
            granted = self._rings.grant(camera.name)
            if granted is None:
                return
            camera.cadence.take()
            self._capture.grant(camera.name, *granted)
