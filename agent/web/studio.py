"""One picture of a camera at a time, whoever on the page wants one.

The pipelines make pictures (:mod:`agent.loop.pictures`), one a camera; here those who want one take turns, so that of
the page no more than one wish is ever with a pipeline, and what MQTT asks for finds its turn beside a live view. A
wish that was begun is waited for even where nobody is left who wants it, :data:`LOST_S` at most. A camera gives
:data:`MOST_FPS` pictures a second at most, all together. Everything here runs on the page's loop but the outcome, which
comes on a pipeline's thread and is only handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

from agent.errors import CameraError, LookoutError
from agent.loop.pictures import Picture, Wish
from agent.process.messages import OverlayZone
from agent.types import CameraName

MOST_FPS = 15.0
LOST_S = 15.0
MAX_WAITING = 8
"""How many may wait for their turn at one camera."""

MAX_BYTES = 1024 * 1024
QUALITY = 75

Outcome = Picture | LookoutError


class Pictured(Protocol):
    """The pipeline that watches a camera."""

    def picture(self, wish: Wish, /) -> None:
        """Have a picture made; ``wish.take`` gets it, from another thread."""
        ...


class Cameras(Protocol):
    """What is there to be looked at, as the configuration in force says."""

    def pipelines(self) -> Mapping[CameraName, Pictured]:
        """Return the pipeline of each camera."""
        ...

    def zones(self) -> Mapping[CameraName, tuple[OverlayZone, ...]]:
        """Return the zones that are drawn into each camera's pictures."""
        ...


class NoCamera(CameraError):
    """There is no camera of that name."""

    code = "no_camera"


class _Turns:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.next_s = 0.0


class Studio:
    """See the module."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras
        self._turns: dict[CameraName, _Turns] = {}
        self._making: set[asyncio.Task[Picture]] = set()
        self.made = 0

    def known(self, name: str) -> CameraName:
        """Return the camera of that name. Raises :class:`NoCamera`."""
        cameras = self._cameras.pipelines()
        found = next((camera for camera in cameras if camera == name), None)
        if found is None:
            raise NoCamera(f"there is no camera {name[:64]!r} here; there are {', '.join(cameras)}")
        return found

    async def take(self, camera: CameraName, *, boxes: bool, zones: bool, width: int, patience_s: float) -> Picture:
        """Return a picture of the camera's newest frame. Raises :class:`LookoutError`, in ``patience_s`` at most."""
        turns = self._turns.setdefault(camera, _Turns())
        if turns.waiting >= MAX_WAITING:
            raise CameraError(f"camera {camera}: {MAX_WAITING} others wait for a picture of it already")
        turns.waiting += 1
        making = asyncio.get_running_loop().create_task(self._make(turns, camera, boxes, zones, width))
        self._making.add(making)
        making.add_done_callback(self._forget)
        done, _ = await asyncio.wait({making}, timeout=patience_s)
        if not done:
            raise CameraError(f"camera {camera} gave no picture within {patience_s:g} s")
        return making.result()

    def _forget(self, making: asyncio.Task[Picture]) -> None:
        self._making.discard(making)
        if not making.cancelled():
            making.exception()  # whoever wanted it may have left: that it failed is nobody's concern then

    async def _make(self, turns: _Turns, camera: CameraName, boxes: bool, zones: bool, width: int) -> Picture:
        loop = asyncio.get_running_loop()
        try:
            async with turns.lock:
                await asyncio.sleep(max(0.0, turns.next_s - loop.time()))
                turns.next_s = loop.time() + 1 / MOST_FPS
                return await self._made(camera, boxes, zones, width)
        finally:
            turns.waiting -= 1

    async def _made(self, camera: CameraName, boxes: bool, zones: bool, width: int) -> Picture:
        loop = asyncio.get_running_loop()
        pipeline = self._cameras.pipelines().get(camera)
        if pipeline is None:
            raise NoCamera(f"there is no camera {camera} any more")
        outcome: asyncio.Future[Outcome] = loop.create_future()
        drawn = self._cameras.zones().get(camera, ()) if zones else ()
        take = _hand_over(loop, outcome)
        pipeline.picture(
            Wish(camera, take, boxes=boxes, zones=drawn, max_width=width, quality=QUALITY, max_bytes=MAX_BYTES)
        )
        try:
            found = await asyncio.wait_for(outcome, LOST_S)
        except asyncio.TimeoutError:
            raise CameraError(f"camera {camera} gave no picture within {LOST_S:g} s") from None
        if isinstance(found, LookoutError):
            raise found
        self.made += 1
        return found


def _hand_over(loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[Outcome]) -> Callable[[Outcome], None]:
    """Return what a pipeline's thread gives the outcome to; it neither blocks nor raises."""

    def settle(found: Outcome) -> None:
        if not outcome.done():
            outcome.set_result(found)

    def take(found: Outcome) -> None:
        with contextlib.suppress(RuntimeError):  # the page has ended meanwhile
            loop.call_soon_threadsafe(settle, found)

    return take
