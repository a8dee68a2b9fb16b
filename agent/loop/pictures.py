"""Pictures of a pipeline's cameras: which frame is drawn, with which boxes, and the lease it is read under.

One picture a camera at a time, because a ring has one slot to spare for it. Without boxes the next frame that comes is
taken; with boxes the next one that goes to the worker, and it is drawn when its answer is there (without them where
that does not come within :data:`PATIENCE_S`). The frame is leased to :data:`READER` from the moment it is chosen until
capture has answered, or was reaped. Everything here runs on the pipeline's thread; ``take`` of a wish is called there
exactly once, and must not block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from agent.clock import NS_PER_S
from agent.errors import CameraError, LookoutError
from agent.process.messages import Health, Overlay, OverlayBox, OverlayZone, Render, Rendered
from agent.types import Box, CameraName, FrameRef, Result

if TYPE_CHECKING:
    from agent.loop.intake import Intake
    from agent.loop.rings import Generation

READER = "picture"
PATIENCE_S = 3.0


class Picture(msgspec.Struct, frozen=True):
    """A JPEG of one frame, its size in pixels, and how many boxes are drawn in it."""

    frame: FrameRef
    width: int
    height: int
    boxes: int
    jpeg: bytes


class Wish(msgspec.Struct, frozen=True):
    """What is wanted: the newest frame of a camera, with the boxes of its answer or without, and with these zones.

    ``take`` gets the picture, or why there is none.
    """

    camera: CameraName
    take: Callable[[Picture | LookoutError], None]
    boxes: bool = True
    zones: tuple[OverlayZone, ...] = ()
    max_width: int = 1280
    quality: int = 80
    max_bytes: int = 512 * 1024
    crop: Box | None = None


class RenderPort(Protocol):
    """What is asked of capture; does not block, and does nothing while capture is down."""

    def render(self, message: Render) -> None:
        """Have a picture made; an answer follows, or the news that capture was lost."""
        ...


@dataclass
class _Open:
    wish: Wish
    request: int
    frame: FrameRef | None = None
    since_ns: int = 0
    asked: bool = False
    boxes: int = 0


class Pictures:
    """See the module. ``forget`` takes the rings that are gone with a lease."""

    def __init__(self, intake: Intake, port: RenderPort, forget: Callable[[Iterable[Generation]], None]) -> None:
        self._intake = intake
        self._port = port
        self._forget = forget
        self._open: dict[CameraName, _Open] = {}
        self._last_request = 0

    def ask(self, wish: Wish) -> None:
        """Take a wish on, or refuse it at once."""
        camera = self._intake.cameras.get(wish.camera)
        if camera is None:
            wish.take(CameraError(f"there is no camera {wish.camera} in this pipeline"))
        elif wish.camera in self._open:
            wish.take(CameraError(f"camera {wish.camera}: a picture of it is being made already; ask again later"))
        elif camera.health != "streaming":
            why = f" ({camera.reason})" if camera.reason else ""
            wish.take(CameraError(f"camera {wish.camera} gives no pictures: it is {camera.health}{why}"))
        else:
            self._last_request += 1
            self._open[wish.camera] = _Open(wish, self._last_request)

    def came(self, now_ns: int, camera: CameraName, *, serving: bool) -> None:
        """Take note that a frame came in and is ready; ``serving``: some worker answers frames."""
        one = self._open.get(camera)
        if one is None or one.asked:
            return
        if not one.since_ns:
            one.since_ns = now_ns
        if one.wish.boxes and serving and now_ns - one.since_ns <= PATIENCE_S * NS_PER_S:
            return
        ready = self._intake.cameras[camera].ready
        if one.frame is not None:
            self._render(one, one.frame, ())
        elif ready:
            one.frame = ready[-1]
            self._intake.lend(one.frame, READER)
            self._render(one, one.frame, ())

    def waits_for(self, camera: CameraName) -> bool:
        """Whether a picture of this camera still lacks its frame."""
        one = self._open.get(camera)
        return one is not None and one.frame is None

    def sent(self, frame: FrameRef) -> None:
        """Take note that a frame was sent to the worker."""
        one = self._open.get(frame.camera)
        if one is not None and one.frame is None and one.wish.boxes:
            one.frame = frame
            self._intake.lease(frame, READER)

    def seen(self, result: Result) -> None:
        """Take note of what was seen in a frame."""
        one = self._open.get(result.frame.camera)
        if one is None or one.asked or one.frame is None:
            return
        if result.frame == one.frame:
            self._render(one, one.frame, boxes_of(result))
        elif result.frame.sequence > one.frame.sequence:  # that one was never answered
            self._render(one, one.frame, ())

    def rendered(self, message: Rendered, jpeg: bytes) -> None:
        """Take capture's answer."""
        one = self._open.get(message.camera)
        if one is None or one.request != message.request or one.frame is None:
            return
        if message.problem:
            self._end(one, CameraError(f"camera {message.camera}: {message.problem}"))
        else:
            self._end(one, Picture(one.frame, message.width, message.height, one.boxes, jpeg))

    def health(self, message: Health) -> None:
        """Give up on a camera that does not stream any more; what capture was asked for it still answers."""
        one = self._open.get(message.camera)
        if one is not None and not one.asked and message.state != "streaming":
            self._end(one, CameraError(f"camera {message.camera} gives no pictures: it is {message.state}"))

    def capture_lost(self, camera: CameraName, reason: str) -> None:
        """Give up: who was to draw was reaped."""
        one = self._open.get(camera)
        if one is not None:
            self._end(one, CameraError(f"camera {camera}: {reason}"))

    def close(self) -> None:
        """Give all up."""
        for one in tuple(self._open.values()):
            self._end(one, CameraError(f"camera {one.wish.camera}: the agent is stopping"))

    def _render(self, one: _Open, frame: FrameRef, boxes: tuple[OverlayBox, ...]) -> None:
        wish = one.wish
        one.asked, one.boxes = True, len(boxes)
        self._port.render(
            Render(
                request=one.request,
                camera=wish.camera,
                generation=frame.generation,
                slot=frame.slot,
                overlay=Overlay(boxes, wish.zones),
                max_width=wish.max_width,
                quality=wish.quality,
                max_bytes=wish.max_bytes,
                crop=wish.crop,
            )
        )

    def _end(self, one: _Open, outcome: Picture | LookoutError) -> None:
        del self._open[one.wish.camera]
        if one.frame is not None:
            self._forget(self._intake.release(one.frame, READER))
        one.wish.take(outcome)


def boxes_of(result: Result) -> tuple[OverlayBox, ...]:
    """Return what is drawn of a result: label, score and, where it is followed, the track's number."""
    return tuple(
        OverlayBox(
            one.box,
            f"{one.label} {one.score:.0%}" if one.track is None else f"{one.label} {one.score:.0%} #{one.track}",
            one.class_id,
        )
        for one in (result.detections or ())[:200]
    )
