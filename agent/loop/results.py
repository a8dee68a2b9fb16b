"""From a worker's answer to rows that can be trusted. Pure.

The worker answers everything above its score floor. What is reported of it is decided later, after tracking, in
:mod:`agent.loop.seeing`: a tracker needs the low scores too. A worker's bytes are foreign input: what no model can have
given is refused here, so that nothing after it has to look again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from agent.clock import NS_PER_MS
from agent.errors import OutputError
from agent.process import rows
from agent.process.messages import Output
from agent.types import Classification, FrameRef, ReleaseId, Timings

_BOX_BYTES = 6 * 4


class Reporting(msgspec.Struct, frozen=True):
    """What of a release's answers is reported: its ``labels`` by class id, from ``score`` on, ``only`` these labels."""

    labels: tuple[str, ...]
    score: float
    only: frozenset[str] | None = None


class RawAnswer(msgspec.Struct, frozen=True):
    """What a worker answered to one frame, before anything is left out.

    ``rows`` float32 (n, 6) ``x1 y1 x2 y2 score class_id`` of a detector, finite, their classes within the release's
    labels; ``classes`` of a classifier, those that are reported. The other one is None.
    """

    frame: FrameRef
    release: ReleaseId
    rows: np.ndarray | None
    classes: tuple[Classification, ...] | None
    timings: Timings
    latency_ms: float


def read(output: Output, frame: FrameRef, release: ReleaseId, reporting: Reporting, now_ns: int) -> RawAnswer:
    """Return what ``output`` holds. Raises :class:`OutputError` for rows that no model can have given."""
    if (output.detections is None) == (output.classes is None):
        raise OutputError("a worker answered with neither or both of detections and classes: it is broken")
    return RawAnswer(
        frame=frame,
        release=release,
        rows=None if output.detections is None else _boxes(output.detections, len(reporting.labels)),
        classes=None if output.classes is None else _classes(output.classes, reporting),
        timings=output.timings,
        latency_ms=(now_ns - frame.at_ns) / NS_PER_MS,
    )


def _boxes(data: bytes, labels: int) -> np.ndarray:
    if len(data) % _BOX_BYTES:
        raise OutputError(f"a worker answered {len(data)} bytes, not whole rows of {_BOX_BYTES}: it is broken")
    found = np.frombuffer(data, np.float32).reshape(-1, 6)
    if not np.isfinite(found[:, :5]).all():
        raise OutputError("a worker answered a box that is not finite: it is broken")
    classes = found[:, 5]
    wrong = ~((classes >= 0) & (classes < labels))  # also true of what is not a number
    if wrong.any():
        raise _no_label(float(classes[wrong][0]), labels)
    return found


def _classes(data: bytes, reporting: Reporting) -> tuple[Classification, ...]:
    found = []
    for score, class_id in rows.classes(data):
        if score < reporting.score:
            break
        label = _label(class_id, reporting.labels)
        if reporting.only is None or label in reporting.only:
            found.append(Classification(int(class_id), label, score))
    return tuple(found)


def _label(class_id: float, labels: Sequence[str]) -> str:
    if not 0 <= class_id < len(labels):  # also false for what is not a number
        raise _no_label(class_id, len(labels))
    return labels[int(class_id)]


def _no_label(class_id: float, labels: int) -> OutputError:
    return OutputError(f"the model answered class {class_id:g}; the manifest names {labels} labels")
