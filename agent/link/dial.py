"""The way to a broker: its name, TCP, TLS. Each has a deadline, and each ends at once when ``halt`` becomes readable.

So neither a stop nor another broker in the configuration waits for a network that does not answer. The system's
resolver can neither be interrupted nor given a deadline: names are looked up on short-lived threads
(``lookout-resolver``), of which :data:`MAX_LOOKUPS` may hang at a time; one that still hangs is asked for its answer
again before another is started for the same name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import threading
import time
from typing import Any

from agent.link import faults

TCP_S = 5.0
"""For a TCP connection, to each of the name's addresses."""

TLS_S = 5.0
VERDICT_S = 1.0
RESOLVE_S = 10.0
MAX_LOOKUPS = 4
MAX_ADDRESSES = 4

DIAL_S = RESOLVE_S + MAX_ADDRESSES * TCP_S + TLS_S + VERDICT_S
"""How long it takes at most."""

SEND_BUFFER_BYTES = 16 * 1024
"""What the kernel may hold for a slow broker: what lies there can be neither expired nor overtaken."""

Address = tuple[Any, ...]


def dial(host: str, port: int, tls: ssl.SSLContext | None, halt: socket.socket, resolver: Resolver) -> socket.socket:
    """Return a connected socket that does not block. Raises BrokerFault; Interrupted when ``halt`` became readable."""
    broker = faults.broker_name(host, port)
    try:
        peer = _connected(resolver.addresses(host, port, halt), halt)
        try:
            return peer if tls is None else _secured(peer, tls, host, halt)
        except BaseException:
            peer.close()
            raise
    except (OSError, UnicodeError) as error:
        raise faults.not_connected(broker, error) from error


def wait_for(peer: socket.socket, events: int, halt: socket.socket, until: float) -> None:
    """Wait for ``events`` of ``peer``. Raises TimeoutError; Interrupted when ``halt`` became readable."""
    with selectors.DefaultSelector() as selector:
        selector.register(peer, events)
        selector.register(halt, selectors.EVENT_READ)
        ready = {key.fileobj for key, _ in selector.select(max(0.0, until - time.monotonic()))}
    if halt in ready:
        raise faults.Interrupted("interrupted")
    if not ready:
        raise TimeoutError


def _connected(addresses: list[Address], halt: socket.socket) -> socket.socket:
    failure: OSError = OSError("the name has no address")
    for address in addresses[:MAX_ADDRESSES]:
        try:
            return _connect(address, halt)
        except OSError as error:
            failure = error
    raise failure


def _connect(address: Address, halt: socket.socket) -> socket.socket:
    family, kind, protocol, _, where = address
    peer = socket.socket(family, kind, protocol)
    try:
        peer.setblocking(False)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        code = peer.connect_ex(where)
        if code == errno.EINPROGRESS:
            wait_for(peer, selectors.EVENT_WRITE, halt, time.monotonic() + TCP_S)
            code = peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        _raise_for(code)
    except BaseException:
        peer.close()
        raise
    return peer


def _raise_for(code: int) -> None:
    if code != 0:
        raise OSError(code, os.strerror(code))


def _secured(peer: socket.socket, tls: ssl.SSLContext, host: str, halt: socket.socket) -> ssl.SSLSocket:
    secured = tls.wrap_socket(peer, server_hostname=host, do_handshake_on_connect=False)
    until = time.monotonic() + TLS_S
    try:
        while not _shook_hands(secured, halt, until):
            pass
        if secured.version() == "TLSv1.3":
            _await_verdict(secured, halt)
    except BaseException:
        secured.close()
        raise
    return secured


def _shook_hands(secured: ssl.SSLSocket, halt: socket.socket, until: float) -> bool:
    try:
        secured.do_handshake()
    except ssl.SSLWantReadError:
        wait_for(secured, selectors.EVENT_READ, halt, until)
        return False
    except ssl.SSLWantWriteError:
        wait_for(secured, selectors.EVENT_WRITE, halt, until)
        return False
    return True


def _await_verdict(secured: ssl.SSLSocket, halt: socket.socket) -> None:
    """Wait for what the broker thinks of our certificate: a ticket, or an alert that our first bytes would sweep away.

    With TLS 1.3 it comes after the handshake. Most brokers send tickets; others cost :data:`VERDICT_S`.
    """
    with contextlib.suppress(TimeoutError):
        wait_for(secured, selectors.EVENT_READ, halt, time.monotonic() + VERDICT_S)
        with contextlib.suppress(ssl.SSLWantReadError):
            if not secured.recv(1):
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed after the handshake")
            raise OSError("it speaks first, as no MQTT broker does; check mqtt.port")


class Resolver:
    """Looks names up; used by one thread. See the module."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], _Lookup] = {}

    def addresses(self, host: str, port: int, halt: socket.socket) -> list[Address]:
        """Return the addresses of a name. Raises OSError (TimeoutError, gaierror), UnicodeError, Interrupted."""
        with contextlib.suppress(socket.gaierror):  # not an address but a name
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        lookup = self._under_way.get((host, port))
        if lookup is None:
            self._forget_ended()
            if len(self._under_way) >= MAX_LOOKUPS:
                raise socket.gaierror(socket.EAI_AGAIN, f"{MAX_LOOKUPS} look-ups of names already hang")
            lookup = self._under_way[host, port] = _Lookup(host, port)
        try:
            wait_for(lookup.done, selectors.EVENT_READ, halt, time.monotonic() + RESOLVE_S)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {RESOLVE_S:g} s") from None
        del self._under_way[host, port]
        return lookup.result()

    def close(self) -> None:
        """Leave what still hangs behind."""
        self._under_way.clear()

    def _forget_ended(self) -> None:
        self._under_way = {name: lookup for name, lookup in self._under_way.items() if not lookup.ended}


class _Lookup:
    """One look-up on a thread of its own; ``done`` is readable once there is an answer."""

    def __init__(self, host: str, port: int) -> None:
        self.done, self._tell = socket.socketpair()
        self.ended = False
        self._addresses: list[Address] = []
        self._error: OSError | UnicodeError | None = None
        threading.Thread(target=self._run, args=(host, port), name="lookout-resolver", daemon=True).start()

    def _run(self, host: str, port: int) -> None:
        try:
            self._addresses = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            self._error = error
        self.ended = True
        self._tell.close()

    def result(self) -> list[Address]:
        """Return what was found, or raise what was not."""
        self.done.close()
        if self._error is not None:
            raise self._error
        return self._addresses
