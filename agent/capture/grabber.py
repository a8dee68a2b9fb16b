"""One camera's thread: opens its source, keeps it open, and puts its frames into granted slots.

The thread ``lookout-grab-<camera>`` owns the source. A live source's frame that finds no granted slot is dropped and
counted; so is that of a file played in real time. In lossless mode the grabber waits for a slot instead. Frames are
decoded straight into the slot; where the size is another one, the picture is kept, a ring of its size is asked for,
and (unless the source is live) the picture waits for it.

Native code can hang. The reader loop ``abandon``s a grabber whose call is overdue: whatever the call brings when it
comes back after all is thrown away. Only ``open``, ``grab`` and ``close`` can be abandoned: a thread in the middle of
writing into a slot cannot be made to stop, so there the process has to end (:class:`Stuck`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import structlog

from agent.capture.pace import Pace, sane_fps
from agent.capture.reconnect import Backoff, Reconnect
from agent.capture.slots import Slot, Slots
from agent.capture.source import CameraStalled, Picture, Source
from agent.capture.watching import Watching
from agent.clock import NS_PER_S, monotonic_ns, utc_ms
from agent.errors import CameraError, ChildError
from agent.process.messages import Frame, Health, Message, NeedRing, SourceSpec
from agent.process.ring import MAX_SIDE
from agent.redact import redact
from agent.types import CameraName
from agent.vision.motion import Motion

log = structlog.get_logger(part="capture")

State = Literal["opening", "streaming", "stalled", "failed", "ended"]


@dataclass(frozen=True)
class Position:
    """Where a camera has come to: the next frame's index in its source, its sequence, and the frames dropped so far."""

    index: int = 0
    sequence: int = 0
    skipped: int = 0


class Stuck(ChildError):
    """A camera's thread is beyond help: only the end of the process, and a fresh one, brings the camera back."""

    code = "camera_hung"

    def __init__(self, camera: CameraName, what: str) -> None:
        super().__init__(f"camera {camera}: {what}")
        self.camera = camera


class _Stopped(Exception):
    """The grabber was stopped or abandoned: unwind, say nothing more."""


def _motion(spec: SourceSpec) -> Motion | None:
    """Return what measures motion, None where nobody asked for it."""
    asked = spec.motion
    if asked is None:
        return None
    return Motion(contrast=asked.contrast, include=asked.include, exclude=asked.exclude)


def _is_watched(source: Source, spec: SourceSpec) -> bool:
    """Whether the pictures' health says something: those of a camera, or of what plays like one."""
    return source.live or (spec.kind != "images" and spec.pace == "realtime")


class Grabber:
    """The thread of one camera. ``send`` is thread-safe; ``chance`` gives a random number in 0..1."""

    def __init__(
        self,
        camera: CameraName,
        spec: SourceSpec,
        source: Source,
        slots: Slots,
        send: Callable[[Message], None],
        *,
        position: Position,
        chance: Callable[[], float],
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        self.camera = camera
        self._spec = spec
        self._source = source
        self._slots = slots
        self._send = send
        self._chance = chance
        self._reconnect = Reconnect(backoff)
        self._position = position
        self._gate = threading.Lock()  # what is said and written happens inside it, or not at all once stopped
        self._stop = threading.Event()
        self._writing = False
        self._started = False
        self._finished = False
        self._deadline_ns: int | None = None
        self._state: tuple[State | None, str] = (None, "")
        self._streaming_ns: int | None = None
        self._declared_fps = 0.0
        self._watching = Watching() if _is_watched(source, spec) else None
        self._motion = _motion(spec)
        self._thread = threading.Thread(target=self._run, name=f"lookout-grab-{camera}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._started = True

    def stop(self) -> None:
        """Say nothing more and end as soon as the source's call returns. Does not wait."""
        with self._gate:
            self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False where it has not ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def crashed(self) -> bool:
        """Tell whether the thread ended by a bug; its traceback went to stderr."""
        return self._started and not self._thread.is_alive() and not self._finished

    def abandon(self, now_ns: int) -> Position | None:
        """Leave a grabber whose call is overdue to itself; return where another one goes on. None: nothing is overdue.

        Raises :class:`Stuck` where it is writing into a slot.
        """
        with self._gate:
            if self._deadline_ns is None or now_ns <= self._deadline_ns:
                return None
            if self._writing:
                raise Stuck(self.camera, "hangs while it writes a frame")
            self._stop.set()
            return self._position

    def report(self, now_ns: int) -> None:
        """Tell what became of the pictures' health, where the camera streams. The reader loop calls it each second."""
        if self._watching is None:
            return
        with self._gate:
            if self._stop.is_set() or self._state[0] != "streaming":
                return
            found = self._watching.news(now_ns)
            if found is not None:
                self._send(
                    Health(self.camera, "streaming", "", self._declared_fps, found.conditions, found.changed_fps)
                )

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(_Stopped):
            while not self._attempt():
                pass
        self._finished = True

    def _attempt(self) -> bool:
        """Open and stream once; True after the last frame of a source that ends, False to try again."""
        self._streaming_ns = None
        try:
            self._stream()
        except CameraError as error:
            state: State = "stalled" if isinstance(error, CameraStalled) else "failed"
            reason = redact(error.message)
        else:
            self._tell("ended")
            return True
        finally:
            with self._patience():
                self._source.close()
        lived_ns = 0 if self._streaming_ns is None else monotonic_ns() - self._streaming_ns
        delay_s = self._reconnect.failed(lived_ns / NS_PER_S, self._chance())
        self._tell(state, reason)
        log.warning(
            "capture.retry", camera=self.camera, state=state, reason=reason,
            delay_s=round(delay_s, 2), failures=self._reconnect.failures,
        )  # fmt: skip
        if self._stop.wait(delay_s):
            raise _Stopped
        return False

    def _stream(self) -> None:
        """Hand frames over until the end of a source that is not looped. Raises CameraError, _Stopped."""
        self._tell("opening")
        if self._watching is not None:
            self._watching.reopened()
        self._open(self._position.index)
        pace = None
        if not self._source.live and self._spec.pace == "realtime":
            pace = Pace(sane_fps(self._spec.fps, self._source.fps))
        grabbed = 0
        while True:
            with self._patience():
                index = self._source.grab()
            if index is None:
                if not grabbed and self._position.index == 0:
                    raise CameraError(f"{self._spec.location}: holds no frame that can be read")
                if not self._spec.loop:
                    return
                self._rewind()
                grabbed = 0
                continue
            grabbed += 1
            self._streaming(pace)
            if self._source.live or index >= self._position.index:
                self._hand_over(index, pace)

    def _open(self, start_index: int) -> None:
        with self._patience():
            self._source.open(start_index)

    def _rewind(self) -> None:
        """Start over: by opening anew, for seeking to the start cannot be trusted in every container."""
        self._position = Position(0, self._position.sequence, self._position.skipped)
        with self._patience():
            self._source.close()
        self._open(0)

    def _hand_over(self, index: int, pace: Pace | None) -> None:
        """Get the grabbed frame to the agent, or drop it."""
        if pace is not None:
            self._sleep_until(pace.due_ns(monotonic_ns()))
        if self._watching is not None:
            self._watching.came(monotonic_ns())
        slot = self._slots.wait() if self._waits() else self._slots.take()
        if slot is None and not self._may_need_ring():
            self._skip(index)
            return
        at_ns, at_utc_ms = monotonic_ns(), utc_ms()
        picture = self._retrieve(slot)
        if slot is None or picture is not slot.memory:
            slot = self._place(picture, slot, pace)
            if slot is None:
                self._skip(index)
                return
        if self._watching is not None:
            self._watching.look(slot.memory, at_ns)
        sequence = self._position.sequence
        frame = Frame(
            camera=self.camera, generation=slot.generation, slot=slot.number, sequence=sequence,
            source_index=sequence if self._source.live else index,
            at_ns=at_ns, at_utc_ms=at_utc_ms, skipped=self._position.skipped,
            motion=1.0 if self._motion is None else self._motion(slot.memory, at_ns),
        )  # fmt: skip
        with self._said():
            self._send(frame)
            self._position = Position(index + 1, sequence + 1, self._position.skipped)

    def _waits(self) -> bool:
        return not self._source.live and self._spec.pace == "lossless"

    def _may_need_ring(self) -> bool:
        """Without a ring the frame's size must be looked at, once; a live source then drops frames until it comes."""
        if self._slots.has_ring():
            return False
        return not (self._source.live and self._slots.waiting_for_ring())

    def _place(self, picture: Picture, unfit: Slot | None, pace: Pace | None) -> Slot | None:
        """Find a slot of the picture's size and copy it there; None where a live source's picture has to be dropped."""
        if picture.ndim != 3 or picture.shape[2] != 3 or max(picture.shape) > MAX_SIDE:
            raise CameraError(f"{self._spec.location}: delivers frames of shape {picture.shape}, which cannot be used")
        if unfit is not None:
            self._slots.give_back(unfit)
        size = (picture.shape[1], picture.shape[0])
        if self._slots.want(size):
            with self._said():
                self._send(NeedRing(self.camera, *size))
        if self._source.live:
            return None
        slot = self._slots.wait(size)
        if slot is None:
            raise _Stopped
        if pace is not None:
            pace.restart(monotonic_ns())
        with self._writing_slot():
            np.copyto(slot.memory, picture)
        return slot

    def _retrieve(self, slot: Slot | None) -> Picture:
        with self._writing_slot(), self._patience():
            return self._source.retrieve(None if slot is None else slot.memory)

    def _skip(self, index: int) -> None:
        with self._said():
            self._position = Position(index + 1, self._position.sequence, self._position.skipped + 1)

    def _sleep_until(self, due_ns: int) -> None:
        if self._stop.wait(max(0, due_ns - monotonic_ns()) / NS_PER_S):
            raise _Stopped

    def _streaming(self, pace: Pace | None) -> None:
        if self._streaming_ns is None:
            self._streaming_ns = monotonic_ns()
            fps = self._source.fps if pace is None else sane_fps(self._spec.fps, self._source.fps)
            self._declared_fps = fps
            self._tell("streaming", fps=fps)

    def _tell(self, state: State, reason: str = "", fps: float = 0.0) -> None:
        """Report a change of state. A camera that keeps failing is not reported as opening in between."""
        before, _ = self._state
        if (state, reason) == self._state or (state == "opening" and before in ("failed", "stalled")):
            return
        self._state = (state, reason)
        with self._said():
            self._send(Health(self.camera, state, reason, fps))

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Say something, unless stopped. An agent that is gone or does not listen stops the grabber."""
        with self._gate:
            if self._stop.is_set():
                raise _Stopped
            try:
                yield
            except ChildError as error:
                self._stop.set()
                log.warning("capture.agent_unreachable", camera=self.camera, reason=error.message)
                raise _Stopped from error

    @contextlib.contextmanager
    def _writing_slot(self) -> Iterator[None]:
        with self._gate:
            if self._stop.is_set():
                raise _Stopped
            self._writing = True
        try:
            yield
        finally:
            with self._gate:
                self._writing = False

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        """Bound a call of the source, which may hang. Nothing more is done with what an abandoned call brought."""
        self._deadline_ns = monotonic_ns() + round(self._source.patience_s * NS_PER_S)
        try:
            yield
        finally:
            with self._gate:  # so that abandon() either sees the call end or is seen below
                self._deadline_ns = None
        if self._stop.is_set():
            raise _Stopped
