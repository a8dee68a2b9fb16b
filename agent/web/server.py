"""The thread ``lookout-web``, which serves the page, and what becomes of it when it cannot.

It owns one event loop, its listening sockets and a few helpers (``lookout-web-helper_…``) for what takes a moment. A
port that is taken, a certificate that cannot be read, a fault of the page's own: each is a ``problem`` in words, tried
again every :data:`RETRY_S`, and never the agent's end; the watchdog does not wait for the page. Without visitors the
thread wakes for the history's points alone.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from agent.clock import monotonic_ns
from agent.errors import LookoutError, SurroundingsError
from agent.supervise.heartbeat import Heartbeat
from agent.web.access import Rules, own_names
from agent.web.api import Api
from agent.web.connections import BACKLOG, Connections
from agent.web.credentials import Certificate, token_in
from agent.web.gate import Gate
from agent.web.history import EVERY_S
from agent.web.parts import Agent, Settings
from agent.web.static_files import StaticFiles

HELPERS = 3
RETRY_S = 15.0
STOP_S = 2.0
PATIENCE_S = 20.0
"""The page is late when its loop was silent for longer than that."""

log = structlog.get_logger(part="web")


class CannotListen(SurroundingsError):
    """The address cannot be served at."""

    code = "cannot_listen"


class Page:
    """Owns the thread; see the module. ``retry_s`` is for tests."""

    def __init__(self, settings: Settings, agent: Agent, *, retry_s: float = RETRY_S) -> None:
        self._settings = settings
        self._agent = agent
        self._retry_s = retry_s
        self._pulse = Heartbeat("web", PATIENCE_S, monotonic_ns)
        self._trouble: str | None = None
        self._certificate: Certificate | None = None
        self._stopping = threading.Event()
        self._stop: Callable[[], None] = lambda: None
        self._served = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout-web", daemon=True)

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 2 * STOP_S) -> None:
        """Hang up on everybody and end; fine where it never started, and twice."""
        self._stopping.set()
        self._stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def wait_served(self, timeout_s: float) -> bool:
        """Wait until it listens."""
        return self._served.wait(timeout_s)

    def problem(self) -> str | None:
        """Return in words why the page is not what it should be; None: all is well. Any thread."""
        if self._trouble is not None:
            return self._trouble
        certificate = self._certificate
        if certificate is not None and certificate.problem is not None:
            return certificate.problem
        if self._thread.is_alive() and self._pulse.late_s() > 0:
            return "it hangs; see the log, and restart the agent"
        return None

    # --- on the thread lookout-web -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._serve())
            except LookoutError as error:
                self._tell(error.message)
            except Exception as error:  # the thread's last line: whatever the page's bug is, the device goes on
                log.exception("web.crashed")
                self._tell(f"it failed by a fault of its own ({type(error).__name__}); its log says more")
            self._served.clear()
            self._pulse.waiting(self._retry_s)
            self._stopping.wait(self._retry_s)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.error("web.not_served", reason=trouble, again_in_s=self._retry_s)
        self._trouble = trouble

    async def _serve(self) -> None:
        """Serve until it is stopped. Raises LookoutError where it cannot begin."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(_unexpected)
        loop.set_default_executor(ThreadPoolExecutor(HELPERS, thread_name_prefix="lookout-web-helper"))
        token = self._settings.token or token_in(self._settings.files)
        self._certificate = Certificate.of(self._settings.files)
        listeners = await _listen(self._settings.host, self._settings.port)
        self._stop = lambda: _wake(loop, over)
        api = Api(self._settings, self._agent, StaticFiles())
        rules = Rules(own_names(socket.gethostname(), self._settings.names), token, self._certificate is not None)
        connections = Connections(Gate(api.router(), rules), self._context)
        tasks = [loop.create_task(connections.accept(listener)) for listener in listeners]
        tasks.append(loop.create_task(self._keep(api)))
        self._trouble = None
        self._served.set()
        log.info("web.serves", url=self._url())
        if self._stopping.is_set():
            over.set()
        ending = loop.create_task(over.wait())
        try:
            done, _ = await asyncio.wait({ending, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {ending}:
                task.result()  # none of them ends by itself: this raises
        finally:
            for task in (ending, *tasks):
                task.cancel()
            for listener in listeners:
                listener.close()
            await connections.close(STOP_S)

    def _context(self) -> ssl.SSLContext | None:
        return None if self._certificate is None else self._certificate.context()

    async def _keep(self, api: Api) -> None:
        """Say that the loop is alive, and keep the history."""
        while True:
            self._pulse.waiting(EVERY_S)
            if self._settings.page:
                await api.remember()
            await asyncio.sleep(EVERY_S)

    def _url(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        host = self._settings.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._settings.port}"


def _wake(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(over.set)


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen at every address that ``host`` has here. Raises :class:`CannotListen`."""
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                listeners.append(_listener(family, address, both=host == "::"))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = error  # localhost is ::1 as well, which a host without IPv6 has not
        if not listeners:
            raise absent or OSError(errno.EADDRNOTAVAIL, "it has no address")
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise CannotListen(
            f"{host}, port {port} cannot be served at: {error.strerror or error}; free the port, or change web.host "
            "or web.port",
            field="web.port",
        ) from error
    return listeners


def _listener(family: int, address: Any, *, both: bool) -> socket.socket:
    """Return a socket that listens; ``both``: to IPv4 too. Raises OSError."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _unexpected(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Log what a connection's callback raised; a peer that hung up in the middle is nothing to tell of."""
    error = context.get("exception")
    if not isinstance(error, OSError):
        log.warning("web.unexpected", said=str(context.get("message")), error=repr(error))
