"""The few bytes of MQTT that a login takes, without a will and without a session. Pure."""

from __future__ import annotations

import struct

from agent.link.wire import Protocols

DISCONNECT = b"\xe0\x00"
_IN_5 = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""What MQTT 5 calls the five refusals of 3.1.1."""

_KEEPALIVE_S = 30
_CLEAN, _PASSWORD, _USERNAME = 0x02, 0x40, 0x80
_MAX_VARINT_BYTES = 4


def connect_packet(protocol: Protocols, client_id: str, username: str | None, password: str | None) -> bytes:
    """Return a CONNECT: a session of its own that ends with the connection, no will."""
    flags = _CLEAN | (_USERNAME if username is not None else 0) | (_PASSWORD if password is not None else 0)
    level, properties = (5, b"\0") if protocol == "5" else (4, b"")
    body = _text("MQTT") + bytes((level, flags)) + struct.pack("!H", _KEEPALIVE_S) + properties + _text(client_id)
    for word in (username, password):
        body += b"" if word is None else _text(word)
    return b"\x10" + _length(len(body)) + body


def read_connack(data: bytes) -> int | None:
    """Return the reason code, 0: taken, as MQTT 5 counts; None while it is too little. Raises ``ValueError``: none."""
    if data and data[0] != 0x20:
        raise ValueError("not a CONNACK")
    at = 1
    while at < len(data) and at <= _MAX_VARINT_BYTES and data[at] & 0x80:
        at += 1
    if len(data) < at + 3:
        return None
    if at > _MAX_VARINT_BYTES or data[at] & 0x80:
        raise ValueError("not a CONNACK")
    code = data[at + 2]
    return _IN_5.get(code, code) if data[1] == 2 else code


def _text(word: str) -> bytes:
    data = word.encode()
    return struct.pack("!H", len(data)) + data


def _length(count: int) -> bytes:
    """Return the remaining length, seven bits a byte."""
    found = bytearray()
    while True:
        count, low = divmod(count, 128)
        found.append(low | (0x80 if count else 0))
        if not count:
            return bytes(found)
