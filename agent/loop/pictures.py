"""Pictures of a pipeline's cameras: which frame is drawn, with which boxes, and the lease it is read under.

One picture a camera at a time, because a ring has one slot to spare for it; one more who asks waits for his turn, so
that a live view and a snapshot come beside each other, and a third is refused. Without boxes the next frame that comes
is taken; with boxes the next one that goes to the worker, and it is drawn when its answer is there (without them where
that does not come within :data:`PATIENCE_S`). The frame is leased to :data:`READER` from the moment it is chosen until
capture has answered, or was reaped. Everything here runs on the pipeline's thread; ``take`` of a wish is called there
exactly once, and must not block.

While nobody asks for a picture, the slot to spare serves the best pictures of tracks (:class:`Portraits`): a frame
is held on its way to the worker, and drawn if its answer shows that this is worth it. Who asks comes first: a held
frame is let go, and one that is being drawn delays him by that one picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from agent.clock import NS_PER_S
from agent.errors import CameraError, LookoutError
from agent.process.messages import Health, Overlay, OverlayBox, OverlayZone, Render, Rendered
from agent.types import Box, CameraName, Detection, FrameRef, Result

if TYPE_CHECKING:
    from agent.loop.intake import Intake
    from agent.loop.rings import Generation

READER = "picture"
PATIENCE_S = 3.0

PORTRAIT_WIDTH = 640
PORTRAIT_BYTES = 128 * 1024


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


class Portrait(msgspec.Struct, frozen=True):
    """What a track's best picture is made of: the track as it was seen in one frame, and the part that is shown."""

    camera: CameraName
    track: int
    seen: Detection
    crop: Box


class Portraits(Protocol):
    """Who decides which tracks are worth a picture, and keeps them; must not block."""

    def due(self, camera: CameraName, at_ns: int) -> bool:
        """Tell whether a frame of this moment may become a picture."""
        ...

    def choose(self, result: Result) -> Portrait | None:
        """Return what is worth a picture in a frame, None where nothing is."""
        ...

    def keep(self, portrait: Portrait, picture: Picture) -> None:
        """Keep a picture."""
        ...

    def failed(self, portrait: Portrait) -> None:
        """Take note that a picture could not be made."""
        ...


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
    portrait: bool = False


class Pictures:
    """See the module. ``forget`` takes the rings that are gone with a lease."""

    def __init__(
        self,
        intake: Intake,
        port: RenderPort,
        forget: Callable[[Iterable[Generation]], None],
        portraits: Portraits | None = None,
    ) -> None:
        self._intake = intake
        self._port = port
        self._forget = forget
        self._portraits = portraits
        self._open: dict[CameraName, _Open] = {}
        self._held: dict[CameraName, FrameRef] = {}
        self._next: dict[CameraName, Wish] = {}
        """Wishes that wait for the picture that is being made."""
        self._last_request = 0

    def ask(self, wish: Wish) -> None:
        """Take a wish on, or refuse it at once."""
        camera = self._intake.cameras.get(wish.camera)
        open_one = self._open.get(wish.camera)
        if camera is None:
            wish.take(CameraError(f"there is no camera {wish.camera} in this pipeline"))
        elif open_one is not None and wish.camera not in self._next:
            self._next[wish.camera] = wish
        elif open_one is not None:
            wish.take(CameraError(f"camera {wish.camera}: pictures of it are being made already; ask again later"))
        elif camera.health != "streaming":
            why = f" ({camera.reason})" if camera.reason else ""
            wish.take(CameraError(f"camera {wish.camera} gives no pictures: it is {camera.health}{why}"))
        else:
            self._let_go(wish.camera)
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
        if one is None:
            if self._portraits is not None and frame.camera not in self._held:
                self._hold(frame, self._portraits)
        elif one.frame is None and one.wish.boxes:
            one.frame = frame
            self._intake.lease(frame, READER)

    def seen(self, result: Result) -> None:
        """Take note of what was seen in a frame."""
        if self._portraits is not None and result.frame.camera in self._held:
            self._look(result, self._portraits)
            return
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
        if message.state != "streaming":
            self._let_go(message.camera)
        if one is not None and not one.asked and message.state != "streaming":
            self._end(one, CameraError(f"camera {message.camera} gives no pictures: it is {message.state}"))

    def capture_lost(self, camera: CameraName, reason: str) -> None:
        """Give up: who was to draw was reaped."""
        self._let_go(camera)
        one = self._open.get(camera)
        if one is not None:
            self._end(one, CameraError(f"camera {camera}: {reason}"))

    def close(self) -> None:
        """Give all up."""
        why = "the agent is stopping"
        for camera in tuple(self._held):
            self._let_go(camera)
        for wish in tuple(self._next.values()):
            wish.take(CameraError(f"camera {wish.camera}: {why}"))
        self._next.clear()
        for one in tuple(self._open.values()):
            self._end(one, CameraError(f"camera {one.wish.camera}: {why}"))

    # --- best pictures of tracks -------------------------------------------------------------------------------------

    def _hold(self, frame: FrameRef, portraits: Portraits) -> None:
        if portraits.due(frame.camera, frame.at_ns):
            self._held[frame.camera] = frame
            self._intake.lease(frame, READER)

    def _look(self, result: Result, portraits: Portraits) -> None:
        """Draw the held frame where its answer shows that this is worth it; let it go where it was never answered."""
        camera, held = result.frame.camera, self._held[result.frame.camera]
        if result.frame.generation == held.generation and result.frame.sequence < held.sequence:
            return
        drawn = result.frame == held and self._intake.drawable(held)  # else capture would never answer
        portrait = portraits.choose(result) if drawn else None
        if portrait is None:
            self._let_go(camera)
            return
        del self._held[camera]

        def take(outcome: Picture | LookoutError) -> None:
            if isinstance(outcome, LookoutError):
                portraits.failed(portrait)
            else:
                portraits.keep(portrait, outcome)

        wish = Wish(camera, take, boxes=False, max_width=PORTRAIT_WIDTH, max_bytes=PORTRAIT_BYTES, crop=portrait.crop)
        self._last_request += 1
        one = self._open[camera] = _Open(wish, self._last_request, frame=held, portrait=True)
        self._render(one, held, ())

    def _let_go(self, camera: CameraName) -> None:
        held = self._held.pop(camera, None)
        if held is not None:
            self._forget(self._intake.release(held, READER))

    # --- the life of one picture -------------------------------------------------------------------------------------

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
        waiting = self._next.pop(one.wish.camera, None)
        if waiting is not None:
            self.ask(waiting)


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
