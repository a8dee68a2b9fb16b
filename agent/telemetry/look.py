"""One look at all that telemetry tells of, for whoever tells it: the message, Prometheus.

:class:`Senses` holds who is asked; any thread may look. What they return is frozen, and none of them blocks for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.clock import utc_ms
from agent.telemetry.histogram import Snapshot
from agent.telemetry.probes import Probes
from agent.telemetry.rows import GovernorRow, LinkRow, ProcessRow, QueueRow
from agent.types import ReleaseId


class FrameCounts(Protocol):
    """Counters of a camera or a pipeline."""

    @property
    def captured(self) -> int: ...  # noqa: D102 - the words are those of agent.telemetry.rows.Counters
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


class ServingReading(Protocol):
    """How the worker that serves has done since it serves."""

    @property
    def frames(self) -> int: ...  # noqa: D102


class PipelineReading(FrameCounts, Protocol):
    """One pipeline at one moment: what ``PipelineStatistics`` of the loop has."""

    @property
    def pipeline(self) -> str: ...  # noqa: D102
    @property
    def in_flight(self) -> int: ...  # noqa: D102
    @property
    def failed(self) -> int: ...  # noqa: D102
    @property
    def resent(self) -> int: ...  # noqa: D102
    @property
    def swaps(self) -> int: ...  # noqa: D102
    @property
    def workers_lost(self) -> int: ...  # noqa: D102
    @property
    def cameras(self) -> Mapping[Any, CameraReading]: ...  # noqa: D102
    @property
    def stages(self) -> Mapping[Any, Snapshot]: ...  # noqa: D102
    @property
    def current(self) -> ReleaseId | None: ...  # noqa: D102
    @property
    def serving(self) -> ServingReading | None: ...  # noqa: D102
    @property
    def inference(self) -> Snapshot | None: ...  # noqa: D102


@dataclass(frozen=True)
class WorkerReading:
    """A worker that lives: which release it holds, its name among the processes, and what it runs on."""

    name: str
    release: ReleaseId
    providers: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """What was seen at one moment."""

    at_utc_ms: int
    uptime_s: float
    host: Mapping[str, float | None]
    pipelines: tuple[PipelineReading, ...]
    link: LinkRow = field(default_factory=LinkRow)
    queues: QueueRow = field(default_factory=QueueRow)
    processes: Mapping[str, ProcessRow] = field(default_factory=dict)
    workers: tuple[WorkerReading, ...] = ()
    governor: GovernorRow | None = None


@dataclass(frozen=True)
class Senses:
    """Who is asked; see the module."""

    probes: Probes
    uptime_s: Callable[[], float]
    pipelines: Callable[[], Iterable[PipelineReading]]
    link: Callable[[], LinkRow] = LinkRow
    queues: Callable[[], QueueRow] = QueueRow
    processes: Callable[[], Mapping[str, ProcessRow]] = dict
    workers: Callable[[], Iterable[WorkerReading]] = tuple
    governor: Callable[[], GovernorRow | None] = lambda: None

    def look(self) -> Look:
        """Ask all of them."""
        return Look(
            at_utc_ms=utc_ms(),
            uptime_s=self.uptime_s(),
            host=self.probes.read(),
            pipelines=tuple(self.pipelines()),
            link=self.link(),
            queues=self.queues(),
            processes=self.processes(),
            workers=tuple(self.workers()),
            governor=self.governor(),
        )
