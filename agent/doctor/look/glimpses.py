"""Opens cameras for one picture each, in the product's own capture process: a driver that hangs does so there.

Only for cameras that no agent has. One process serves all of them; it starts with the first and is killed in the end.
"""

from __future__ import annotations

import threading

from agent.capture.handle import CaptureHandle
from agent.doctor.judge.cameras import Glimpse
from agent.errors import CameraError, StorageError
from agent.process.child import Spawner
from agent.process.messages import Frame, Health, Rendered, SourceSpec
from agent.process.ring import RingMemory
from agent.types import CameraName

SLOTS = 2
STEP = 16
"""Every so many rows and columns are looked at for the brightness."""


class Glimpses:
    """Opens cameras on demand; any thread."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self._lock = threading.Lock()
        self._handle: CaptureHandle | None = None

    def of(self, camera: CameraName, source: SourceSpec, timeout_s: float) -> Glimpse:
        """Open the camera and return what came of it: a picture, its first failure, or nothing in time."""
        handle = self._started()
        taker = _Taker(handle, camera)
        handle.open(camera, source, taker)
        try:
            return taker.wait(timeout_s)
        finally:
            handle.close_camera(camera)
            taker.close()

    def close(self) -> None:
        """End the process, whatever it is at."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _started(self) -> CaptureHandle:
        with self._lock:
            if self._handle is None:
                self._handle = CaptureHandle(self._spawner, name="doctor-capture")
                self._handle.start()
            return self._handle


class _Taker:
    """Takes one frame of one camera; its events come on the handle's thread."""

    def __init__(self, handle: CaptureHandle, camera: CameraName) -> None:
        self._handle = handle
        self._camera = camera
        self._generation = 0
        self._ring: RingMemory | None = None
        self._done = threading.Event()
        self._seen = Glimpse()

    def wait(self, timeout_s: float) -> Glimpse:
        """Return what came."""
        if self._done.wait(timeout_s):
            return self._seen
        return Glimpse(problem=self._seen.problem or f"gave no picture within {timeout_s:g} s")

    def close(self) -> None:
        """Free the memory."""
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    # --- capture's events --------------------------------------------------------------------------------------------

    def need_ring(self, camera: CameraName, width: int, height: int) -> None:
        """Give it room for a frame or two."""
        if self._done.is_set():
            return
        self.close()
        self._generation += 1
        try:
            self._ring = RingMemory.create(width, height, SLOTS)
        except (CameraError, StorageError) as error:
            self._end(Glimpse(problem=error.message))
            return
        self._handle.attach_ring(camera, self._generation, self._ring)
        for slot in range(SLOTS):
            self._handle.grant(camera, self._generation, slot)

    def frame(self, message: Frame) -> None:
        """Look at the first one."""
        ring = self._ring
        if ring is None or self._done.is_set() or message.generation != self._generation or message.slot >= SLOTS:
            return
        brightness = float(ring.frame(message.slot)[::STEP, ::STEP].mean())
        self._end(Glimpse((ring.width, ring.height), round(brightness, 1)))

    def health(self, message: Health) -> None:
        """Take its first failure as the answer: the next attempt would only come later."""
        if message.state in ("failed", "stalled"):
            self._end(Glimpse(problem=message.reason or message.state))

    def rendered(self, message: Rendered, jpeg: bytes) -> None:
        """Nobody asks for pictures."""

    def capture_lost(self, camera: CameraName, reason: str) -> None:  # noqa: ARG002 - the protocol's signature
        """Note that the process ended: maybe by another camera, so this one gets another chance in the next process."""
        if not self._done.is_set():
            self._seen = Glimpse(problem=f"the capture process ended while it was opened: {reason}")

    def _end(self, seen: Glimpse) -> None:
        if not self._done.is_set():
            self._seen = seen
            self._done.set()
