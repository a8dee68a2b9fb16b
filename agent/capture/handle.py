"""The agent's side of the capture process: starts it, keeps it running, passes its messages on.

The thread ``lookout-capture-reader`` owns the process from start to reaping and calls every event; the public methods
may be called from any thread. A process that dies, or says nothing for :data:`HUNG_S`, is killed and *reaped*, its
last messages are read to the end, and only then is ``capture_lost`` told: nobody writes into a granted slot any more.
Then another process starts (the first time at once) and every camera is opened one past the last frame that was handed
over, so that a lossless source goes on without a gap.

What the pipeline must hold to: after ``capture_lost`` it grants nothing of that camera until the next ``need_ring``,
and answers that one with a *new* generation. Until ``need_ring`` was told, attaching and granting are ignored.
"""

from __future__ import annotations

import dataclasses
import os
import random
import threading
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from agent.capture.book import BEGINNING, Book, Reached
from agent.capture.reconnect import Backoff, Reconnect
from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ChildError
from agent.process.channel import ChannelClosed
from agent.process.child import Child, ChildSpec, Spawner
from agent.process.messages import (
    PROTOCOL,
    AnyMessage,
    AttachRing,
    Close,
    Closed,
    DetachRing,
    Error,
    Frame,
    Grant,
    Health,
    Hello,
    Message,
    NeedRing,
    Render,
    Rendered,
    SourceSpec,
)
from agent.process.ring import RingMemory
from agent.types import CameraName

log = structlog.get_logger(part="capture")

HUNG_S = 3.0
MAX_PICTURE_BYTES = 8_000_000
DYING_S = 1.0
START_S = 30.0
"""How long the imports of a starting process may take: seconds on a Pi under load."""

SPEC = ChildSpec(
    "capture",
    "agent.capture.main",
    env={
        "MALLOC_ARENA_MAX": "2",  # an arena a thread would cost megabytes a camera
        "OPENCV_FFMPEG_IS_THREAD_SAFE": "1",  # it is, since 4.0; else one dead camera's opening blocks all others'
        "OPENCV_LOG_LEVEL": "ERROR",
        "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2",  # seconds; OpenCV has no call for it
    },
)
BACKOFF = Backoff(first_s=0.2, longest_s=5.0, settled_s=60.0, at_once=1)


class CameraEvents(Protocol):
    """Who gets a camera's messages; called on ``lookout-capture-reader``; must not block."""

    def need_ring(self, camera: CameraName, width: int, height: int) -> None:
        """Frames of this size are waiting for a ring: answer with ``attach_ring`` and grants."""

    def frame(self, message: Frame) -> None:
        """Take a frame: its slot is written and ready."""

    def health(self, message: Health) -> None:
        """Take note of a change of the camera's state."""

    def rendered(self, message: Rendered, jpeg: bytes) -> None:
        """Take a picture that was asked for by ``render``, or the reason why there is none (``problem``)."""

    def capture_lost(self, camera: CameraName, reason: str) -> None:
        """Take granted slots back: the process was reaped. The camera will be opened anew."""


class Pulse(Protocol):
    """The part of a heartbeat that the reader's thread calls."""

    def waiting(self, bound_s: float) -> None:
        """Say that nothing may happen for ``bound_s``."""


class CaptureStatistics(msgspec.Struct, frozen=True):
    """``restarts``: processes that had to be replaced; ``last_reason``: why the last one was, in words."""

    pid: int | None
    restarts: int
    last_reason: str
    cameras: int


class CaptureHandle:
    """The capture process as the agent sees it."""

    def __init__(
        self,
        spawner: Spawner,
        *,
        chance: Callable[[], float] = random.random,
        pulse: Pulse | None = None,
        name: str = "capture",
    ) -> None:
        self._spawner = spawner
        self._spec = dataclasses.replace(SPEC, name=name)
        self._pulse = pulse
        self._chance = chance
        self._lock = threading.Lock()
        self._telling = threading.RLock()  # held while an event is told; taken before the other lock
        self._book: Book[CameraEvents] = Book()
        self._child: Child | None = None
        self._listening = False  # the child has said hello
        self._restarts = 0
        self._last_reason = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lookout-{name}-reader", daemon=True)

    def start(self) -> None:
        """Start the thread, and by it the process. Cameras may be opened before or after."""
        self._thread.start()

    def close(self) -> None:
        """End process and thread. Idempotent."""
        self._stop.set()
        with self._lock:
            child = self._child
        if child is not None:
            child.close()
        if self._thread.is_alive():
            self._thread.join()

    def open(self, camera: CameraName, source: SourceSpec, events: CameraEvents, reached: Reached = BEGINNING) -> None:
        """Open a camera and keep it open; ``reached`` is where it goes on.

        Raises :class:`ProgrammingError` where it is open already.
        """
        with self._lock:
            self._send(self._book.add(camera, source, events, reached))

    def close_camera(self, camera: CameraName) -> Reached | None:
        """Close a camera and return how far it had come, None where it is not open. No event about it comes after this.

        Whoever opens it again there loses no frame of a source that waits, and sees none twice. Not to be called from
        within an event.
        """
        with self._telling, self._lock:
            reached = self._book.remove(camera, told=self._child is not None and self._listening)
            if reached is not None:
                self._send(Close(camera))
            return reached

    def attach_ring(self, camera: CameraName, generation: int, ring: RingMemory) -> None:
        """Answer ``need_ring``. Ignored while the process is down."""
        message = AttachRing(camera, generation, ring.width, ring.height, ring.slots)
        self._send_about(camera, message, ring.fd)

    def detach_ring(self, camera: CameraName, generation: int) -> None:
        """Let the process forget a generation. Attaching another one does that by itself."""
        self._send_about(camera, DetachRing(camera, generation))

    def grant(self, camera: CameraName, generation: int, slot: int) -> None:
        """Let the camera write into a slot. Ignored while the process is down: ``capture_lost`` follows."""
        self._send_about(camera, Grant(camera, generation, slot))

    def render(self, message: Render) -> None:
        """Have a picture made of a slot that is leased for it; ``rendered`` follows, or ``capture_lost``."""
        self._send_about(message.camera, message)

    @property
    def pid(self) -> int | None:
        """The process' id; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def memory_bytes(self) -> int:
        """Return the process' PSS; 0 while there is none."""
        child = self._child
        return 0 if child is None else child.memory_bytes()

    def statistics(self) -> CaptureStatistics:
        """Return a snapshot."""
        with self._lock:
            return CaptureStatistics(self.pid, self._restarts, self._last_reason, len(self._book))

    # --- sending ---------------------------------------------------------------------------------------------------

    def _send_about(self, camera: CameraName, message: Message, fd: int | None = None) -> None:
        with self._lock:
            if self._book.awaits_ring(camera):
                self._send(message, fd)

    def _send(self, message: Message, fd: int | None = None) -> None:
        """Send under the lock. A process that does not read is as good as hung: killed, the reader does the rest."""
        child = self._child
        if child is None or not self._listening:
            return
        try:
            child.channel.send(message, fd)
        except ChannelClosed:
            pass  # the reader sees the end too
        except ChildError as error:
            log.warning("capture.deaf", reason=error.message)
            child.kill()

    # --- the reader's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        reconnect = Reconnect(BACKOFF)
        while not self._stop.is_set():
            started_ns = monotonic_ns()
            reason = self._live_once()
            if self._stop.is_set():
                return
            delay_s = reconnect.failed((monotonic_ns() - started_ns) / NS_PER_S, self._chance())
            log.error("capture.lost", reason=reason, restart_in_s=round(delay_s, 2))
            self._tell_lost(reason)
            self._waiting(delay_s)
            self._stop.wait(delay_s)

    def _live_once(self) -> str:
        """Start a process and read from it until it is gone and reaped; return why, in words."""
        self._waiting(START_S)
        try:
            child = self._spawner.start(self._spec)
        except ChildError as error:
            return error.message
        with self._lock:
            self._child = child
        if self._stop.is_set():
            child.close()
        try:
            reason = self._converse(child)
        except ChannelClosed:
            reason = ""
        except ChildError as error:
            reason = error.message
        return self._bury(child, reason)

    def _converse(self, child: Child) -> str:
        """Pass messages on until the process is silent too long; return that in words. Raises :class:`ChildError`."""
        self._greet(child)
        with self._lock:
            self._listening = True
            for message in self._book.to_open():
                self._send(message)
        self._waiting(HUNG_S)
        while (received := child.channel.receive(HUNG_S)) is not None:
            self._dispatch(received)
            self._waiting(HUNG_S)
        return f"the capture process said nothing for {HUNG_S:g} s"

    def _bury(self, child: Child, reason: str) -> str:
        """See the process to its end, read what it still said, and return all that is known in words."""
        with self._lock:
            self._child, self._listening = None, False
        if not reason:  # it closed its channel, so it is ending; let it say how
            child.wait(DYING_S)
        child.kill()
        self._waiting(START_S)
        # One that SIGKILL cannot end sits in the kernel and never comes back to write: going on is safe.
        child.wait(START_S)
        self._read_rest(child)
        child.close()
        ending = child.describe_exit()
        return f"{reason}; {ending}" if reason else f"the capture process is gone: {ending}"

    def _waiting(self, bound_s: float) -> None:
        if self._pulse is not None:
            self._pulse.waiting(bound_s)

    def _greet(self, child: Child) -> None:
        received = child.channel.receive(START_S)
        if received is None:
            raise ChildError(f"the capture process did not come up within {START_S:g} s")
        hello = received[0]
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise ChildError(f"the capture process speaks another protocol than {PROTOCOL}: reinstall the agent")
        log.info("capture.started", pid=child.pid, versions=hello.versions)

    def _read_rest(self, child: Child) -> None:
        """Frames handed over just before the end count: they lie whole in their slots."""
        try:
            while (received := child.channel.receive(0)) is not None:
                self._dispatch(received)
        except ChildError:
            pass

    def _dispatch(self, received: tuple[AnyMessage, int | None]) -> None:
        message, fd = received
        if isinstance(message, Rendered):
            self._dispatch_picture(message, fd)
            return
        if fd is not None:
            os.close(fd)  # nobody asked for it
        if isinstance(message, Error):
            log.error("capture.error", camera=message.camera, code=message.code, reason=message.message)
        elif isinstance(message, Closed):
            with self._lock:
                self._book.closed(message.camera)
        elif isinstance(message, Health | NeedRing | Frame):
            with self._telling:
                events = self._noted(message)
                if events is not None:
                    _tell(events, message)

    def _dispatch_picture(self, message: Rendered, fd: int | None) -> None:
        message, jpeg = _read_picture(message, fd)
        with self._telling:
            events = self._noted(message)
            if events is not None:
                events.rendered(message, jpeg)

    def _noted(self, message: Health | NeedRing | Frame | Rendered) -> CameraEvents | None:
        with self._lock:
            return self._book.note(message)

    def _tell_lost(self, reason: str) -> None:
        with self._telling:
            with self._lock:
                self._restarts += 1
                self._last_reason = reason
                lost = self._book.lost()
            for camera, events in lost:
                events.capture_lost(camera, reason)


def _read_picture(message: Rendered, fd: int | None) -> tuple[Rendered, bytes]:
    """Read what came along, and close it; capture parses foreign input, so what it says of the size is checked."""
    problem, jpeg = message.problem, b""
    if fd is not None:
        try:
            jpeg = os.pread(fd, min(max(0, message.size_bytes), MAX_PICTURE_BYTES), 0)
        except OSError as error:
            problem = f"the picture cannot be read: {error.strerror}"
        finally:
            os.close(fd)
    if not problem and (not jpeg or len(jpeg) != message.size_bytes):
        problem = f"capture promised a picture of {message.size_bytes} bytes and sent {len(jpeg)}"
    return msgspec.structs.replace(message, problem=problem), b"" if problem else jpeg


def _tell(events: CameraEvents, message: Health | NeedRing | Frame) -> None:
    if isinstance(message, Frame):
        events.frame(message)
    elif isinstance(message, Health):
        events.health(message)
    else:
        events.need_ring(message.camera, message.width, message.height)
