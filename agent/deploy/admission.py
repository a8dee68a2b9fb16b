"""Whether a candidate can be loaded beside current: what it will need against what the device has left. Pure.

MB are 10^6 bytes. What this host measured of the variant is known best; what the manifest says comes next; else
the file's size times :data:`FILE_FACTOR` plus what any worker holds. Current is loaded, so the memory that is available
is what remains beside it.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from agent.types import MB

FILE_FACTOR = 2.5
"""Weights, their repacked copies, and the tensors between layers, times the file."""
WORKER_MB = 60.0
"""Interpreter, ONNX Runtime and OpenCV, before any model."""


class Need(NamedTuple):
    """What a candidate needs, MB; ``known``: measured or stated, no guess. ``source`` says which, in words."""

    mb: float
    source: str
    known: bool


class Way(enum.Enum):
    """How a candidate is loaded."""

    BESIDE = enum.auto()
    """Current stays."""
    UNLOAD_FIRST = enum.auto()
    """Current is closed first."""
    REFUSE = enum.auto()
    """Not at all: it would not fit alone."""


class Admission(NamedTuple):
    """The decision, and why, in words."""

    way: Way
    reason: str


def need_of(*, measured_mb: float | None, required_mb: float | None, file_bytes: int) -> Need:
    """Return what one variant needs."""
    if measured_mb is not None:
        return Need(measured_mb, "measured on this host", known=True)
    if required_mb is not None:
        return Need(required_mb, "requires.memory_mb of its manifest", known=True)
    return Need(WORKER_MB + FILE_FACTOR * file_bytes / MB, "estimated from its file", known=False)


def admit(need: Need, *, available_mb: float | None, current_mb: float | None, floor_mb: float) -> Admission:
    """Decide; ``available_mb`` None: the host does not tell, ``current_mb`` None: nothing serves.

    A candidate that would not even fit alone is refused only where its need is known; the floor is what one would like
    to keep, and does not stop the only way there is.
    """
    if available_mb is None:
        return Admission(Way.BESIDE, "")
    words = f"it needs {need.mb:.0f} MB ({need.source}), {available_mb:.0f} MB are available"
    if need.mb <= available_mb - floor_mb:
        return Admission(Way.BESIDE, "")
    alone_mb = available_mb + (current_mb or 0.0)
    if need.known and need.mb > alone_mb:
        return Admission(Way.REFUSE, f"{words} and {alone_mb:.0f} MB without the current model: it cannot be loaded")
    if current_mb is None:
        return Admission(Way.BESIDE, "")
    return Admission(Way.UNLOAD_FIRST, f"{words} and {floor_mb:.0f} MB are to stay free")
