"""Pictures that leave the device: a frame with boxes, zones and privacy masks, as JPEG in a memfd.

The camera's masks come from its own ``view`` and lie over everything else, whatever a request says: no picture leaves
without them. A thread of its own, ``lookout-render``, draws and encodes, so that neither the reader loop nor a grabber
waits; its inbox is bounded, and a request that finds it full is answered at once. The agent holds a lease on the slot
until it is answered; the frame is copied, never drawn into.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import NamedTuple, cast

import cv2
import numpy as np
import structlog

from agent.capture.geometry import Polygon, polygons
from agent.capture.source import Picture
from agent.capture.view import black_out
from agent.errors import CameraError, ChildError
from agent.process.messages import Message, Overlay, OverlayBox, Points, Render, Rendered
from agent.types import Box

log = structlog.get_logger(part="capture")

INBOX = 8
LEAST_QUALITY = 30
LEAST_WIDTH = 160
BUSY = "too many pictures are being made: ask again later"
GONE = "the frame is gone: the camera has come back with another size; ask again"

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_COLOURS = ((80, 220, 80), (60, 160, 255), (255, 160, 60), (220, 90, 220), (70, 230, 230), (90, 90, 255))
_ZONE = (255, 220, 120)
_INK = (20, 20, 20)


class _Job(NamedTuple):
    request: Render
    frame: Picture
    masks: tuple[Polygon, ...]


class Renderer:
    """The thread. ``send`` is thread-safe and may raise :class:`ChildError` when the agent is gone."""

    def __init__(self, send: Callable[[Message, int | None], None]) -> None:
        self._send = send
        self._jobs: queue.Queue[_Job | None] = queue.Queue(INBOX)
        self._thread = threading.Thread(target=self._run, name="lookout-render", daemon=True)
        self._started = False

    def ask(self, request: Render, frame: Picture | None, masks: tuple[Points, ...]) -> None:
        """Take a request on; ``frame`` is the leased slot (None: it is gone). The answer comes by ``send``."""
        if frame is None:
            self._send(Rendered(request.request, request.camera, problem=GONE), None)
            return
        if not self._started:
            self._started = True
            self._thread.start()
        try:
            self._jobs.put_nowait(_Job(request, frame, polygons(masks, frame.shape[1], frame.shape[0])))
        except queue.Full:
            self._send(Rendered(request.request, request.camera, problem=BUSY), None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            request = job.request
            try:
                self._answer(request, *make(job.frame, job.masks, request))
            except (CameraError, cv2.error, OSError) as error:
                reason = str(error)[:500]
                log.warning("render.failed", camera=request.camera, reason=reason)
                self._tell(Rendered(request.request, request.camera, problem=reason), None)

    def _answer(self, request: Render, jpeg: bytes, size: tuple[int, int]) -> None:
        fd = os.memfd_create("lookout-picture", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(jpeg)
            self._tell(Rendered(request.request, request.camera, *size, size_bytes=len(jpeg)), fd)
        finally:
            os.close(fd)

    def _tell(self, message: Rendered, fd: int | None) -> None:
        try:
            self._send(message, fd)
        except ChildError as error:  # the agent is gone: the process ends with it
            log.warning("capture.agent_unreachable", camera=message.camera, reason=error.message)


def make(frame: Picture, masks: tuple[Polygon, ...], request: Render) -> tuple[bytes, tuple[int, int]]:
    """Return the JPEG and its size in pixels. Raises :class:`CameraError` where it cannot be made small enough."""
    picture = frame.copy()
    black_out(picture, masks)  # before anything is scaled, so that no edge of what they hide is blended in
    left, top, right, bottom = _cut(request.crop, picture)
    picture = picture[top:bottom, left:right]
    factor = min(1.0, request.max_width / picture.shape[1])
    small = _scaled(picture, factor)
    draw(small, request.overlay, factor, (left, top), (frame.shape[1], frame.shape[0]))
    black_out(small, _moved(masks, factor, (left, top)))  # over labels and boxes too
    return _encode(small, request)


def draw(picture: Picture, overlay: Overlay, factor: float, origin: tuple[int, int], whole: tuple[int, int]) -> None:
    """Draw zones, then boxes, into a picture that shows a frame of size ``whole`` from ``origin`` on, scaled."""
    pen = max(1, round(picture.shape[1] / 480))
    for zone in overlay.zones:
        if zone.points:
            _draw_zone(picture, zone.text, polygons((zone.points,), *whole)[0], factor, origin, pen)
    for box in overlay.boxes:
        _draw_box(picture, box, factor, origin, pen)


def _draw_zone(picture: Picture, name: str, zone: Polygon, factor: float, origin: tuple[int, int], pen: int) -> None:
    corners = ((zone - np.array(origin)) * factor).round().astype(np.int32)
    cv2.polylines(picture, [corners], len(corners) > 2, _ZONE, pen, cv2.LINE_AA)
    _write(picture, name, (int(corners[0][0]) + 2 * pen, int(corners[0][1]) + 14 * pen), _ZONE, pen)


def _draw_box(picture: Picture, box: OverlayBox, factor: float, origin: tuple[int, int], pen: int) -> None:
    colour = _COLOURS[box.hue % len(_COLOURS)]
    left, top, right, bottom = (round((value - origin[axis % 2]) * factor) for axis, value in enumerate(box.box))
    cv2.rectangle(picture, (left, top), (right, bottom), colour, pen)
    inside = top < 16 * pen
    _write(picture, box.text, (max(0, left) + pen, max(0, top) + 14 * pen if inside else top - 4 * pen), colour, pen)


def _write(picture: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int], pen: int) -> None:
    """Write ASCII (OpenCV's fonts hold nothing else) dark on a tag of the colour, readable on anything."""
    if not text:
        return
    plain = text.encode("ascii", "replace").decode()[:80]
    size = 0.38 * pen
    (width, height), below = cv2.getTextSize(plain, _FONT, size, pen)
    left, base = max(0, min(at[0], picture.shape[1] - width - 2 * pen)), at[1]
    tag = ((left - pen, base - height - 2 * pen), (left + width + pen, base + below - pen))
    cv2.rectangle(picture, *tag, colour, cv2.FILLED)
    cv2.putText(picture, plain, (left, base), _FONT, size, _INK, pen, cv2.LINE_AA)


def _cut(crop: Box | None, picture: Picture) -> tuple[int, int, int, int]:
    height, width = picture.shape[:2]
    if crop is None:
        return 0, 0, width, height
    left, top = min(max(0, int(crop[0])), width - 1), min(max(0, int(crop[1])), height - 1)
    return left, top, max(left + 1, min(width, round(crop[2]))), max(top + 1, min(height, round(crop[3])))


def _scaled(picture: Picture, factor: float) -> Picture:
    if factor >= 1.0:
        return np.ascontiguousarray(picture)
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return cast("Picture", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _moved(masks: tuple[Polygon, ...], factor: float, origin: tuple[int, int]) -> tuple[Polygon, ...]:
    return tuple(((mask - np.array(origin)) * factor).round().astype(np.int32) for mask in masks)


def _encode(picture: Picture, request: Render) -> tuple[bytes, tuple[int, int]]:
    """Encode, worse and smaller until it fits ``max_bytes``."""
    quality = request.quality
    while True:
        ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not ok:
            raise CameraError(f"camera {request.camera}: the picture cannot be encoded")
        if data.size <= request.max_bytes:
            return data.tobytes(), (picture.shape[1], picture.shape[0])
        if quality > LEAST_QUALITY:
            quality = max(LEAST_QUALITY, quality - 20)
        elif picture.shape[1] >= 2 * LEAST_WIDTH:
            picture = _scaled(picture, 0.5)
        else:
            raise CameraError(f"camera {request.camera}: no picture fits {request.max_bytes} bytes")
