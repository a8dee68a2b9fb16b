"""Where log lines go: one stream, as JSON, for a journal with its priority, or for a person at a terminal.

A stream that is gone or full of trouble never harms who logs: what could not be written is counted. Under systemd
each line begins with ``<N>``, from which the journal takes its priority (sd-daemon(3)).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import structlog

from agent.logs.processors import Record, as_json

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

Render = Callable[[Record], bytes]


class LineWriter:
    """Writes whole lines to a binary stream; any thread may call."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.lost = 0

    def msg(self, line: bytes) -> None:
        """Write one line in one call, so that lines of several processes on one stream stay apart."""
        with self._lock:
            try:
                self._stream.write(line + b"\n")
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream was closed
                self.lost += 1

    debug = info = warning = error = critical = exception = fatal = log = msg


def renderer(stream: BinaryIO, environ: Mapping[str, str]) -> Render:
    """Return how records are written to ``stream``: pretty to a terminal, with priorities to the journal, else JSON."""
    if stream.isatty():
        return _console()
    return _journal if goes_to_journal(stream, environ) else as_json


def goes_to_journal(stream: BinaryIO, environ: Mapping[str, str]) -> bool:
    """Tell whether ``stream`` is the one that systemd has connected to the journal (``$JOURNAL_STREAM``)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _journal(record: Record) -> bytes:
    return f"<{PRIORITIES.get(str(record.get('level')), 6)}>".encode() + as_json(record)


def _console() -> Render:
    console = structlog.dev.ConsoleRenderer(
        timestamp_key="at", exception_formatter=structlog.dev.plain_traceback, colors=True
    )

    def render(record: Record) -> bytes:
        text: Any = console(None, str(record.get("level", "info")), dict(record))
        return str(text).encode("utf-8", "replace")

    return render
