"""The cameras' side of a pipeline: frames that are ready, slots that are granted, whose turn it is, what was left out.

A live camera always holds one granted slot and keeps only its newest ready frame: an older one is replaced and counted
as skipped, by us here or by capture where it got no slot. A lossless camera loses nothing: its frames are kept in order
and it is granted slots only :data:`READ_AHEAD` frames ahead, so that it waits. One owner: the pipeline's thread.

A frame that the motion gate leaves out is freed at once and counted as gated; it never takes the place of one that is
ready. An upper bound of the frame rate is kept by granting later: capture then drops frames (skipped), or waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from agent.errors import LookoutError
from agent.loop.camera import Camera, Past
from agent.loop.plan import CameraPlan
from agent.loop.rings import Generation, Rings, slots_for
from agent.loop.scheduler import Scheduler
from agent.process.messages import Frame, Health, Render
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

    def render(self, message: Render) -> None:
        """Have a picture made of a slot that is leased for it."""
        ...


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
        self._past = Past()
        self._grant_due_ns: int | None = None
        """When a bounded camera may be granted again, the first of them; None: nobody waits for that."""

    @property
    def skipped(self) -> int:
        """Of all cameras, those that were removed as well: it never goes down."""
        return self._past.skipped + sum(camera.skipped for camera in self.cameras.values())

    @property
    def lost(self) -> int:
        """Likewise."""
        return self._past.lost + sum(camera.lost for camera in self.cameras.values())

    @property
    def gated(self) -> int:
        """Likewise."""
        return self._past.gated + sum(camera.gated for camera in self.cameras.values())

    @property
    def captured(self) -> int:
        """Likewise."""
        return self._past.captured + sum(camera.captured for camera in self.cameras.values())

    @property
    def answered(self) -> int:
        """Likewise."""
        return self._past.answered + sum(camera.answered for camera in self.cameras.values())

    @property
    def failed(self) -> int:
        """Likewise."""
        return self._past.failed + sum(camera.failed for camera in self.cameras.values())

    # --- cameras that come and go ------------------------------------------------------------------------------------

    def take(self, name: CameraName, plan: CameraPlan, *, lossless: bool) -> None:
        """Take a camera in, or let one that is known take part in another way."""
        known = self.cameras.get(name)
        if known is None:
            self.cameras[name] = Camera(name, plan, lossless=lossless)
        else:
            known.follow(plan, lossless=lossless)
            self._grant(known)
        self._scheduler.add(name, plan.weight)

    def remove(self, name: CameraName) -> Iterable[Generation]:
        """Forget a camera of which no frame is ready or in flight; return the generations that are gone with it."""
        camera = self.cameras.pop(name)
        self._past.add(camera)
        self._scheduler.remove(name)
        self._rings.retire(name)
        return self._rings.drop_unused(name)

    def closed(self, name: CameraName) -> int:
        """Take note that capture closed the camera: what it was writing is void. Return its newest generation's number.

        Whatever comes later comes in a newer generation.
        """
        self.cameras[name].silent("opening", "")
        self._rings.forbid_writing(name)
        newest = self._rings.newest(name)
        return 0 if newest is None else newest.number

    def drawable(self, frame: FrameRef) -> bool:
        """Return whether capture has the ring in which the frame lies: it may be asked for a picture of it."""
        camera, newest = self.cameras.get(frame.camera), self._rings.newest(frame.camera)
        return camera is not None and camera.writable and newest is not None and newest.number == frame.generation

    def drop_ready(self, name: CameraName) -> None:
        """Give up the frames of a camera that are ready: nobody will look at them."""
        camera = self.cameras[name]
        while camera.ready:
            self._rings.discard(camera.ready.popleft())
            camera.replaced += 1

    def resize(self, in_flight: int) -> list[Generation]:
        """Make every ring anew, for so many frames in flight; return the new ones, for the workers.

        What capture is writing into the former ones still counts. One that cannot be made stays as it is.
        """
        self._rings.resize(slots_for(in_flight))
        made = []
        for camera in self.cameras.values():
            if camera.size is None or not camera.writable:
                continue  # it gets a ring when it asks for one
            try:
                generation = self._rings.renew(camera.name, *camera.size, writing=True)
            except LookoutError as error:
                log.error("ring.refused", camera=camera.name, reason=error.message)  # noqa: TRY400 - idem
                continue
            made.append(generation)
        return made

    def begin_writing(self, generation: Generation) -> None:
        """Let capture write into a ring that it did not ask for: the workers have it by now."""
        camera = self.cameras[generation.camera]
        camera.cadence.give_back()
        self._capture.attach_ring(camera.name, generation.number, generation.memory)
        self._grant(camera)

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
        while camera.ready and not camera.lossless:
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
        self.cameras[name].silent("lost", reason)
        self._rings.forbid_writing(name)

    # --- frame rates -------------------------------------------------------------------------------------------------

    def limit(self, now_ns: int, limits: Mapping[CameraName, float | None]) -> None:
        """Bound the frame rates of these cameras (None: no bound)."""
        for name, fps in limits.items():
            camera = self.cameras.get(name)
            if camera is not None:  # else it was removed meanwhile
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
        camera = self.cameras.get(frame.camera)
        if camera is not None:  # else it was removed, and a reader beside the workers held its last frame
            self._grant(camera)
        return self._rings.drop_unused(frame.camera)

    def reclaim(self, reader: str) -> list[Generation]:
        """End all leases of a reader that was reaped; return the generations that are gone with them."""
        self._rings.reclaim(reader)
        for camera in self.cameras.values():
            self._grant(camera)
        return list(self._rings.drop_all_unused())

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
