"""The steps that a log record goes through, each a plain callable of structlog's form.

Order, in :func:`agent.logs.setup.configure`: gate, level, stamp, traceback, clean, keep, render. Everything after
``clean`` sees no secret, whoever logged it. A record that cannot be written as it is, is written as well as can be:
logging never raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec
import structlog

from agent.clock import rfc3339, utc_ms
from agent.redact import MARK, is_secret_key, redact

Record = MutableMapping[str, Any]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
MAX_TEXT_CHARS = 8192
MAX_ITEMS = 100
MAX_DEPTH = 6


class Gate:
    """Lets records of its level and above through; the level may change at any time, from any thread."""

    def __init__(self, level: str) -> None:
        self.level = level

    @property
    def level(self) -> str:
        """The least level that is logged."""
        return self._level

    @level.setter
    def level(self, level: str) -> None:
        self._least = LEVELS[level]
        self._level = level

    def __call__(self, _: Any, method: str, record: Record) -> Record:
        """Drop what is below the level."""
        if LEVELS.get("error" if method == "exception" else method, 50) < self._least:
            raise structlog.DropEvent
        return record


def stamp(_: Any, __: str, record: Record) -> Record:
    """Add ``at``, UTC; a child's line has its own."""
    record.setdefault("at", rfc3339(utc_ms()))
    return record


def clean(_: Any, __: str, record: Record) -> Record:
    """Hide secrets, make everything plain JSON values, and bound texts and lists."""
    return {str(key): MARK if is_secret_key(str(key)) else _plain(value, 0) for key, value in record.items()}


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:MAX_ITEMS]
        return {str(k): MARK if is_secret_key(str(k)) else _plain(v, depth + 1) for k, v in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value), depth)
    return _text(value)


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception as error:  # a foreign object's __str__: logging never raises
        return f"(a {type(value).__name__} that cannot be shown: {type(error).__name__})"
    text = text[: MAX_TEXT_CHARS + 1].encode("utf-8", "replace").decode()
    return redact(text) if len(text) <= MAX_TEXT_CHARS else f"{redact(text[:MAX_TEXT_CHARS])}…"


def as_json(record: Mapping[str, Any]) -> bytes:
    """Write a cleaned record as one line of JSON, the same few keys first."""
    first = {key: record[key] for key in ("at", "level", "part", "child", "event") if key in record}
    ordered = {**first, **record}
    try:
        return msgspec.json.encode(ordered)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):  # integers beyond 64 bits
        return json.dumps(ordered, default=str).encode()
