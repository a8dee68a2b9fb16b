"""What a pipeline needs of others, as small as it is used; ``app`` wires the real ones.

Every method here is called on the pipeline's thread: it must not block, sync a disk or serialise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from agent.loop.records import ServedSample, ShadowPair, SwapSeen
from agent.process.messages import Health
from agent.types import PipelineName, ReleaseId, Result

if TYPE_CHECKING:
    from agent.serve.handle import WorkerHandle

Sink = Callable[[Result], None]
"""Takes each result, in the order of the frames."""

HealthSink = Callable[[Health], None]
"""Takes each change of a camera's state."""


class PipelineEvents(Protocol):
    """What a pipeline tells of its workers; implemented by the deployer."""

    def swapped(self, pipeline: PipelineName, swap: SwapSeen) -> None:
        """Tell that another worker serves and gave its first answer: after a swap, a swap back or a fall back."""
        ...

    def served(self, pipeline: PipelineName, sample: ServedSample) -> None:
        """Tell how current does, as ``watch`` asked."""
        ...

    def worker_lost(self, pipeline: PipelineName, release: ReleaseId, reason: str, fell_back: bool) -> None:
        """Tell that the current worker died or hung; ``fell_back``: the warm previous serves already."""
        ...

    def bad_output(self, pipeline: PipelineName, release: ReleaseId, reason: str) -> None:
        """Tell that a frame was answered with an error and counted as failed; at most once a second and worker."""
        ...

    def shadow_seen(self, pipeline: PipelineName, pair: ShadowPair) -> None:
        """Tell what current and the candidate in its shadow answered to one frame."""
        ...

    def shadow_stopped(self, pipeline: PipelineName, reason: str) -> None:
        """Tell that the candidate is shown no more frames, because current suffered."""
        ...

    def shadow_failed(self, pipeline: PipelineName, release: ReleaseId, reason: str) -> None:
        """Tell that the candidate died or answered something impossible in the shadow."""
        ...

    def retired(self, pipeline: PipelineName, worker: WorkerHandle) -> None:
        """Hand a worker back that nobody uses any more, or that was reaped: close it, away from here."""
        ...


class Heartbeat(Protocol):
    """The loop's sign of life."""

    def progress(self) -> None:
        """Say that something was done."""
        ...

    def waiting(self, bound_s: float) -> None:
        """Say that nothing may happen for ``bound_s``."""
        ...
