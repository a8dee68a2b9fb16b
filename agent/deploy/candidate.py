"""A candidate's way from a reference to a warm worker that passed its trial: fetch, verify, try. Control thread only.

Each step is a job on the deployment lane; its result comes back as a message. A result whose deployment was cancelled
or superseded meanwhile is thrown away here, and the worker it may carry is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import TypeVar

import structlog

from agent.deploy.lanes import Cancel
from agent.deploy.loading import Loaded, choose_variant
from agent.deploy.parts import Parts
from agent.deploy.ports import WorkerPort
from agent.deploy.records import PipelineSettings, SlotRelease, TrialRecord
from agent.errors import LookoutError, ModelError, StorageError
from agent.process.messages import Progress
from agent.registry.reference import newest_in_range
from agent.registry.store import StoredRelease
from agent.types import Digest, PipelineName

T = TypeVar("T")
Fetched = tuple[StoredRelease, dict[str, int]]
Verified = tuple[StoredRelease, int]
Tried = tuple[Loaded, TrialRecord]

log = structlog.get_logger(part="deploy")


def check_agent(stored: StoredRelease, version: str) -> None:
    """Raise :class:`ModelError` when the release wants another version of the agent."""
    wanted = stored.manifest.requires.agent
    if wanted is not None and newest_in_range(wanted, [version]) is None:
        raise ModelError(
            f"{stored.id.model}:{stored.id.version} requires agent {wanted}, this is {version}; update the agent",
            field="requires.agent",
        )


class CandidateJobs:
    """The jobs of one pipeline's deployment."""

    def __init__(self, pipeline: PipelineName, parts: Parts, close: Callable[[WorkerPort], None]) -> None:
        self._pipeline = pipeline
        self._parts = parts
        self._close = close
        self._cancel = Cancel()

    def begin(self) -> None:
        """Forget the former deployment; its results no longer count."""
        self._cancel.cancel("superseded")
        self._cancel = Cancel()

    def cancel(self, reason: str) -> None:
        """Stop the running job; its result no longer counts."""
        self._cancel.cancel(reason)

    def fetch(
        self, reference: str, on_progress: Callable[[Progress], None], done: Callable[[Fetched | LookoutError], None]
    ) -> None:
        """Resolve and fetch, after releases that nobody needs made room."""
        parts, cancel = self._parts, self._cancel

        def progress(step: Progress) -> None:
            parts.post(lambda: None if cancel.event.is_set() else on_progress(step), key=("progress", self._pipeline))

        def job() -> Fetched:
            cancel.check()
            try:
                keep = parts.keep()
                parts.store.collect(keep)
                parts.loader.collect(keep)
            except StorageError as error:
                log.warning("store.not_collected", problem=error.message)
            return parts.fetch.fetch(reference, on_progress=progress, cancel=cancel.event)

        self._submit(job, done)

    def take_stored(self, digest: Digest, done: Callable[[Fetched | LookoutError], None]) -> None:
        """Take a release that lies in the store, without the registry."""
        self._submit(lambda: (self._parts.loader.verify(digest), {}), done)

    def verify(self, digest: Digest, done: Callable[[Verified | LookoutError], None]) -> None:
        """Re-hash the release and choose the variant."""

        def job() -> Verified:
            stored = self._parts.loader.verify(digest)
            check_agent(stored, metadata.version("lookout-agent"))
            return stored, choose_variant(stored, self._parts.settings.providers)

        self._submit(job, done)

    def try_(
        self,
        stored: StoredRelease,
        slot: SlotRelease,
        settings: PipelineSettings,
        done: Callable[[Tried | LookoutError], None],
    ) -> None:
        """Run the trial."""
        cancel, trial = self._cancel, self._parts.trial
        self._submit(
            lambda: trial.run(stored, slot.variant, score=settings.score, fps=settings.fps, cancel=cancel), done
        )

    def _submit(self, job: Callable[[], T], done: Callable[[T | LookoutError], None]) -> None:
        cancel = self._cancel

        def arrived(result: T | LookoutError) -> None:
            if not cancel.event.is_set():
                done(result)
            elif isinstance(result, tuple) and isinstance(result[0], Loaded):
                self._close(result[0].worker)

        self._parts.jobs.submit(job, lambda result: self._parts.post(lambda: arrived(result)))
