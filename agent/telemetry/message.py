"""The telemetry message, made of one look. Pure but for the :class:`Windows` that it is given.

Counters run since the agent started; latencies are those of the time since the last message, so that a bad minute
shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.clock import rfc3339
from agent.link.messages import Telemetry
from agent.telemetry.histogram import Snapshot
from agent.telemetry.look import FrameCounts, Look, PipelineReading
from agent.telemetry.rows import CameraRow, Counters, LatencyRow, LoopRow, ModelRow, latency_row

MODEL_STAGE = "run"
"""The stage that a model's own latency is."""

WHOLE = "latency"
"""The stage that is all of them: from the camera to the answer."""


class Windows:
    """Turns histograms that only grow into those of the time since the last look. One thread."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], Snapshot] = {}

    def take(self, pipeline: str, stages: Mapping[Any, Snapshot]) -> dict[str, Snapshot]:
        """Return each stage's samples since the last call for this pipeline."""
        return {str(stage): self._since(pipeline, str(stage), now) for stage, now in stages.items()}

    def _since(self, pipeline: str, stage: str, now: Snapshot) -> Snapshot:
        before = self._before.get((pipeline, stage))
        self._before[pipeline, stage] = now
        # Fewer than before: the pipeline was rebuilt and its histogram began anew.
        return now if before is None or now.count < before.count else now.since(before)


class NoWindows(Windows):
    """For whoever has no use for latencies of a time: there are none."""

    def take(self, pipeline: str, stages: Mapping[Any, Snapshot]) -> dict[str, Snapshot]:  # noqa: ARG002
        """Return nothing."""
        return {}


def build(look: Look, windows: Windows) -> Telemetry:
    """Build the message. A model's latency is credited to whoever serves now."""
    loop: dict[str, LoopRow] = {}
    cameras: dict[str, CameraRow] = {}
    models: dict[str, Snapshot] = {}
    total = Counters()
    for reading in look.pipelines:
        stages = windows.take(reading.pipeline, reading.stages)
        if reading.current is not None:
            name = reference_of(reading.current)
            models[name] = models.get(name, Snapshot()).merge(stages.get(MODEL_STAGE, Snapshot()))
        loop[reading.pipeline] = _loop_row(reading, stages)
        for camera, seen in reading.cameras.items():
            cameras[str(camera)] = CameraRow(seen.health, round(seen.fps, 2), _counters(seen))
        total = _sum(total, _counters(reading))
    return Telemetry(
        at=rfc3339(look.at_utc_ms),
        uptime_s=round(look.uptime_s, 1),
        host=dict(look.host),
        loop=loop,
        cameras=cameras,
        models={name: _model_row(name, samples, look) for name, samples in models.items()},
        counters=total,
        link=look.link,
        governor=look.governor,
        processes=dict(look.processes),
        queues=look.queues,
    )


def reference_of(release: Any) -> str:
    """Return a release as ``name:version``."""
    return f"{release.model}:{release.version}"


def _loop_row(reading: PipelineReading, stages: Mapping[str, Snapshot]) -> LoopRow:
    current = reading.current
    rows: dict[str, LatencyRow] = {stage: latency_row(samples) for stage, samples in stages.items()}
    whole = rows.get(WHOLE)
    return LoopRow(
        fps=round(reading.fps, 2),
        in_flight=reading.in_flight,
        model=None if current is None else reference_of(current),
        digest=None if current is None else current.digest,
        counters=_counters(reading),
        stages=rows,
        latency_p95_ms=whole.p95_ms if whole is not None and whole.count else None,
        failed=reading.failed,
        resent=reading.resent,
        swaps=reading.swaps,
        workers_lost=reading.workers_lost,
    )


def _model_row(name: str, samples: Snapshot, look: Look) -> ModelRow:
    plain = latency_row(samples)
    workers = [worker for worker in look.workers if reference_of(worker.release) == name]
    sizes = [look.processes[worker.name].memory_mb for worker in workers if worker.name in look.processes]
    return ModelRow(
        **{key: getattr(plain, key) for key in LatencyRow.__struct_fields__},
        frames=sum(
            reading.serving.frames
            for reading in look.pipelines
            if reading.serving is not None and reading.current is not None and reference_of(reading.current) == name
        ),
        memory_mb=round(sum(sizes), 2) if sizes else None,
        providers=workers[-1].providers if workers else (),
    )


def _counters(of: FrameCounts) -> Counters:
    return Counters(of.captured, of.answered, of.lost, of.skipped, of.gated)


def _sum(a: Counters, b: Counters) -> Counters:
    return Counters(
        a.captured + b.captured, a.answered + b.answered, a.lost + b.lost, a.skipped + b.skipped, a.gated + b.gated
    )
