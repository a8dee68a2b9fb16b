"""Which MQTT a broker speaks, found with a bare MQTT 5 CONNECT that no broker misreads.

Some 3.1.1 brokers hang without a word on a version 5 CONNECT that holds a will, a user name or properties, but answer
a bare one. So a first connection under a random id asks: a CONNACK with a remaining length of 3 or more is version 5
(even "not authorised"); a 2-byte one is 3.1.1; silence until the deadline or a close mean 3.1.1 too, but are no proof:
the network may be slow. :class:`ProtocolMemory` keeps what was found, so that a broker is asked once.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping

from agent.link import faults
from agent.link.dial import wait_for
from agent.link.wire import Protocols

Verdict = tuple[Protocols, bool]
"""The protocol, and whether the broker itself said so."""

DEADLINE_S = 2.0
DISCONNECT = b"\xe0\x00"


def connect_packet(client_id: str) -> bytes:
    """Return a bare version 5 CONNECT: clean start, keep alive 10 s, no properties, no will, nobody's name. Pure."""
    body = b"\x00\x04MQTT\x05\x02\x00\x0a\x00" + struct.pack("!H", len(client_id)) + client_id.encode()
    return bytes((0x10, len(body))) + body


def read_answer(data: bytes) -> Protocols | None:
    """Judge what came back; None while it is too little to judge. Raises ``ValueError``: no broker. Pure."""
    if not data:
        return None
    if data[0] != 0x20:
        raise ValueError("not a CONNACK")
    if len(data) < 2:
        return None
    return "5" if data[1] >= 3 else "3.1.1"


def probe(
    dial: Callable[[], socket.socket], broker: str, halt: socket.socket, *, deadline_s: float = DEADLINE_S
) -> Verdict:
    """Ask one broker. Raises BrokerFault; Interrupted when ``halt`` became readable."""
    with contextlib.closing(dial()) as connection:
        connection.settimeout(deadline_s)
        try:
            connection.sendall(connect_packet(f"lookout-probe-{secrets.token_hex(4)}"))
            answer = _answer(connection, broker, halt, time.monotonic() + deadline_s)
            if answer == "5":
                connection.sendall(DISCONNECT)
            return (answer, True) if answer is not None else ("3.1.1", False)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return "3.1.1", False  # it closed on us
        except ssl.SSLError as error:  # TLS 1.3 says only now that it wants a certificate of ours
            raise faults.not_connected(broker, error) from error
        except OSError:
            return "3.1.1", False


def _answer(connection: socket.socket, broker: str, halt: socket.socket, deadline: float) -> Protocols | None:
    data = b""
    while time.monotonic() < deadline:
        if not (isinstance(connection, ssl.SSLSocket) and connection.pending() > 0):
            wait_for(connection, selectors.EVENT_READ, halt, deadline)
        chunk = connection.recv(64)
        if not chunk:
            break
        data += chunk
        try:
            verdict = read_answer(data)
        except ValueError:
            raise faults.foreign(broker, data) from None
        if verdict is not None:
            return verdict
    return None


class ProtocolMemory:
    """Which broker (``host:port``) speaks what. One for the process; any thread.

    ``known`` is what an earlier process found; ``keep`` is told of every change (None: forget), to make it durable.
    """

    def __init__(
        self,
        known: Mapping[str, Protocols] | None = None,
        keep: Callable[[str, Protocols | None], None] = lambda _broker, _protocol: None,
    ) -> None:
        self._known = dict(known or {})
        self._keep = keep
        self._lock = threading.Lock()

    def get(self, broker: str) -> Protocols | None:
        """Return what was found, None if nothing was."""
        with self._lock:
            return self._known.get(broker)

    def learn(self, broker: str, protocol: Protocols, *, sure: bool = True) -> None:
        """Remember what a connection proved; what is not ``sure`` is not made durable."""
        with self._lock:
            changed = self._known.get(broker) != protocol
            self._known[broker] = protocol
        if changed and sure:
            self._keep(broker, protocol)

    def forget(self, broker: str) -> None:
        """Ask again next time: what was found may not hold any more."""
        with self._lock:
            changed = self._known.pop(broker, None) is not None
        if changed:
            self._keep(broker, None)
