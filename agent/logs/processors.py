"""The steps that a log record goes through on the thread that logs, each a plain callable of structlog's form.

Order, in :func:`agent.logs.setup.configure`: levels, level's name, stamp, traceback, clean; then the record is handed
to :class:`agent.logs.desk.LogDesk`. Everything after ``clean`` sees no secret, whoever logged it, and only plain
values that nobody changes any more. A record that cannot be written as it is, is written as well as can be: logging
never raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import msgspec

from agent.clock import rfc3339, utc_ms
from agent.known_secrets import MAX_CHARS, hide
from agent.redact import MARK, is_secret_key

Record = MutableMapping[str, Any]

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
MAX_TEXT_CHARS = 8192
MAX_RECORD_CHARS = 32 * 1024
MAX_ITEMS = 100
MAX_DEPTH = 6
MAX_KEY_CHARS = 200

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_FIRST = ("at", "level", "part", "child", "event")


def stamp(_: Any, __: str, record: Record) -> Record:
    """Add ``at``, UTC; a child's line has its own."""
    at = record.get("at")
    if not (isinstance(at, str) and _STAMP.fullmatch(at)):
        record["at"] = rfc3339(utc_ms())
    return record


def clean(_: Any, __: str, record: Record) -> Record:
    """Hide secrets, make everything plain JSON values, and bound texts, lists and the whole.

    Only ``at`` and ``level``, which are the agent's own words by now, are left as they are.
    """
    room = _Room(MAX_RECORD_CHARS)
    cleaned: dict[str, Any] = {key: record[key] for key in ("at", "level") if key in record}
    ordered = [key for key in _FIRST[2:] if key in record] + [key for key in record if key not in _FIRST]
    return cleaned | _plain_map([(key, record[key]) for key in ordered], 0, room)


class _Room:
    """How many characters a record may still take."""

    def __init__(self, chars: int) -> None:
        self._left = chars

    @property
    def full(self) -> bool:
        """Whether nothing more goes in."""
        return self._left <= 0

    def fit(self, text: str) -> str:
        """Return as much of a text as goes in."""
        fitting = text[: max(0, self._left)]
        self._left -= len(text)
        return fitting if len(fitting) == len(text) else f"{fitting}…"

    def spend(self, chars: int) -> None:
        """Use some of it."""
        self._left -= chars


def _plain(value: Any, depth: int, room: _Room) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:  # no reader of JSON wants thousands of digits
        value = _magnitude(value)
    if value is None or isinstance(value, bool | int | float):
        room.spend(8)
        return value
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return _plain_map(list(value.items())[:MAX_ITEMS], depth + 1, room)
    if isinstance(value, list | tuple | set | frozenset):
        plain: list[Any] = []
        for item in list(value)[:MAX_ITEMS]:
            if room.full:
                return [*plain, "…"]
            plain.append(_plain(item, depth + 1, room))
        return plain
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value), depth, room)
    return room.fit(_text(value))


def _plain_map(items: Iterable[tuple[Any, Any]], depth: int, room: _Room) -> dict[str, Any]:
    """Return a map; a key never loses its name for want of room, but comes alone, or not at all."""
    plain: dict[str, Any] = {}
    for key, value in items:
        name = key if key in _FIRST and depth == 0 else _text(key)[:MAX_KEY_CHARS]
        if room.full:
            plain["…"] = "…"
            return plain
        room.spend(len(name))
        plain[name] = MARK if is_secret_key(str(key)) else _plain(value, depth, room)
    return plain


def _magnitude(number: int) -> str:
    """Return roughly how large an integer is that is too large to write."""
    return f"{'-' if number < 0 else ''}2^{number.bit_length()}"


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception as error:  # a foreign object's __str__: logging never raises
        return f"(a {type(value).__name__} that cannot be shown: {type(error).__name__})"
    # A secret that the cut goes through would not be found: what comes so late that it may be one is left out.
    cut = text[: MAX_TEXT_CHARS + 2 * MAX_CHARS].encode("utf-8", "replace").decode()
    hidden = hide(cut)
    if len(cut) < len(text):
        hidden = hidden[:-MAX_CHARS]
    return hidden if len(hidden) <= MAX_TEXT_CHARS else f"{hidden[:MAX_TEXT_CHARS]}…"


def as_json(record: Mapping[str, Any]) -> bytes:
    """Write a cleaned record as one line of JSON, the same few keys first."""
    first = {key: record[key] for key in _FIRST if key in record}
    ordered = {**first, **record}
    try:
        return msgspec.json.encode(ordered)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):  # not cleaned
        return json.dumps(ordered, default=str).encode()
