"""Looks for tests: pipelines with cameras, as the loop would tell of them."""

from __future__ import annotations

from typing import Any

from agent.loop.records import CameraStatistics, LatencySummary, PipelineStatistics, ServedSample
from agent.telemetry.histogram import Histogram
from agent.telemetry.look import Look, PipelineReading, Senses, WorkerReading
from agent.telemetry.probes import Probes
from agent.types import CameraName, Digest, ModelName, PipelineName, ReleaseId

YOLOX = ReleaseId(ModelName("yolox"), "1.0.0", Digest("ab"))


def statistics(run: Histogram, *, pipeline: str = "main", answered: int = 9) -> PipelineStatistics:
    """Return a pipeline's statistics, all of whose stages took as long as ``run``."""
    front = CameraStatistics(
        camera=CameraName("front"), health="streaming", reason="", size=(640, 480), fps=9.987, captured=10,
        answered=answered, failed=0, lost=1, skipped=2, replaced=0,
    )  # fmt: skip
    return PipelineStatistics(
        pipeline=PipelineName(pipeline), captured=10, answered=answered, failed=0, lost=1, skipped=2, gated=0,
        in_flight=2, resent=0, swaps=0, workers_lost=0, fps=9.987, cameras={CameraName("front"): front},
        stages={"run": run.snapshot(), "latency": run.snapshot()}, current=YOLOX, previous=None,
        serving=ServedSample(YOLOX, answered, 1.0, LatencySummary.of(run.snapshot()), 0.5),
        inference=run.snapshot(),
    )  # fmt: skip


def look(*readings: PipelineReading, **rest: Any) -> Look:
    """Return a look at these pipelines."""
    known: dict[str, Any] = {"at_utc_ms": 1_790_000_000_123, "uptime_s": 3.14159, "host": {"x": None}}
    return Look(pipelines=readings, **{**known, **rest})


def senses(**rest: Any) -> Senses:
    """Return senses that see one pipeline, unless told otherwise."""
    run = Histogram()
    known: dict[str, Any] = {
        "probes": Probes([]), "uptime_s": lambda: 3.0, "pipelines": lambda: [statistics(run)],
    }  # fmt: skip
    return Senses(**{**known, **rest})


def worker(name: str = "worker-1") -> WorkerReading:
    """Return a worker that holds :data:`YOLOX`."""
    return WorkerReading(name, YOLOX, ("CPUExecutionProvider",))
