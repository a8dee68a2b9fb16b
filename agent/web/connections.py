"""The page's connections: who is let in, how many at a time, and how long each may take over what.

Uvicorn's protocol for HTTP/1.1 does the talking; what it leaves open is bounded here, on the page's own loop. At most
:data:`MAX_CONNECTIONS` at a time, :data:`MAX_OF_ONE` of one peer; what comes beyond that is closed at once. TLS must
be agreed on in :data:`HANDSHAKE_S`; the head of each request must be there :data:`HEAD_S` after the connection, or the
answer before, began to wait for it. The kernel is told to keep little of what cannot be sent yet, so that a picture
does not grow old in its buffers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from starlette.types import ASGIApp, Receive, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from agent.web.sessions import party

MAX_CONNECTIONS = 48
MAX_OF_ONE = 24
HANDSHAKE_S = 5.0
HEAD_S = 15.0
MAX_HEAD_BYTES = 16 * 1024
BACKLOG = 32
ACCEPT_PAUSE_S = 0.5

NOTSENT_LOWAT, NOTSENT_BYTES = 25, 64 * 1024
"""Linux's TCP_NOTSENT_LOWAT, which Python names from 3.13 on, and what may lie unsent in the kernel."""

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER's word for: do not linger."""

log = structlog.get_logger(part="web")


class Talk(H11Protocol):
    """One connection."""

    def __init__(self, config: Config, state: ServerState, app_state: dict[str, Any], gone: Callable[[], None]) -> None:
        super().__init__(config, state, {**app_state, "talk": self})
        self._gone = gone
        self._head: asyncio.TimerHandle | None = None

    @property
    def _idle(self) -> bool:
        """Whether the head of a request is awaited."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; bytes of a head that is not whole yet win no time."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._stop_watch()
        self._gone()

    def hold_little(self) -> None:
        """Let whoever sends wait until all that was sent is in the kernel: for what is worth nothing once it is old."""
        self.transport.set_write_buffer_limits(high=0)

    def hang_up(self) -> None:
        """End at once, and have the kernel forget what it still holds: the peer takes nothing."""
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self.transport.abort()

    def _watch_head(self) -> None:
        if not self._idle or self.transport.is_closing():
            self._stop_watch()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_S, self._too_late)

    def _stop_watch(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_late(self) -> None:
        self._head = None
        if self._idle:
            self.hang_up()


def talk_of(scope: Scope) -> Talk:
    """Return the connection that a request came over."""
    found = scope["state"]["talk"]
    assert isinstance(found, Talk)
    return found


async def left(receive: Receive) -> None:
    """Return once the peer of a request is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Connections:
    """Accepts connections to ``app`` on listening sockets; on the running loop."""

    def __init__(self, app: ASGIApp, context: Callable[[], ssl.SSLContext | None]) -> None:
        """``context`` is what the next connection's TLS is made of; None: there is none."""
        self._config = Config(
            app,
            loop="none",
            http=H11Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",  # what a scanner sends is none of ours
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=round(HEAD_S),
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        self._config.load()
        self._context = context
        self._state = ServerState()
        self._peers: Counter[str] = Counter()
        self._greeting: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many there are, those that are still agreeing on TLS too."""
        return sum(self._peers.values())

    async def accept(self, listener: socket.socket) -> None:
        """Let in who comes, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                found, address = await loop.sock_accept(listener)
            except OSError as error:  # no descriptors left, or the peer is gone again: later, not at once
                log.warning("web.accept_failed", error=str(error))
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            peer = party(str(address[0]))
            if self.count >= MAX_CONNECTIONS or self._peers[peer] >= MAX_OF_ONE:
                log.warning("web.turned_away", peer=peer, connections=self.count)
                found.close()
                continue
            self._peers[peer] += 1
            task = loop.create_task(self._greet(found, peer))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, found: socket.socket, peer: str) -> None:
        loop, told = asyncio.get_running_loop(), False

        def gone() -> None:
            nonlocal told
            if not told:
                told = True
                self._peers[peer] -= 1
                if self._peers[peer] <= 0:
                    del self._peers[peer]

        try:
            found.setblocking(False)
            with contextlib.suppress(OSError):  # an older kernel: pictures are a little older
                found.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, NOTSENT_BYTES)
            context = self._context()
            await loop.connect_accepted_socket(
                lambda: Talk(self._config, self._state, {}, gone),
                found,
                ssl=context,
                ssl_handshake_timeout=None if context is None else HANDSHAKE_S,
            )
        except (OSError, ssl.SSLError, TimeoutError, asyncio.TimeoutError, asyncio.CancelledError):
            found.close()  # no TLS, another one's, or too slow: the peer's own business
            gone()

    async def close(self, timeout_s: float) -> None:
        """End all of them, and wait until what answered them has ended."""
        for task in tuple(self._greeting):
            task.cancel()
        for talk in tuple(self._state.connections):
            if isinstance(talk, Talk):
                talk.hang_up()
        tasks = [*self._state.tasks, *self._greeting]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
