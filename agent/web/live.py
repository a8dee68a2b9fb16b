"""Live views: a stream of pictures a camera and setting, shared by all who look at it in that way.

A feed has a picture made when its time has come *and* somebody waits for one; so a feed without viewers makes none, and
whoever is slow gets the newest when he comes back: fewer pictures, never a queue of them. All feeds together serve
:data:`MAX_VIEWERS`. One that takes nothing for :data:`STUCK_S` is hung up on; a camera that gives nothing for
:data:`DRY_S` ends its streams, so that the page notices and asks why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from agent.errors import CameraError, LookoutError
from agent.loop.pictures import Picture
from agent.types import CameraName
from agent.web.connections import left, talk_of
from agent.web.studio import Studio

MAX_VIEWERS = 8
FIRST_S = 6.0
"""How long a first picture is waited for before the answer says that there is none."""

DRY_S = 15.0
STUCK_S = 15.0
AGAIN_S = 0.5
"""How long after a picture that could not be made the next is asked for."""

BOUNDARY = b"lookout-picture"
CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"


class Setting(NamedTuple):
    """What a stream shows, and how often a second."""

    camera: CameraName
    fps: float
    boxes: bool
    zones: bool
    width: int


class Feed:
    """The pictures of one setting, as long as somebody looks; on the page's loop."""

    def __init__(self, setting: Setting, studio: Studio) -> None:
        self.setting = setting
        self._studio = studio
        self._news = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._newest: Picture | None = None
        self._number = 0
        self.problem: LookoutError | None = None
        self.viewers = 0
        self.task: asyncio.Task[None] | None = None

    async def newer(self, than: int, timeout_s: float) -> tuple[int, Picture]:
        """Wait for a picture after number ``than``. Raises :class:`LookoutError`: why there is none in time."""

        async def wait() -> None:
            async with self._news:
                await self._news.wait_for(lambda: self._number > than)

        self._wanted.set()
        try:
            await asyncio.wait_for(wait(), timeout_s)
        except asyncio.TimeoutError:
            camera = self.setting.camera
            raise self.problem or CameraError(f"camera {camera} gave no picture within {timeout_s:g} s") from None
        assert self._newest is not None
        return self._number, self._newest

    async def run(self) -> None:
        """Make pictures while they are wanted, until it is cancelled."""
        loop = asyncio.get_running_loop()
        camera, fps, boxes, zones, width = self.setting
        due_s = loop.time()
        while True:
            await self._wanted.wait()
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            due_s = max(due_s + 1 / fps, loop.time())
            self._wanted.clear()
            try:
                picture = await self._studio.take(camera, boxes=boxes, zones=zones, width=width, patience_s=DRY_S)
            except LookoutError as error:
                self.problem = error
                self._wanted.set()
                await asyncio.sleep(AGAIN_S)
                continue
            async with self._news:
                self._newest, self.problem = picture, None
                self._number += 1
                self._news.notify_all()


class Gallery:
    """The feeds that somebody looks at."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._feeds: dict[Setting, Feed] = {}

    @property
    def viewers(self) -> int:
        """How many look."""
        return sum(feed.viewers for feed in self._feeds.values())

    @asynccontextmanager
    async def look(self, setting: Setting) -> AsyncIterator[Feed]:
        """Look at a feed while this lasts. Raises :class:`CameraError` where too many look already."""
        if self.viewers >= MAX_VIEWERS:
            raise CameraError(f"{MAX_VIEWERS} live views are open already; close one of them")
        feed = self._feeds.get(setting)
        if feed is None:
            feed = self._feeds[setting] = Feed(setting, self._studio)
            feed.task = asyncio.get_running_loop().create_task(feed.run())
        feed.viewers += 1
        try:
            yield feed
        finally:
            feed.viewers -= 1
            if not feed.viewers:
                del self._feeds[setting]
                assert feed.task is not None
                feed.task.cancel()


async def show(feed: Feed, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with a feed, until the viewer leaves. Raises :class:`LookoutError` before the first picture."""
    number, picture = await feed.newer(0, FIRST_S)
    talk_of(scope).hold_little()
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(left(receive))
    try:
        await _body(send, b"--" + BOUNDARY + b"\r\n")
        while not gone.done():
            # With the boundary after it: browsers show a picture only once they know that it is whole.
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture.jpeg)
            part = head + picture.jpeg + b"\r\n--" + BOUNDARY + b"\r\n"
            if not await _taken(send, part, gone):
                talk_of(scope).hang_up()
                break
            following = asyncio.ensure_future(feed.newer(number, DRY_S))
            await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                break
            if following.exception() is not None:
                break
            number, picture = following.result()
        if not gone.done():
            await _body(send, b"", more=False)
    finally:
        gone.cancel()


async def _taken(send: Send, part: bytes, gone: asyncio.Future[None]) -> bool:
    """Send a part and wait until the kernel has all of it; False where the viewer takes nothing."""

    async def through() -> None:
        await _body(send, part)
        await _body(send, b"")  # Uvicorn waits before it sends, not after

    sending = asyncio.ensure_future(through())
    await asyncio.wait({sending, gone}, timeout=STUCK_S, return_when=asyncio.FIRST_COMPLETED)
    if sending.done() or gone.done():
        sending.cancel()
        return True
    sending.cancel()
    return False


async def _body(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
