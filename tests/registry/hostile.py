"""A server that misbehaves in one chosen way and otherwise serves a registry's files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.patience import patient
from tools.registry.serve import Handler

Misbehave = Callable[["HostileHandler"], bool]
"""Answers a request in its own way and returns True, or returns False to have it answered properly."""


class HostileHandler(Handler):
    """Asks ``misbehave`` first."""

    misbehave: Misbehave

    def do_GET(self) -> None:
        if not type(self).misbehave(self):
            super().do_GET()

    def head(self, status: int = 200, **headers: str) -> None:
        """Send a status and headers (``Content_Length`` means ``Content-Length``)."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def drip(self, piece: bytes, every_s: float) -> None:
        """Send a piece again and again until the reader is gone."""
        self.close_connection = True
        try:
            while not self.server.stopping.wait(every_s):  # type: ignore[attr-defined]
                self.wfile.write(piece)
        except OSError:
            pass


@contextmanager
def hostile(folder: Path, misbehave: Misbehave) -> Iterator[str]:
    """Serve ``folder`` badly; yields the URL."""
    handler = type("H", (HostileHandler,), {"folder": folder.resolve(), "misbehave": staticmethod(misbehave)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.stopping.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()


def took_less_than(seconds: float) -> Callable[[], None]:
    """Start a stopwatch; the result asserts that it is early enough."""
    began = time.monotonic()

    def check() -> None:
        assert time.monotonic() - began < patient(seconds)

    return check
