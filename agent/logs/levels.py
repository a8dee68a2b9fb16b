"""Which records are logged: the least level of all parts, of some, and for a while another one.

The order of what counts: a temporary level of the part, a temporary one of all parts, the part's configured level, the
configured level. Any thread may ask and set; asking takes no lock, since what is in force is one table that is
replaced in one step. Nothing here reads a clock: whoever owns the time ends what is temporary with :meth:`expire`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from agent.logs.processors import LEVELS, Record

PARTS = (
    "agent", "capture", "config", "deploy", "fetch", "governor", "homeassistant", "infer", "inspect", "link", "logs",
    "loop", "process", "registry", "serve", "steer", "storage", "supervise", "telemetry", "web", "worker",
)  # fmt: skip
"""Every part of the agent that logs under a name; libraries log under their own (``paho``, ``watchdog``)."""

OTHER_PARTS = ("asyncio", "paho", "py", "uvicorn", "watchdog")


class Levels:
    """See the module. As a processor of structlog it drops what is not to be logged."""

    def __init__(self, level: str = "info", parts: Mapping[str, str] | None = None) -> None:
        self._lock = threading.Lock()
        self._level = level
        self._parts = dict(parts or {})
        self._temporary: dict[str | None, tuple[str, int]] = {}
        self._listener: Callable[[str], None] | None = None
        self._in_force = _Table(LEVELS[level], {})
        self._lay()

    def configure(self, level: str, parts: Mapping[str, str]) -> None:
        """Set the configured levels; temporary ones stay."""
        with self._lock:
            self._level, self._parts = level, dict(parts)
        self._changed()

    def set_for(self, level: str, part: str | None, until_ns: int) -> None:
        """Log ``part``, None: all, at ``level`` until :meth:`expire` is called with a later time."""
        with self._lock:
            if part is None:  # the newest word for all takes the place of earlier ones for some
                self._temporary.clear()
            self._temporary[part] = (level, until_ns)
        self._changed()

    def expire(self, now_ns: int) -> tuple[str | None, ...]:
        """Return to the configured level where it is time; return the parts (None: all) that did."""
        with self._lock:
            over = tuple(part for part, (_, until_ns) in self._temporary.items() if until_ns <= now_ns)
            for part in over:
                del self._temporary[part]
        if over:
            self._changed()
        return over

    def due_ns(self) -> int | None:
        """Return when the next temporary level ends."""
        with self._lock:
            return min((until_ns for _, until_ns in self._temporary.values()), default=None)

    def level_of(self, part: str | None) -> str:
        """Return the least level that ``part`` logs now; None: that of parts nothing is said about."""
        number = self._in_force.parts.get(part or "", self._in_force.default)
        return next(name for name, value in LEVELS.items() if value == number)

    @property
    def least(self) -> str:
        """The lowest level that any part logs: what children must send."""
        return next(name for name, value in LEVELS.items() if value == self._in_force.least)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call ``listener`` with the least level, now and whenever something changed."""
        self._listener = listener
        listener(self.least)

    def temporary(self) -> dict[str, str]:
        """Return what is logged otherwise than configured, by part (``*``: all)."""
        with self._lock:
            return {part or "*": level for part, (level, _) in self._temporary.items()}

    def __call__(self, _: Any, method: str, record: Record) -> Record:
        """Drop what is below the level of its part."""
        number = LEVELS.get("error" if method == "exception" else method, 50)
        table = self._in_force
        if number < table.least or number < table.parts.get(str(record.get("part")), table.default):
            raise structlog.DropEvent
        return record

    def _changed(self) -> None:
        self._lay()
        if self._listener is not None:
            self._listener(self.least)

    def _lay(self) -> None:
        with self._lock:
            everywhere = self._temporary.get(None)
            default = LEVELS[everywhere[0] if everywhere else self._level]
            parts = {} if everywhere else {part: LEVELS[level] for part, level in self._parts.items()}
            parts |= {part: LEVELS[level] for part, (level, _) in self._temporary.items() if part is not None}
            self._in_force = _Table(default, parts)


class _Table:
    """Levels as numbers; never changed once made."""

    def __init__(self, default: int, parts: Mapping[str, int]) -> None:
        self.default, self.parts = default, parts
        self.least = min([default, *parts.values()])
