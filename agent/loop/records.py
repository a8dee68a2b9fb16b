"""What a pipeline tells: frozen records that any thread may hold and any part may import. Pure.

Durations are milliseconds or seconds as named; counters never go down during a pipeline's life. ``lost``, ``skipped``
and ``gated`` are three different things and never mixed: a frame that was sent to a worker and will never be answered;
a live frame that a newer one replaced; a frame that the motion gate left out.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from agent.process.messages import Condition, Output
from agent.telemetry.histogram import Snapshot
from agent.types import CameraName, PipelineName, ReleaseId
from agent.vision.whynot import Sights

Stage = Literal["capture", "wait", "preprocess", "run", "postprocess", "see", "latency"]
"""``capture``: from the camera to the agent, of every frame that came. Of those that were answered: the stages inside
the worker (``wait``: between them), ``see``: tracks, zones and events, and ``latency``: from the camera to the answer
in the agent, ``see`` left out."""

Cause = Literal["swap", "swap_back", "fall_back"]
"""Why another worker serves: it was swapped in, rolled back to, or took over from one that died or hung."""

CameraHealth = Literal["opening", "streaming", "stalled", "failed", "ended", "lost"]
"""What capture says of a camera; ``lost``: the capture process died, the camera is being opened again."""


class LatencySummary(msgspec.Struct, frozen=True):
    """A distribution in five numbers, milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, samples: Snapshot) -> LatencySummary:
        """Sum a histogram up."""
        return cls(samples.count, samples.p50_ms, samples.p95_ms, samples.p99_ms, samples.max_ms)


class SwapSeen(msgspec.Struct, frozen=True):
    """A change of the serving worker, told after the new one's first answer.

    ``gap_ms`` is the time from the last result of the old worker to the first of the new one, less one steady interval
    (never negative; None where nothing was answered before). ``old`` is who gave the last result before, None where
    nobody had. ``lost`` and ``skipped`` count what happened between the order to swap and that first answer.
    """

    cause: Cause
    old: ReleaseId | None
    new: ReleaseId
    gap_ms: float | None
    lost: int
    skipped: int


class ServedSample(msgspec.Struct, frozen=True):
    """How the current worker does since it began to serve.

    ``inference`` sums the stages of a frame inside the worker, waiting left out. ``detections_per_frame`` counts what
    is reported (above the reporting threshold), for a classifier the classes.
    """

    release: ReleaseId
    frames: int
    seconds: float
    inference: LatencySummary
    detections_per_frame: float

    @property
    def p50_ms(self) -> float:
        """Median inference time."""
        return self.inference.p50_ms

    @property
    def p95_ms(self) -> float:
        """95 % of the frames took no longer."""
        return self.inference.p95_ms


class ShadowPair(msgspec.Struct, frozen=True):
    """What current (``release``) and a candidate in its shadow answered to one frame, everything above their floors."""

    release: ReleaseId
    camera: CameraName
    current: Output
    candidate: Output


class CameraStatistics(msgspec.Struct, frozen=True):
    """One camera of a pipeline. ``captured`` counts the frames that capture handed over; ``fps`` those delivered.

    ``conditions`` say what is wrong with its pictures, ``changed_fps`` is the rate of those that differ from the last.
    ``idle_s``: how long no frame came although one was due. ``sights``: what became of its boxes of late.

    ``captured = answered + failed + lost + replaced + gated + (ready or in flight)``; ``skipped`` is ``replaced`` and,
    besides, what capture itself dropped because it held no slot.
    """

    camera: CameraName
    health: CameraHealth
    reason: str
    size: tuple[int, int] | None
    fps: float
    captured: int
    answered: int
    failed: int
    lost: int
    skipped: int
    replaced: int
    gated: int = 0
    idle_s: float | None = None
    sights: Sights | None = None
    conditions: tuple[Condition, ...] = ()
    changed_fps: float | None = None


class PipelineStatistics(msgspec.Struct, frozen=True):
    """A pipeline at one moment. ``failed``: frames answered with an error (not finite) instead of a result.

    ``inference`` is the distribution that ``serving`` sums up.
    """

    pipeline: PipelineName
    captured: int
    answered: int
    failed: int
    lost: int
    skipped: int
    gated: int
    in_flight: int
    resent: int
    swaps: int
    workers_lost: int
    fps: float
    cameras: dict[CameraName, CameraStatistics]
    stages: dict[Stage, Snapshot]
    current: ReleaseId | None
    previous: ReleaseId | None
    serving: ServedSample | None
    inference: Snapshot | None = None
