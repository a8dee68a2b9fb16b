"""Log lines to the agent's own stream (stderr): as JSON, with the journal's priorities, or pretty for a terminal.

A stream that is gone, or whose reader stands still, never harms who logs: what could not be written is counted. A
reader that stands still is waited for once, for :data:`PATIENCE_S`; until it reads again nothing more is waited for.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import structlog

from agent.logs.entry import Entry
from agent.logs.processors import PRIORITIES

Render = Callable[[Entry], bytes]

PATIENCE_S = 1.0
_ATOMIC_BYTES = select.PIPE_BUF
"""A pipe that says it can be written to takes this much at once."""


class StreamSink:
    """Writes whole lines to a binary stream, each in one call, so that lines of several processes stay apart."""

    def __init__(self, stream: BinaryIO, render: Render) -> None:
        self._stream = stream
        self._render = render
        self._fd = _descriptor(stream)
        self._torn = False
        self.lost = 0
        self.problem: str | None = None

    def write(self, entries: list[Entry]) -> None:
        """Write one line an entry."""
        for entry in entries:
            line = self._render(entry) + b"\n"
            try:
                whole = self._put(b"\n" + line if self._torn else line)
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                whole, self.problem = False, f"the agent's stderr takes nothing: {error}"
            if not whole:
                self.lost += 1

    def close(self) -> None:
        """Leave the stream open: it is the process' own."""

    def _put(self, line: bytes) -> bool:
        if self._fd is None:  # in memory
            self._stream.write(line)
            self._stream.flush()
            return True
        done = 0
        while done < len(line):
            if not self._ready(self._fd):
                self.problem = "nobody reads the agent's stderr"
                self._torn = self._torn or done > 0
                return False
            done += os.write(self._fd, line[done : done + _ATOMIC_BYTES])
        self._torn, self.problem = False, None
        return True

    def _ready(self, fd: int) -> bool:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        return bool(poll.poll(0 if self.problem else PATIENCE_S * 1000))


def stream_sink(stream: BinaryIO, environ: Mapping[str, str]) -> StreamSink:
    """Return the sink of ``stream``: pretty for a terminal, with priorities for the journal, else JSON."""
    if stream.isatty():
        return StreamSink(stream, _console())
    return StreamSink(stream, _prioritised if goes_to_journal(stream, environ) else _json)


def goes_to_journal(stream: BinaryIO, environ: Mapping[str, str]) -> bool:
    """Tell whether ``stream`` is the one that systemd has connected to the journal (``$JOURNAL_STREAM``)."""
    fd = _descriptor(stream)
    if fd is None:
        return False
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _descriptor(stream: BinaryIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _json(entry: Entry) -> bytes:
    return entry.json


def _prioritised(entry: Entry) -> bytes:
    """Begin with ``<N>``, from which the journal takes a line's priority (sd-daemon(3))."""
    return f"<{PRIORITIES.get(entry.level, 6)}>".encode() + entry.json


def _console() -> Render:
    console = structlog.dev.ConsoleRenderer(
        timestamp_key="at", exception_formatter=structlog.dev.plain_traceback, colors=True
    )

    def render(entry: Entry) -> bytes:
        text: Any = console(None, entry.level, dict(entry.record))
        return str(text).encode("utf-8", "replace")

    return render
