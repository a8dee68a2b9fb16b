"""What a child writes on stdout and stderr, sorted: log lines (JSON) and native text. Pure.

A line that is a JSON object with an ``event`` is a log line; anything else (OpenCV, FFmpeg, a traceback, a fault
handler's dump) is native text, of which the last :data:`KEPT_BYTES` are kept to be quoted when the child fails. A
child gone mad costs nothing: a line has at most :data:`MAX_LINE_BYTES`, the rest is cut off; beyond a rate lines are
dropped and counted. Credentials in URLs are taken out of native text here; log lines are cleaned by the child itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.clock import NS_PER_S
from agent.redact import redact

KEPT_BYTES = 4096
MAX_LINE_BYTES = 16 * 1024
BURST_LINES = 200
LINES_PER_S = 50


class ChildLines:
    """The sorter of one child's output; one thread feeds it, any thread may read ``native_text``."""

    def __init__(self, child: str, now_ns: int) -> None:
        self._child = child
        self._partial = b""
        self._cutting = False
        self._native = b""
        self._allowance = float(BURST_LINES)
        self._filled_ns = now_ns
        self._dropped = 0

    def feed(self, data: bytes, now_ns: int) -> list[Mapping[str, Any]]:
        """Take bytes as they came; return the log lines that became whole."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        found = [line for raw in lines if (line := self._take(raw, now_ns)) is not None]
        if len(self._partial) > MAX_LINE_BYTES:
            self._keep(self._partial[:MAX_LINE_BYTES] + b" [cut]")
            self._partial, self._cutting = b"", True
        return self._with_dropped(found)

    def finish(self, now_ns: int) -> list[Mapping[str, Any]]:
        """Take what was left without an end of line: the child ended."""
        return self.feed(b"\n", now_ns) if self._partial else []

    def native_text(self) -> str:
        """Return the last native text, without credentials."""
        return redact(self._native.decode("utf-8", "replace").strip())

    def _take(self, raw: bytes, now_ns: int) -> Mapping[str, Any] | None:
        if self._cutting:  # the rest of a line whose start was too long already
            self._cutting = False
            return None
        record = _log_line(raw) if len(raw) <= MAX_LINE_BYTES else None
        if record is None:
            self._keep(raw)
            return None
        if not self._may_pass(now_ns):
            self._dropped += 1
            return None
        return record

    def _keep(self, raw: bytes) -> None:
        text = raw.strip()
        if text:
            self._native = (self._native + text[-KEPT_BYTES:] + b"\n")[-KEPT_BYTES:]

    def _may_pass(self, now_ns: int) -> bool:
        earned = (now_ns - self._filled_ns) / NS_PER_S * LINES_PER_S
        self._allowance = min(float(BURST_LINES), self._allowance + earned)
        self._filled_ns = now_ns
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _with_dropped(self, found: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Once lines pass again, say before them how many did not."""
        if found and self._dropped:
            note = {"event": "log.dropped", "level": "warning", "part": self._child, "lines": self._dropped}
            self._dropped = 0
            return [note, *found]
        return found


def _log_line(raw: bytes) -> Mapping[str, Any] | None:
    if not raw.startswith(b"{"):
        return None
    try:
        record = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("event"), str) else None
