"""Log records to systemd's journal, in its native protocol, so that each field of a record is a field of the entry.

An entry is one datagram to ``/run/systemd/journal/socket``: ``NAME=value`` lines, a value with a newline as its length
and bytes; one too large for a datagram goes as a sealed memfd (systemd's "Native Journal Protocol"). ``MESSAGE`` is for
people, ``PRIORITY`` the level, ``LOOKOUT_PART``, ``LOOKOUT_EVENT``, ``LOOKOUT_CHILD`` and one ``LOOKOUT_…`` for each
other field. Where the journal does not listen, the entry goes to ``otherwise``, the stream that systemd connected; each
entry tries anew, so that a journal that was restarted is used again.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.logs.entry import Entry, Sink
from agent.logs.processors import PRIORITIES

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "lookout"
PATIENCE_S = 1.0
MAX_NAME = 64

_FOREIGN = re.compile(r"[^A-Z0-9_]")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class JournalSink:
    """See the module. One thread at a time writes."""

    def __init__(self, otherwise: Sink, path: Path = SOCKET) -> None:
        self._otherwise = otherwise
        self._path = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(PATIENCE_S)

    @property
    def lost(self) -> int:
        """What neither the journal nor the stream took."""
        return self._otherwise.lost

    @property
    def problem(self) -> str | None:
        """Why."""
        return self._otherwise.problem

    def write(self, entries: list[Entry]) -> None:
        """Send each as a datagram."""
        for entry in entries:
            try:
                self._send(datagram(entry.record))
            except OSError:  # it is not there, or stands still: the stream, or its counter, has it
                self._otherwise.write([entry])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_large(data)

    def _send_large(self, data: bytes) -> None:
        fd = os.memfd_create("lookout-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with contextlib.closing(os.fdopen(os.dup(fd), "wb")) as file:
                file.write(data)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            self._socket.sendmsg([], rights, 0, self._path)
        finally:
            os.close(fd)


def datagram(record: Mapping[str, Any]) -> bytes:
    """Return a record as the journal's native protocol writes it."""
    return b"".join(_framed(name, value) for name, value in fields(record))


def fields(record: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield the fields of a record's entry; names that come out alike are one field with several values."""
    yield "MESSAGE", sentence(record).encode("utf-8", "replace")
    yield "PRIORITY", str(PRIORITIES.get(str(record.get("level")), 6)).encode()
    yield "SYSLOG_IDENTIFIER", IDENTIFIER.encode()
    for key, value in record.items():
        if key != "level" and value is not None:
            yield field_name(key), _value(value).encode("utf-8", "replace")


def field_name(key: str) -> str:
    """Return the journal's name of a field: large letters, digits and underscores, at most 64."""
    return f"LOOKOUT_{_FOREIGN.sub('_', key.upper())}"[:MAX_NAME]


def sentence(record: Mapping[str, Any]) -> str:
    """Return a record as a line for people: part, event, fields; a traceback on lines of its own."""
    head = " ".join(str(record[key]) for key in ("part", "child", "event") if record.get(key) is not None)
    skipped = {"at", "level", "part", "child", "event", "exception"}
    rest = " ".join(f"{key}={_value(value)}" for key, value in record.items() if key not in skipped)
    trace = record.get("exception")
    return f"{head} {rest}".rstrip() + (f"\n{trace}" if trace else "")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _framed(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
