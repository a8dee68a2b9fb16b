"""The log on the page: what is kept, and what comes, as server-sent events.

A follower is told of each record on the thread ``lookout-logs`` and only hands the line over; the lines of a page that
reads slowly wait, :data:`MAX_WAITING` at most: the oldest are dropped, and it is told how many. At most
:data:`MAX_FOLLOWERS` at a time; they are let go when the connection ends.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from agent.errors import CommandError
from agent.logs.entry import Entry, Wanted
from agent.logs.levels import OTHER_PARTS, PARTS
from agent.logs.processors import LEVELS
from agent.logs.setup import Logging
from agent.web.connections import left, talk_of

MAX_LINES = 1000
DEFAULT_LINES = 200
MAX_WAITING = 500
MAX_FOLLOWERS = 8
MAX_GREP_CHARS = 128
ALIVE_S = 15.0
"""How often a comment goes out where nothing is logged, so that both sides notice when the other is gone."""

STUCK_S = 20.0


class Question(msgspec.Struct, frozen=True):
    """Which lines are asked for."""

    wanted: Wanted
    lines: int

    @classmethod
    def of(cls, query: Mapping[str, str], logs: Logging, *, lines: int = DEFAULT_LINES) -> Question:
        """Read it; ``lines`` where it says nothing of them. Raises :class:`CommandError` that names what is wrong."""
        level = query.get("level") or "debug"
        if level not in LEVELS:
            raise CommandError(f"level {level[:32]!r} is none of {', '.join(LEVELS)}", field="level")
        part = query.get("part") or None
        if part is not None and part not in PARTS and part not in OTHER_PARTS and part not in logs.ring.parts():
            raise CommandError(f"nothing of the agent is called {part[:64]!r}", field="part")
        grep = query.get("grep") or None
        if grep is not None and len(grep) > MAX_GREP_CHARS:
            raise CommandError(f"grep has {len(grep)} characters; at most {MAX_GREP_CHARS} are taken", field="grep")
        count = query.get("lines") or str(lines)
        if not (count.isascii() and count.isdecimal() and len(count) <= 4 and int(count) <= MAX_LINES):
            raise CommandError(f"lines {count[:32]!r} is no number of 0 to {MAX_LINES}", field="lines")
        return cls(Wanted(level, part, grep), int(count))


def kept(logs: Logging, question: Question) -> bytes:
    """Return the newest lines that are kept, the oldest first, as JSON."""
    entries = logs.ring.newest(question.lines, question.wanted)
    return msgspec.json.encode({"lines": [msgspec.Raw(entry.json) for entry in entries], "dropped": logs.ring.dropped})


class PageFollower:
    """One page that follows the log; made on the page's loop."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._waiting: collections.deque[bytes] = collections.deque()
        self._dropped = 0
        self._nudged = False
        self._news = asyncio.Event()
        self._over = False

    # --- on lookout-logs ---------------------------------------------------------------------------------------------

    def take(self, entry: Entry, _now_ns: int) -> None:
        """Have a line sent."""
        if self._over or not self._wanted.takes(entry.record, entry.json):
            return
        self._waiting.append(entry.json)
        if len(self._waiting) > MAX_WAITING:
            with contextlib.suppress(IndexError):  # the page has just taken them all
                self._waiting.popleft()
                self._dropped += 1
        self._nudge()

    def due_ns(self) -> int | None:
        """Nothing is ever due."""
        return None

    def tick(self, _now_ns: int) -> bool:
        """Stay."""
        return not self._over

    def close(self) -> None:
        """End: logging ends."""
        self._over = True
        self._nudge()

    def _nudge(self) -> None:
        if not self._nudged:
            self._nudged = True
            with contextlib.suppress(RuntimeError):  # the page's loop has ended
                self._loop.call_soon_threadsafe(self._news.set)

    # --- on the page's loop ------------------------------------------------------------------------------------------

    async def more(self, timeout_s: float) -> bytes | None:
        """Wait for lines and return them as events, a comment where none came in time; None: it is over."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout_s)
        self._news.clear()
        self._nudged = False
        found = []
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            found.append(b"event: dropped\ndata: %d\n\n" % dropped)
        while self._waiting:
            found.append(b"data: " + self._waiting.popleft() + b"\n\n")
        if not found and self._over:
            return None
        return b"".join(found) or b": alive\n\n"


class Followers:
    """The pages that follow."""

    def __init__(self, logs: Logging) -> None:
        self._logs = logs
        self._count = 0

    async def follow(self, question: Question, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the kept lines that are asked for and those that come, until it ends.

        Raises :class:`CommandError` where too many follow.
        """
        if self._count >= MAX_FOLLOWERS:
            raise CommandError(f"{MAX_FOLLOWERS} pages follow the log already; close one of them")
        follower = PageFollower(question.wanted)
        self._count += 1
        try:
            await asyncio.to_thread(self._begin, follower, question)
            await _stream(follower, scope, receive, send)
        finally:
            self._count -= 1
            await asyncio.to_thread(self._logs.desk.unfollow, follower)

    def _begin(self, follower: PageFollower, question: Question) -> None:
        def before() -> None:  # so that no record falls between those that were kept and those to come
            for entry in self._logs.ring.newest(question.lines, question.wanted):
                follower.take(entry, 0)

        self._logs.desk.follow(follower, before)


async def _stream(follower: PageFollower, scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"retry: 3000\n\n", "more_body": True})
    gone = asyncio.ensure_future(left(receive))
    try:
        while not gone.done():
            coming = asyncio.ensure_future(follower.more(ALIVE_S))
            await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return
            lines = coming.result()
            if lines is None:
                break
            sending = asyncio.ensure_future(send({"type": "http.response.body", "body": lines, "more_body": True}))
            await asyncio.wait({sending, gone}, timeout=STUCK_S, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
                talk_of(scope).hang_up()
                break
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()
