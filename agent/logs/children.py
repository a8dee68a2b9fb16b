"""Passes on what children log: one JSON object a line, decoded, bounded and rate-limited by the reader of the pipe.

The line keeps its level and its own time, and gets ``child``. Children handle foreign input, so nothing about a line
is believed: keys that structlog needs for itself are renamed, an unknown level is taken for a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

_RESERVED = {"self", "event", "level", "child", "method_name", "args", "exc_info", "stack_info", "positional_args"}
_LEVELS = {"debug", "info", "warning", "error", "critical"}

log = structlog.get_logger()


def forward(child: str, line: Mapping[str, Any]) -> None:
    """Log a child's line; any thread may call, it never raises."""
    level = line.get("level")
    event = str(line.get("event", "(no event)"))
    rest = {
        (f"{key}_" if key in _RESERVED else key): value for key, value in line.items() if key not in ("event", "level")
    }
    write = getattr(log, level if isinstance(level, str) and level in _LEVELS else "warning")
    # % in the event must not be taken for a format: structlog formats only where there are arguments.
    write(event, child=child, **rest)
