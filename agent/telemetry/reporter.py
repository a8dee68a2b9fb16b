"""Telemetry: every ``telemetry_s`` seconds, what the host, the pipelines and the link did.

The thread ``lookout-telemetry`` asks its providers (callables that return frozen snapshots and do not block), builds
one message and publishes it; it encodes nothing and waits on an event. Counters run since the agent started; latencies
are those of the time since the last message, so that a bad minute shows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog

from agent.clock import NS_PER_S, monotonic_ns, rfc3339, utc_ms
from agent.link.messages import CameraRow, Counters, GovernorRow, LoopRow, Telemetry, latency_row
from agent.telemetry.histogram import Snapshot
from agent.telemetry.probes import Probes
from agent.types import Outgoing, ReleaseId

log = structlog.get_logger(part="telemetry")

MODEL_STAGE = "run"
"""The stage that a model's own latency is."""


class FrameCounts(Protocol):
    """Counters of a camera or a pipeline."""

    @property
    def captured(self) -> int: ...  # noqa: D102 - the words are those of agent.link.messages.Counters
    @property
    def answered(self) -> int: ...  # noqa: D102
    @property
    def lost(self) -> int: ...  # noqa: D102
    @property
    def skipped(self) -> int: ...  # noqa: D102
    @property
    def gated(self) -> int: ...  # noqa: D102
    @property
    def fps(self) -> float: ...  # noqa: D102


class CameraReading(FrameCounts, Protocol):
    """One camera, as the pipeline sees it."""

    @property
    def health(self) -> str: ...  # noqa: D102


class PipelineReading(FrameCounts, Protocol):
    """One pipeline at one moment: what ``PipelineStatistics`` of the loop has."""

    @property
    def pipeline(self) -> str: ...  # noqa: D102
    @property
    def in_flight(self) -> int: ...  # noqa: D102
    @property
    def cameras(self) -> Mapping[Any, CameraReading]: ...  # noqa: D102
    @property
    def stages(self) -> Mapping[Any, Snapshot]: ...  # noqa: D102
    @property
    def current(self) -> ReleaseId | None: ...  # noqa: D102


class Pulse(Protocol):
    """The part of a heartbeat that this loop calls."""

    def progress(self) -> None:
        """Say that the loop went round."""

    def waiting(self, bound_s: float) -> None:
        """Say that the loop waits, for ``bound_s`` at most."""


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


def build(
    readings: Iterable[PipelineReading],
    windows: Windows,
    *,
    host: dict[str, float | None],
    link: dict[str, int],
    at_utc_ms: int,
    uptime_s: float,
    governor: GovernorRow | None = None,
) -> Telemetry:
    """Build the message. A model's latency is credited to whoever serves now. Pure but for ``windows``."""
    loop: dict[str, LoopRow] = {}
    cameras: dict[str, CameraRow] = {}
    models: dict[str, Snapshot] = {}
    total = Counters()
    for reading in readings:
        stages = windows.take(reading.pipeline, reading.stages)
        name = None if reading.current is None else f"{reading.current.model}:{reading.current.version}"
        if name is not None and MODEL_STAGE in stages:
            models[name] = stages[MODEL_STAGE].merge(models.get(name, Snapshot()))
        loop[reading.pipeline] = LoopRow(
            fps=round(reading.fps, 2),
            in_flight=reading.in_flight,
            model=name,
            digest=None if reading.current is None else reading.current.digest,
            counters=_counters(reading),
            stages={stage: latency_row(samples) for stage, samples in stages.items()},
        )
        for camera, seen in reading.cameras.items():
            cameras[str(camera)] = CameraRow(seen.health, round(seen.fps, 2), _counters(seen))
        total = _sum(total, _counters(reading))
    return Telemetry(
        at=rfc3339(at_utc_ms),
        uptime_s=round(uptime_s, 1),
        host=host,
        loop=loop,
        cameras=cameras,
        models={name: latency_row(samples) for name, samples in models.items()},
        counters=total,
        link=link,
        governor=governor,
    )


def _counters(of: FrameCounts) -> Counters:
    return Counters(of.captured, of.answered, of.lost, of.skipped, of.gated)


def _sum(a: Counters, b: Counters) -> Counters:
    return Counters(
        a.captured + b.captured, a.answered + b.answered, a.lost + b.lost, a.skipped + b.skipped, a.gated + b.gated
    )


class Reporter:
    """Owns the thread ``lookout-telemetry``; see the module. ``chore`` is done on it every ``chore_s``."""

    def __init__(
        self,
        publish: Callable[[Outgoing], None],
        probes: Probes,
        *,
        interval_s: float,
        pipelines: Callable[[], Iterable[PipelineReading]],
        link: Callable[[], dict[str, int]] = dict,
        pulse: Pulse | None = None,
        governor: Callable[[], GovernorRow | None] = lambda: None,
        chore: Callable[[], None] | None = None,
        chore_s: float = 5.0,
    ) -> None:
        self._publish = publish
        self._probes = probes
        self._interval_s = interval_s
        self._pipelines = pipelines
        self._link = link
        self._pulse = pulse
        self._governor = governor
        self._chore = chore
        self._chore_s = chore_s
        self._windows = Windows()
        self._started_ns = monotonic_ns()
        self._stopping = False
        self._nudge = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout-telemetry", daemon=True)
        self.last: Telemetry | None = None
        """The newest message, for whoever shows it on the device; None before the first."""

    def start(self) -> None:
        """Begin to report, the first time after one interval."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End; idempotent."""
        self._stopping = True
        self._nudge.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def set_interval(self, interval_s: float) -> None:
        """Report every ``interval_s`` from now on, and once at once; any thread."""
        self._interval_s = interval_s
        self.nudge()

    def nudge(self) -> None:
        """Report now (a connection has just been made); any thread."""
        self._nudge.set()

    def _run(self) -> None:
        reported_ns = monotonic_ns()
        while True:
            due_s = max(0.0, self._interval_s - (monotonic_ns() - reported_ns) / NS_PER_S)
            wait_s = due_s if self._chore is None else min(due_s, self._chore_s)
            if self._pulse is not None:
                self._pulse.waiting(wait_s)
            nudged = self._nudge.wait(wait_s)
            self._nudge.clear()
            if self._stopping:
                return
            if self._chore is not None:
                self._safely(self._chore)
            if nudged or wait_s >= due_s:
                reported_ns = monotonic_ns()
                self._safely(self._report)

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # the thread's last line: one bad provider must not end all telemetry
            log.exception("telemetry.failed")

    def _report(self) -> None:
        message = build(
            self._pipelines(),
            self._windows,
            host=self._probes.read(),
            link=self._link(),
            at_utc_ms=utc_ms(),
            uptime_s=(monotonic_ns() - self._started_ns) / NS_PER_S,
            governor=self._governor(),
        )
        self.last = message
        self._publish(Outgoing("telemetry", message, stream="telemetry", replaces="telemetry"))
        if self._pulse is not None:
            self._pulse.progress()
