"""Which workers a pipeline runs, as far as its orders and events tell: the one that serves, and the warm previous.

The pipeline is an actor: orders are posted, deaths are told later, so this is the deployer's own account, corrected by
each event. It brings committed releases back from the store on the restore lane, and closes who has left. Control
thread only.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import structlog

from agent.deploy.configured import Configured
from agent.deploy.loading import Loaded
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort, WorkerPort
from agent.deploy.records import SlotRelease
from agent.errors import LookoutError
from agent.types import ReleaseId

log = structlog.get_logger(part="deploy")


class Who(enum.Enum):
    """Whose death an event tells."""

    SERVING = enum.auto()
    WARM = enum.auto()
    OTHER = enum.auto()


class Serving:
    """The workers of one pipeline."""

    def __init__(
        self,
        configured: Configured,
        pipeline: PipelinePort,
        parts: Parts,
    ) -> None:
        self._configured = configured
        self._pipeline = pipeline
        self._parts = parts
        self._gone = False
        self.now: Loaded | None = None
        self.warm: Loaded | None = None
        self._leaving: tuple[WorkerPort, Callable[[], None]] | None = None

    def runs(self, slot: SlotRelease | None) -> bool:
        """Return whether ``slot``'s release serves."""
        return slot is not None and self.now is not None and self.now.slot.digest == slot.digest

    def install(self, loaded: Loaded) -> None:
        """Let ``loaded`` serve from the next frame on; who served until now stays warm."""
        settings = self._configured.now
        self._pipeline.swap(
            loaded.worker,
            labels=loaded.labels,
            score=loaded.threshold(settings.score),
            only=settings.labels,
            p95_ms=loaded.p95_ms,
        )
        self.warm = self.now if self.now is not None else self.warm
        self.now = loaded

    def report(self) -> None:
        """Let the workers' answers be reported as the configuration says now."""
        settings = self._configured.now
        for loaded in (self.now, self.warm):
            if loaded is not None:
                score = loaded.threshold(settings.score)
                self._pipeline.report(loaded.worker, labels=loaded.labels, score=score, only=settings.labels)

    def leave(self) -> None:
        """Let go of the pipeline: it was removed, and hands its workers back itself. What is still loaded is closed."""
        self._gone = True
        self.now = self.warm = self._leaving = None

    def back(self, reason: str) -> bool:
        """Let the warm previous serve again, at once; False where there is none."""
        if self.warm is None:
            return False
        self._pipeline.swap_back(reason)
        self.now, self.warm = self.warm, None
        return True

    def drop_previous(self) -> None:
        """Retire the warm previous, if there is one."""
        self._pipeline.drop_previous()
        self.warm = None

    def take_out(self, reason: str) -> None:
        """End the worker that serves; nothing does until another is installed."""
        if self.now is not None:
            self.now.worker.kill(reason)
            self.now = None

    def unload(self, reason: str, then: Callable[[], None]) -> None:
        """Close the workers that serve and are warm; call ``then`` once the memory is free."""
        leaving, self.now, self.warm = self.now, None, None
        if leaving is None:
            then()
            return
        self._leaving = (leaving.worker, then)
        self._pipeline.take_out(reason)

    def forget_unload(self) -> None:
        """Call nothing once the memory is free."""
        self._leaving = None

    def lost(self, release: ReleaseId, *, fell_back: bool) -> Who:
        """Account for a worker that died; the warm previous serves already where ``fell_back``."""
        serving_died = self.now is not None and self.now.slot.digest == release.digest
        if serving_died and self.warm is not None and self.warm.slot.digest == release.digest and not fell_back:
            serving_died = False  # both run one release: a death of the serving one would have fallen back
        if serving_died:
            self.now, self.warm = (self.warm if fell_back else None), None
            return Who.SERVING
        if self.warm is not None and self.warm.slot.digest == release.digest:
            self.warm = None
            return Who.WARM
        return Who.OTHER

    def handed_back(self, worker: WorkerPort) -> Who:
        """Account for a worker that the pipeline has no more; if it should have, it died unnoticed."""
        if self.now is not None and self.now.worker is worker:
            self.now = None
            return Who.SERVING
        if self.warm is not None and self.warm.worker is worker:
            self.warm = None
            return Who.WARM
        return Who.OTHER

    def bring_back(
        self, slot: SlotRelease, done: Callable[[SlotRelease, Loaded | LookoutError], None], *, beside: bool = False
    ) -> None:
        """Verify and load ``slot`` from the store, ``beside`` what serves; ``done`` is called on the control thread."""
        now, loader = self._configured.now, self._parts.loader
        self._load(
            lambda: loader.bring_back(slot, score=now.score, fps=now.fps, beside=beside),
            lambda result: done(slot, result),
        )

    def bring_factory(self, folder: str, done: Callable[[Loaded | LookoutError], None]) -> None:
        """Load the factory release; ``done`` is called on the control thread."""
        now, loader = self._configured.now, self._parts.loader
        self._load(lambda: loader.factory(folder, score=now.score, fps=now.fps), done)

    def _load(self, job: Callable[[], Loaded], done: Callable[[Loaded | LookoutError], None]) -> None:
        def arrived(result: Loaded | LookoutError) -> None:
            if not self._gone:
                done(result)
            elif isinstance(result, Loaded):
                self.close(result.worker)

        self._parts.restore.submit(job, lambda result: self._parts.post(lambda: arrived(result)))

    def close(self, worker: WorkerPort) -> None:
        """Close a worker that nobody uses, away from this thread."""

        def closed(result: LookoutError | None) -> None:
            if isinstance(result, LookoutError):
                log.warning("worker.not_closed", release=str(worker.release.version), problem=result.message)
            self._parts.post(lambda: self._closed(worker))

        self._parts.restore.submit(worker.close, closed)

    def _closed(self, worker: WorkerPort) -> None:
        if self._leaving is not None and self._leaving[0] is worker:
            _, then = self._leaving
            self._leaving = None
            then()
