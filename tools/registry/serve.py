"""A development server for a registry, on loopback: any static web server can do the same in production.

It serves what readers need and nothing else (no listings, no hidden files, nothing outside the folder), knows byte
ranges, and may sign snapshot and timestamp anew every now and then, so that a registry on a desk never expires.
"""

from __future__ import annotations

import errno
import re
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import structlog

from agent.errors import InputError, LookoutError
from agent.registry import layout
from tools.registry.keys import Keys
from tools.registry.maintain import refresh
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes

LOOPBACK = "127.0.0.1"
REFRESH_EVERY = timedelta(hours=6)
IDLE_TIMEOUT_S = 10
SHUTDOWN_LATENCY_S = 0.05
_SERVED = (layout.METADATA, layout.TARGETS, "blobs", layout.ROOT)
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z", re.ASCII)
_PIECE_BYTES = 256 * 1024

log = structlog.get_logger(part="registry-server")


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of one registry."""

    protocol_version = "HTTP/1.1"
    server_version = "lookout-registry"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    disable_nagle_algorithm = True  # head and body are two small packets: 40 ms a request otherwise
    folder: Path

    def do_GET(self) -> None:
        """Send a file or a range of it."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send a file's headers."""
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        """Pass the access log on to ours."""
        log.debug("registry.request", client=self.address_string(), line=format % args)

    def _answer(self, *, body: bool) -> None:
        path = self._path()
        try:
            file = path.open("rb") if path is not None else None
        except OSError:
            file = None
        if file is None or path is None:
            self.send_error(HTTPStatus.NOT_FOUND, "no such file in this registry")
            return
        with file:
            self._send(file, path.stat().st_size, body=body)

    def _path(self) -> Path | None:
        """Return the file that was asked for, None where it is not to be served."""
        steps = unquote(urlsplit(self.path).path).strip("/").split("/")
        if steps[0] not in _SERVED or any(step.startswith(".") or "\0" in step for step in steps):
            return None
        path = self.folder.joinpath(*steps)
        return path if path.is_file() and path.resolve().is_relative_to(self.folder) else None

    def _send(self, file: BinaryIO, size: int, *, body: bool) -> None:
        wanted = self._range(size)
        if wanted is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, count, partial = wanted
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(count))
        self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{first + count - 1}/{size}")
        self.end_headers()
        if body:
            self._copy(file, first, count)

    def _range(self, size: int) -> tuple[int, int, bool] | None:
        """Return where to begin, how many bytes, and whether that is a part; None where it lies outside."""
        asked = _RANGE.match(self.headers.get("Range", ""))
        if asked is None:
            return 0, size, False
        first, last = int(asked[1]), int(asked[2]) if asked[2] else size - 1
        if first >= size or last < first:
            return None
        return first, min(last, size - 1) - first + 1, True

    def _copy(self, file: BinaryIO, first: int, count: int) -> None:
        file.seek(first)
        try:
            while count and (piece := file.read(min(count, _PIECE_BYTES))):
                self.wfile.write(piece)
                count -= len(piece)
        except OSError:  # the reader went away: it will ask again for what it lacks
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    """Says in one line that a client went away in the middle; everything else stays loud."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what ended a request; called where it is being handled."""
        if isinstance(sys.exc_info()[1], ConnectionError):
            log.debug("registry.client_gone", client=client_address[0])
        else:
            super().handle_error(request, client_address)


class RegistryServer:
    """The server and its threads; a context manager, or :meth:`start` and :meth:`close`."""

    def __init__(
        self,
        registry: Path,
        *,
        port: int = 0,
        host: str = LOOPBACK,
        keys: Keys | None = None,
        refresh_every: timedelta = REFRESH_EVERY,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    ) -> None:
        """Listen on ``port`` (0: any free one). With ``keys`` it signs anew every ``refresh_every``.

        Raises :class:`InputError` where there is no registry or the port is in use.
        """
        if not (registry / layout.METADATA / layout.TIMESTAMP).is_file():
            raise InputError(f"{registry} is no registry; make one with 'lookout registry init {registry}'")
        handler = type("RegistryHandler", (Handler,), {"folder": registry.resolve()})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://{host}:{self.port}"
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._serve, name="lookout-registry-server")]
        if keys is not None:
            sign: Callable[[], object] = lambda: refresh(registry, keys, lifetimes=lifetimes)  # noqa: E731 - one use
            self._threads.append(
                threading.Thread(target=self._refresh, args=(sign, refresh_every), name="lookout-registry-refresh")
            )

    def start(self) -> None:
        """Begin to serve."""
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Block until :meth:`close`."""
        self._stopping.wait()

    def close(self) -> None:
        """Stop serving and end the threads. Idempotent."""
        self._stopping.set()
        if self._threads[0].is_alive():
            self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=SHUTDOWN_LATENCY_S)  # the standard library's way to notice an end

    def _refresh(self, sign: Callable[[], object], every: timedelta) -> None:
        while True:
            try:
                sign()
            except LookoutError as error:
                log.warning("registry.refresh_failed", reason=error.message)
            else:
                log.info("registry.refreshed")
            if self._stopping.wait(every.total_seconds()):
                return

    def __enter__(self) -> RegistryServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cannot_listen(host: str, port: int, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(f"port {port} of {host} is in use; choose another one with --port (0: any free one)")
    return InputError(f"cannot listen on port {port} of {host}: {error.strerror}; choose another one with --port")
