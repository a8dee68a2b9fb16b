"""What pipelines tell the deployer of their workers: any thread of theirs may call, nothing here does more than post.

The news is for the driver of that pipeline. Of one that was removed meanwhile it is nobody's, but its workers are
closed all the same: whatever a pipeline had is handed back once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from agent.deploy.driver import Driver
from agent.deploy.lanes import Inbox, Lane
from agent.deploy.ports import WorkerPort
from agent.loop.records import ServedSample, ShadowPair, SwapSeen
from agent.types import PipelineName, ReleaseId


class News:
    """Implements the pipelines' events; the drivers are looked into on the control thread only."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._drivers: dict[PipelineName, Driver] = {}
        self._restore = Lane("lookout-deploy-restore")

    def swapped(self, pipeline: PipelineName, swap: SwapSeen) -> None:
        """Take note of another worker's first answer."""
        self._tell(pipeline, lambda driver: driver.swapped(swap))

    def served(self, pipeline: PipelineName, sample: ServedSample) -> None:
        """Take note of how current does; an unread older sample is replaced."""
        key = ("served", pipeline, sample.release.digest)
        self._tell(pipeline, lambda driver: driver.served(sample), key=key)

    def worker_lost(self, pipeline: PipelineName, release: ReleaseId, reason: str, fell_back: bool) -> None:
        """Take note of a worker that died or hung."""
        self._tell(pipeline, lambda driver: driver.worker_lost(release, reason, fell_back=fell_back))

    def bad_output(self, pipeline: PipelineName, release: ReleaseId, reason: str) -> None:
        """Take note of an impossible answer; an unread older one of the release is replaced."""
        key = ("bad_output", pipeline, release.digest)
        self._tell(pipeline, lambda driver: driver.bad_output(release, reason), key=key)

    def shadow_seen(self, pipeline: PipelineName, pair: ShadowPair) -> None:
        """Take note of two answers to one frame; the pipeline's one frame at a time bounds them."""
        self._tell(pipeline, lambda driver: driver.shadowing.seen(pair))

    def shadow_stopped(self, pipeline: PipelineName, reason: str) -> None:
        """Take note of the end of a shadow."""
        self._tell(pipeline, lambda driver: driver.shadowing.stopped(reason))

    def shadow_failed(self, pipeline: PipelineName, release: ReleaseId, reason: str) -> None:
        """Take note of a candidate that failed in its shadow."""
        self._tell(pipeline, lambda driver: driver.shadowing.failed(release, reason))

    def retired(self, pipeline: PipelineName, worker: WorkerPort) -> None:
        """Close a worker that the pipeline handed back; of one that was removed, too."""
        self._inbox.post(lambda: self._retired(pipeline, worker))

    def _tell(self, pipeline: PipelineName, news: Callable[[Driver], None], *, key: Hashable | None = None) -> None:
        """Post news of a pipeline; those of one that was removed meanwhile are nobody's."""

        def tell() -> None:
            driver = self._drivers.get(pipeline)
            if driver is not None:
                news(driver)

        self._inbox.post(tell, key=key)

    def _retired(self, pipeline: PipelineName, worker: WorkerPort) -> None:
        driver = self._drivers.get(pipeline)
        if driver is not None:
            driver.retired(worker)
        else:
            self._restore.submit(worker.close, lambda _: None)
