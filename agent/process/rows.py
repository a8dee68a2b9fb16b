"""The rows of an answer, as they travel: packed 32-bit floats in the host's order. Pure, and without numpy.

A worker's bytes are foreign input to the agent: what is not whole rows is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from agent.errors import OutputError

_BOX = struct.Struct("=6f")
_CLASS = struct.Struct("=2f")


def boxes(data: bytes) -> Iterator[tuple[float, float, float, float, float, float]]:
    """Read ``x1 y1 x2 y2 score class_id`` rows, source pixels, best first. Raises :class:`OutputError`."""
    return _rows(_BOX, data)


def classes(data: bytes) -> Iterator[tuple[float, float]]:
    """Read ``score class_id`` rows, best first. Raises :class:`OutputError`."""
    return _rows(_CLASS, data)


def _rows(row: struct.Struct, data: bytes) -> Iterator[Any]:
    if len(data) % row.size:
        raise OutputError(f"a worker answered {len(data)} bytes, not whole rows of {row.size}: it is broken")
    return row.iter_unpack(data)
