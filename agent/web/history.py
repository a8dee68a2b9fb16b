"""The last hour in figures, for the page's charts: a point every ten seconds, as long as the page is on. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from agent.clock import rfc3339
from agent.link.messages import Telemetry
from agent.loop.records import PipelineStatistics, Stage
from agent.telemetry.histogram import Snapshot

EVERY_S = 10
POINTS = 360
MAX_SERIES = 200

STAGE: Stage = "latency"
"""The stage that is shown: from capture to the answer in the agent."""

HOST = ("temperature_c", "cpu_percent")
"""Rows of telemetry that are shown; they are as new as the newest telemetry."""

Point = Mapping[str, float | None]


class Series(msgspec.Struct, frozen=True):
    """What the page is told: a value of each series for each moment, None where it is not known."""

    every_s: int
    at: tuple[str, ...]
    series: dict[str, tuple[float | None, ...]]


class History:
    """The points, and the histograms of the one before; one thread at a time."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, Point]] = deque(maxlen=POINTS)
        self._before: dict[str, Snapshot] = {}

    def take(
        self,
        at_utc_ms: int,
        pipelines: Iterable[PipelineStatistics],
        telemetry: Telemetry | None,
        memory_mb: Mapping[str, float],
    ) -> None:
        """Add a point."""
        point: dict[str, float | None] = {}
        for pipeline in pipelines:
            for name, camera in pipeline.cameras.items():
                point[f"fps.{name}"] = round(camera.fps, 2)
            point[f"latency_p95_ms.{pipeline.pipeline}"] = self._p95_ms(pipeline)
        host = {} if telemetry is None else telemetry.host
        point |= {key: host.get(key) for key in HOST}
        point["memory_mb"] = round(sum(memory_mb.values()), 1) if memory_mb else None
        self._points.append((at_utc_ms, point))

    def series(self) -> Series:
        """Return all points; names that came up last are left out beyond :data:`MAX_SERIES`."""
        names = list(dict.fromkeys(name for _, point in self._points for name in point))[:MAX_SERIES]
        return Series(
            every_s=EVERY_S,
            at=tuple(rfc3339(at_ms) for at_ms, _ in self._points),
            series={name: tuple(point.get(name) for _, point in self._points) for name in names},
        )

    def _p95_ms(self, pipeline: PipelineStatistics) -> float | None:
        """Return what 95 % of the frames since the last point did not exceed; None without any."""
        now = pipeline.stages.get(STAGE)
        if now is None:
            return None
        before = self._before.get(pipeline.pipeline)
        self._before[pipeline.pipeline] = now
        window = now if before is None or now.count < before.count else now.since(before)
        return round(window.p95_ms, 2) if window.count else None
