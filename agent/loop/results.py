"""From a worker's answer to a result: rows become detections or classes, above the reporting threshold. Pure.

The worker answers everything above its score floor; what is reported is decided here, in the agent. Rows come best
first, so reading ends at the first one below the threshold. No numpy: a frame's rows are few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from agent.clock import NS_PER_MS
from agent.errors import OutputError
from agent.process import rows
from agent.process.messages import Output
from agent.types import Classification, Detection, FrameRef, ReleaseId, Result


class Reporting(msgspec.Struct, frozen=True):
    """What of a release's answers is reported: its ``labels`` by class id, from ``score`` on, ``only`` these labels."""

    labels: tuple[str, ...]
    score: float
    only: frozenset[str] | None = None


def read(output: Output, frame: FrameRef, release: ReleaseId, reporting: Reporting, now_ns: int) -> Result:
    """Return the result that ``output`` means. Raises :class:`OutputError` for rows that no model can have given."""
    if (output.detections is None) == (output.classes is None):
        raise OutputError("a worker answered with neither or both of detections and classes: it is broken")
    return Result(
        frame=frame,
        release=release,
        detections=None if output.detections is None else _detections(output.detections, reporting),
        classes=None if output.classes is None else _classes(output.classes, reporting),
        timings=output.timings,
        latency_ms=(now_ns - frame.at_ns) / NS_PER_MS,
    )


def _detections(data: bytes, reporting: Reporting) -> tuple[Detection, ...]:
    found = []
    for x1, y1, x2, y2, score, class_id in rows.boxes(data):
        if score < reporting.score:
            break
        label = _label(class_id, reporting.labels)
        if not math.isfinite(x1 + y1 + x2 + y2 + score):
            raise OutputError("a worker answered a box that is not finite: it is broken")
        if reporting.only is None or label in reporting.only:
            found.append(Detection(int(class_id), label, score, (x1, y1, x2, y2)))
    return tuple(found)


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
        raise OutputError(f"the model answered class {class_id:g}; the manifest names {len(labels)} labels")
    return labels[int(class_id)]
