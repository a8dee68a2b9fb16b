"""A capture process for each camera (``capture.process: per_camera``), behind the same port as the one for all.

A decoder that crashes or hangs then takes one camera with it, for some 30 MB more a camera. Each handle has its
own thread and its own heartbeat: one that stops is not hidden by the others. Any thread may call anything here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.capture.book import BEGINNING, Reached
from agent.capture.handle import CameraEvents, CaptureHandle, CaptureStatistics, Pulse
from agent.process.child import Spawner
from agent.process.messages import Render, SourceSpec
from agent.process.ring import RingMemory
from agent.types import CameraName


class CapturePool:
    """See the module. ``pulse`` makes the heartbeat of a camera's handle, by its name; ``still`` ends it."""

    def __init__(
        self,
        spawner: Spawner,
        *,
        pulse: Callable[[str], Pulse | None] = lambda _: None,
        still: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spawner = spawner
        self._pulse = pulse
        self._still = still
        self._lock = threading.Lock()
        self._handles: dict[CameraName, CaptureHandle] = {}
        self._started = False

    def start(self) -> None:
        """Start what is open already; what is opened later starts at once."""
        with self._lock:
            self._started = True
            handles = tuple(self._handles.values())
        for handle in handles:
            handle.start()

    def close(self) -> None:
        """End every process and thread. Idempotent."""
        with self._lock:
            handles, self._handles = tuple(self._handles.values()), {}
        for handle in handles:
            handle.close()

    def open(self, camera: CameraName, source: SourceSpec, events: CameraEvents, reached: Reached = BEGINNING) -> None:
        """Open a camera in a process of its own; ``reached`` is where it goes on.

        Raises :class:`ProgrammingError` where it is open already.
        """
        with self._lock:
            handle = self._handles.get(camera)
            if handle is None:
                name = _named(camera)
                handle = self._handles[camera] = CaptureHandle(self._spawner, pulse=self._pulse(name), name=name)
                start = self._started
            else:
                start = False  # it is open: the handle says so
        handle.open(camera, source, events, reached)
        if start:
            handle.start()

    def close_camera(self, camera: CameraName) -> Reached | None:
        """Close a camera and end its process, which is waited for; return how far it had come, None: it is not open."""
        with self._lock:
            handle = self._handles.pop(camera, None)
        if handle is None:
            return None
        reached = handle.close_camera(camera)
        handle.close()
        self._still(_named(camera))
        return reached

    def attach_ring(self, camera: CameraName, generation: int, ring: RingMemory) -> None:
        """Answer ``need_ring``."""
        if (handle := self._of(camera)) is not None:
            handle.attach_ring(camera, generation, ring)

    def detach_ring(self, camera: CameraName, generation: int) -> None:
        """Let the process forget a generation."""
        if (handle := self._of(camera)) is not None:
            handle.detach_ring(camera, generation)

    def grant(self, camera: CameraName, generation: int, slot: int) -> None:
        """Let the camera write into a slot."""
        if (handle := self._of(camera)) is not None:
            handle.grant(camera, generation, slot)

    def render(self, message: Render) -> None:
        """Have a picture made of a slot that is leased for it."""
        if (handle := self._of(message.camera)) is not None:
            handle.render(message)

    @property
    def pids(self) -> dict[CameraName, int | None]:
        """The processes' ids by camera."""
        with self._lock:
            return {camera: handle.pid for camera, handle in self._handles.items()}

    def memory_bytes(self) -> int:
        """Return the PSS of all processes together."""
        with self._lock:
            handles = tuple(self._handles.values())
        return sum(handle.memory_bytes() for handle in handles)

    def statistics(self) -> CaptureStatistics:
        """Return a snapshot: restarts of all processes, and why the last that had to be was."""
        with self._lock:
            found = [handle.statistics() for handle in self._handles.values()]
        reason = next((one.last_reason for one in found if one.last_reason), "")
        return CaptureStatistics(None, sum(one.restarts for one in found), reason, sum(one.cameras for one in found))

    def _of(self, camera: CameraName) -> CaptureHandle | None:
        with self._lock:
            return self._handles.get(camera)


def _named(camera: CameraName) -> str:
    """Return the name of a camera's process and heartbeat."""
    return f"capture-{camera}"
