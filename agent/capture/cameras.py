"""The cameras of the capture process: what the reader loop does for each message, and the watch over hung grabbers.

One thread, the reader loop's, calls everything here; grabbers are talked to through their own thread-safe methods. A
grabber that is overdue is abandoned and another one starts in its place; what cannot be abandoned, or has not come
back :data:`STUCK_S` after it was, ends the process (:class:`Stuck`), and the agent starts a fresh one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from agent.capture.grabber import Grabber, Position, Stuck
from agent.capture.slots import Slots
from agent.capture.source import Picture, Source
from agent.capture.view import viewed
from agent.clock import NS_PER_S, monotonic_ns
from agent.process.messages import (
    AttachRing,
    Close,
    DetachRing,
    Grant,
    Health,
    Message,
    Open,
    Points,
    Render,
    SourceSpec,
)
from agent.process.ring import RingMemory
from agent.types import CameraName

log = structlog.get_logger(part="capture")

STUCK_S = 30.0

Sources = Mapping[str, Callable[[SourceSpec], Source]]


@dataclass
class _Camera:
    opened: Open
    slots: Slots
    grabber: Grabber


@dataclass
class _Abandoned:
    grabber: Grabber
    since_ns: int


@dataclass
class Cameras:
    """All cameras of this process. ``sources`` makes a source by the kind its spec names."""

    sources: Sources
    send: Callable[[Message], None]
    stuck_s: float = STUCK_S
    _open: dict[CameraName, _Camera] = field(default_factory=dict)
    _abandoned: list[_Abandoned] = field(default_factory=list)

    def open(self, message: Open) -> None:
        """Start the camera; one of the same name is closed first."""
        self.close(Close(message.camera))
        slots = Slots()
        position = Position(message.start_index, message.start_sequence, message.start_skipped)
        self._open[message.camera] = _Camera(message, slots, self._start(message, slots, position))

    def close(self, message: Close) -> None:
        """Stop the camera: nothing is said about it any more. Its thread ends by itself."""
        camera = self._open.pop(message.camera, None)
        if camera is not None:
            camera.grabber.stop()
            camera.slots.close()
            self._abandoned.append(_Abandoned(camera.grabber, monotonic_ns()))

    def attach(self, message: AttachRing, fd: int) -> None:
        """Take a ring over, or close it. Raises :class:`ChildError` where it is no such ring."""
        ring = RingMemory.attach(fd, message.width, message.height, message.slots, writable=True)
        camera = self._open.get(message.camera)
        if camera is None:
            ring.close()
        elif not camera.slots.attach(message.generation, ring):
            log.info("capture.ring_unasked", camera=message.camera, generation=message.generation)

    def detach(self, message: DetachRing) -> None:
        """Forget a generation."""
        if (camera := self._open.get(message.camera)) is not None:
            camera.slots.detach(message.generation)

    def grant(self, message: Grant) -> None:
        """Pass a granted slot to the grabber."""
        if (camera := self._open.get(message.camera)) is not None:
            camera.slots.grant(message.generation, message.slot)

    def picture_of(self, message: Render) -> tuple[Picture | None, tuple[Points, ...]]:
        """Return the frame that a picture is wanted of (None: it is gone), and the masks that must lie over it."""
        camera = self._open.get(message.camera)
        if camera is None:
            return None, ()
        return camera.slots.look(message.generation, message.slot), camera.opened.source.view.masks

    def check(self, now_ns: int) -> None:
        """Replace grabbers that hang, tell the others' health. Raises :class:`Stuck` where the process has to end."""
        for camera in self._open.values():
            if camera.grabber.crashed():
                raise Stuck(camera.grabber.camera, "its thread ended by a bug, see the last words")
            position = camera.grabber.abandon(now_ns)
            if position is not None:
                self._replace(camera, position, now_ns)
            else:
                camera.grabber.report(now_ns)
        self._abandoned = [gone for gone in self._abandoned if not gone.grabber.join(0)]
        for gone in self._abandoned:
            if now_ns - gone.since_ns > self.stuck_s * NS_PER_S:
                raise Stuck(gone.grabber.camera, f"a call has hung for more than {self.stuck_s:g} s after it was left")

    def stop(self, timeout_s: float) -> bool:
        """Close every camera; False where a thread has not ended in time (then do not tear the interpreter down)."""
        for name in tuple(self._open):
            self.close(Close(name))
        deadline_ns = monotonic_ns() + round(timeout_s * NS_PER_S)
        threads = [gone.grabber for gone in self._abandoned]
        return all(thread.join(max(0.0, (deadline_ns - monotonic_ns()) / NS_PER_S)) for thread in threads)

    def _start(self, opened: Open, slots: Slots, position: Position) -> Grabber:
        make = self.sources[opened.source.kind]
        grabber = Grabber(
            opened.camera, opened.source, viewed(make(opened.source), opened.source.view), slots, self.send,
            position=position, chance=random.random,
        )  # fmt: skip
        grabber.start()
        return grabber

    def _replace(self, camera: _Camera, position: Position, now_ns: int) -> None:
        name = camera.opened.camera
        log.warning("capture.read_abandoned", camera=name)
        self.send(Health(name, "stalled", "a read hangs; it was abandoned and the camera is opened anew"))
        self._abandoned.append(_Abandoned(camera.grabber, now_ns))
        camera.grabber = self._start(camera.opened, camera.slots, position)
