"""A broker that does as it likes: it takes every client, and sends it whatever a test says, asked for or not.

It speaks enough of MQTT 5 and 3.1.1 that a device believes it, and keeps none of the promises of a broker: it heeds no
subscription, no receive maximum and no maximum packet size, forges retained messages, and ends sessions as taken over.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ = 1, 3, 4, 8, 12
CONNACK = {5: b"\x20\x03\x00\x00\x00", 4: b"\x20\x02\x00\x00"}
TAKEN_OVER = b"\xe0\x02\x8e\x00"
RESPONSE_TOPIC, CORRELATION = 0x08, 0x09


@dataclass(frozen=True)
class Message:
    """What the device published."""

    topic: str
    payload: bytes
    retained: bool


class Peer:
    """One client that is connected."""

    def __init__(self, connection: socket.socket, level: int) -> None:
        self.connection, self.level = connection, level
        self.lock = threading.Lock()
        self.subscribed = False
        self.acknowledged = 0

    def send(self, data: bytes) -> None:
        with self.lock:
            self.connection.sendall(data)


class HostileBroker:
    """Listens on ``port`` of loopback. Everything that a client published is in ``seen``."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.seen: list[Message] = []
        self.connections = 0
        self.changed = threading.Condition()
        self._peer: Peer | None = None
        self._number = 0
        self._closing = False
        threading.Thread(target=self._accept, daemon=True, name="hostile-broker").start()

    def close(self) -> None:
        self._closing = True
        self.listener.close()
        self.drop()

    # --- what a test sees --------------------------------------------------------------------------------------------

    def wait(self, what: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """Return what ``what`` gives as soon as it is true."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not (found := what()):
                left = deadline - time.monotonic()
                assert left > 0, (
                    f"not seen within {timeout_s:g} s; last {[(m.topic, m.payload[:200]) for m in self.seen[-8:]]}"
                )
                self.changed.wait(min(left, 0.2))
            return found

    def on(self, topic: str) -> list[Any]:
        """What came on a topic, JSON decoded where it is JSON."""
        with self.changed:
            found = [message.payload for message in self.seen if message.topic == topic]
        return [json.loads(payload) if payload[:1] in b"{[" and payload else payload for payload in found]

    @property
    def connected(self) -> bool:
        """Whether a client is there."""
        return self._peer is not None

    def peer(self) -> Peer:
        """The client, once it has subscribed."""
        return self.wait(lambda: self._peer if self._peer is not None and self._peer.subscribed else None)  # type: ignore[no-any-return]

    # --- what a test sends -------------------------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: bytes | dict[str, Any] | str,
        *,
        qos: int = 1,
        retained: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        """Send a message, whether the client subscribed to it or not."""
        peer = self.peer()
        body = (
            payload
            if isinstance(payload, bytes)
            else (payload if isinstance(payload, str) else json.dumps(payload)).encode()
        )
        head = _text(topic.encode())
        if qos:
            self._number = self._number % 65_535 + 1
            head += struct.pack(">H", self._number)
        if peer.level == 5:
            properties = b"" if response_topic is None else bytes((RESPONSE_TOPIC,)) + _text(response_topic.encode())
            properties += b"" if correlation is None else bytes((CORRELATION,)) + _text(correlation)
            head += _length(len(properties)) + properties
        peer.send(bytes((PUBLISH << 4 | qos << 1 | retained,)) + _length(len(head) + len(body)) + head + body)

    def raw(self, data: bytes) -> None:
        """Send bytes that may be no MQTT."""
        self.peer().send(data)

    def take_over(self) -> None:
        """End the client's session as another client of its name would."""
        self.raw(TAKEN_OVER)
        self._hang_up(socket.SHUT_WR)  # what the client sends meanwhile is still read: else it would get a reset first

    def drop(self) -> None:
        """Hang up."""
        self._hang_up(socket.SHUT_RDWR)

    def _hang_up(self, how: int) -> None:
        with self.changed:
            peer, self._peer = self._peer, None
        if peer is not None:
            with contextlib.suppress(OSError):
                peer.connection.shutdown(how)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closing:
            with contextlib.suppress(OSError):
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True, name="hostile-peer").start()

    def _serve(self, connection: socket.socket) -> None:
        peer: Peer | None = None
        with contextlib.suppress(OSError), connection:
            for kind, flags, body in _packets(connection):
                if kind == CONNECT:
                    level = body[6]
                    peer = Peer(connection, 5 if level == 5 else 4)
                    peer.send(CONNACK[peer.level])
                elif peer is not None:
                    self._answer(peer, kind, flags, body)
        with self.changed:
            if self._peer is peer:
                self._peer = None

    def _answer(self, peer: Peer, kind: int, flags: int, body: bytes) -> None:
        if kind == SUBSCRIBE:
            count = _filters(body, peer.level)
            extra = b"\x00" if peer.level == 5 else b""
            with self.changed:  # whoever the client tells that it is connected finds it here
                peer.send(b"\x90" + _length(2 + len(extra) + count) + body[:2] + extra + b"\x01" * count)
                self.connections += not peer.subscribed
                self._peer, peer.subscribed = peer, True
                self.changed.notify_all()
        elif kind == PUBLISH:
            self._keep(peer, flags, body)
        elif kind == PUBACK:
            peer.acknowledged += 1
        elif kind == PINGREQ:
            peer.send(b"\xd0\x00")

    def _keep(self, peer: Peer, flags: int, body: bytes) -> None:
        size = struct.unpack_from(">H", body)[0]
        topic, at = body[2 : 2 + size].decode(), 2 + size
        if flags & 0x06:
            peer.send(b"\x40\x02" + body[at : at + 2])
            at += 2
        if peer.level == 5:
            length, at = _read_length(body, at)
            at += length
        with self.changed:
            self.seen.append(Message(topic, body[at:], bool(flags & 1)))
            self.changed.notify_all()


def _text(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _length(number: int) -> bytes:
    found = bytearray()
    while True:
        number, digit = divmod(number, 128)
        found.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(found)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        digit = data[at]
        number, shift, at = number | (digit & 0x7F) << shift, shift + 7, at + 1
        if not digit & 0x80:
            return number, at


def _filters(body: bytes, level: int) -> int:
    at, count = 2, 0
    if level == 5:
        length, at = _read_length(body, at)
        at += length
    while at < len(body):
        at += 2 + struct.unpack_from(">H", body, at)[0] + 1
        count += 1
    return count


def _packets(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    with connection.makefile("rb") as stream:
        while head := stream.read(1):
            number = shift = 0
            while True:
                digit = stream.read(1)
                if not digit:
                    return
                number, shift = number | (digit[0] & 0x7F) << shift, shift + 7
                if not digit[0] & 0x80:
                    break
            yield head[0] >> 4, head[0] & 0x0F, stream.read(number)
