"""A bad network between a client and a server on loopback: late, narrow, silent, cut, refusing.

One thread forwards everything. What it does may be changed at any moment: ``delay_s`` (each way), ``bytes_per_s`` (each
way, with small buffers, as a narrow link has), ``silent`` (forwards nothing, like a cable that was pulled: the
connection stays), ``refuse`` (new connections are closed at once). :meth:`cut` resets what there is, and
:meth:`half_close` ends one direction only.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field

CHUNK = 4096
NARROW = 2048
TICK_S = 0.02


@dataclass
class _Way:
    """One direction of one connection; what waits, with when it is due."""

    source: socket.socket
    target: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    credit: float = 0.0
    ended: bool = False


class Proxy:
    """Listens on ``port`` and connects on to ``target``."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.silent = False
        self.refuse = False
        self.forwarded = 0
        self.accepted: list[float] = []
        self._ways: list[_Way] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            for way in self._ways:
                with contextlib.suppress(OSError):
                    way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                way.source.close()
            self._ways.clear()

    def half_close(self) -> None:
        """Tell each client that the server says no more; what the client says still arrives."""
        with self._lock:
            for way in self._ways[1::2]:
                way.ended = True
                with contextlib.suppress(OSError):
                    way.target.shutdown(socket.SHUT_WR)

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stopping.is_set():
            self._wait()
            now = time.monotonic()
            with self._lock:
                self._accept(now)
                for way in list(self._ways):
                    self._forward(way, now, now - last)
            last = now

    def _wait(self) -> None:
        if self.silent or self.bytes_per_s is not None or self.delay_s > 0:
            time.sleep(TICK_S)
            return
        with selectors.DefaultSelector() as selector, self._lock:
            selector.register(self._listener, selectors.EVENT_READ)
            for way in self._ways:
                with contextlib.suppress(ValueError, KeyError):
                    if not way.ended:
                        selector.register(way.source, selectors.EVENT_READ)
            selector.select(TICK_S)

    def _accept(self, now: float) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.accepted.append(now)
        if self.refuse:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            client.close()
            return
        client.setblocking(False)
        server.setblocking(False)
        self._ways += [_Way(client, server), _Way(server, client)]

    def _forward(self, way: _Way, now: float, elapsed: float) -> None:
        if self.silent or way.ended:
            return
        rate = self.bytes_per_s
        way.credit = min(way.credit + elapsed * rate, max(rate / 4, 64)) if rate is not None else CHUNK
        try:
            if sum(len(chunk) for _, chunk in way.waiting) < (CHUNK if rate is None and not self.delay_s else 2**20):
                wanted = CHUNK if rate is None else int(way.credit)
                if wanted > 0:
                    self._read(way, wanted, now)
            while way.waiting and way.waiting[0][0] <= now:
                _, chunk = way.waiting.popleft()
                sent = way.target.send(chunk)
                self.forwarded += sent
                if sent < len(chunk):
                    way.waiting.appendleft((0.0, chunk[sent:]))
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._drop(way)

    def _read(self, way: _Way, wanted: int, now: float) -> None:
        try:
            chunk = way.source.recv(min(wanted, CHUNK))
        except BlockingIOError:
            return
        if not chunk:
            if not way.waiting:
                self._drop(way)
            return
        if self.bytes_per_s is not None:
            way.credit -= len(chunk)
        way.waiting.append((now + self.delay_s, chunk))

    def _drop(self, way: _Way) -> None:
        for other in [one for one in self._ways if one.source in (way.source, way.target)]:
            self._ways.remove(other)
        way.source.close()
        way.target.close()
