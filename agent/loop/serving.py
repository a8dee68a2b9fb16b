"""What a pipeline knows of a worker while the worker is its own: how to read its answers, and how long to wait for one.

A worker answers in the order it was asked, so what is timed is the head of its line: from the moment that frame was
sent, or the one before it was answered. Owned by the pipeline's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.clock import NS_PER_MS, NS_PER_S
from agent.loop.records import Cause
from agent.loop.results import Reporting
from agent.loop.stats import Service

if TYPE_CHECKING:
    from agent.serve.handle import WorkerHandle

PATIENCE_S = 2.0
"""The least time a worker has for a frame."""

PATIENCE_FACTOR = 10
"""Times its own p95."""

BAD_OUTPUT_EVERY_NS = NS_PER_S
"""A model that always fails is told of once in this time, not a hundred times a second."""


class Serving:
    """A worker, how to read it, and how it does."""

    def __init__(self, worker: WorkerHandle, reporting: Reporting, p95_ms: float, now_ns: int) -> None:
        self.worker = worker
        self.reporting = reporting
        self.gone = False
        """It died or hung: nothing it still says counts; its leases wait until it is reaped."""
        self._trial_p95_ms = p95_ms
        self._heard_ns = 0
        self._told_bad_ns: int | None = None
        self.service = Service(worker.release, now_ns, p95_ms)

    def begin(self, now_ns: int) -> None:
        """Count from here: it serves from now on."""
        self.service = Service(self.worker.release, now_ns, self._trial_p95_ms)

    def heard(self, now_ns: int) -> None:
        """Take note of an answer."""
        self._heard_ns = now_ns

    @property
    def patience_ns(self) -> int:
        """How long the head of its line may take."""
        return max(int(PATIENCE_S * NS_PER_S), int(PATIENCE_FACTOR * self.service.p95_ms * NS_PER_MS))

    def due_ns(self, head_sent_ns: int) -> int:
        """When it must have answered the frame at the head of its line."""
        return max(head_sent_ns, self._heard_ns) + self.patience_ns

    def tells_bad_output(self, now_ns: int) -> bool:
        """Whether a bad answer at this moment is to be told, or was told just now."""
        if self._told_bad_ns is not None and now_ns - self._told_bad_ns < BAD_OUTPUT_EVERY_NS:
            return False
        self._told_bad_ns = now_ns
        return True


class Change:
    """A change of the serving worker whose first answer is still awaited, and the counters at its beginning."""

    def __init__(self, cause: Cause, serving: Serving, *, lost: int, skipped: int) -> None:
        self.cause = cause
        self.serving = serving
        self.lost = lost
        self.skipped = skipped
