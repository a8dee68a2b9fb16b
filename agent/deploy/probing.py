"""Runs one pipeline's probation: swaps the candidate in, watches it, and asks ``probation.judge`` at every news.

The verdict needs frames and time; time alone is waited for with a timer, frames come when they come: a dead camera is
no verdict, and is said in words. Control thread only.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from agent.clock import NS_PER_S
from agent.deploy.keeper import Keeper
from agent.deploy.loading import Loaded
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort
from agent.deploy.probation import Commit, Rollback, Verdict, Wait
from agent.deploy.records import Receipt, ShadowReport, TrialRecord
from agent.deploy.timers import Timers
from agent.deploy.watching import Before, Watching
from agent.errors import LookoutError
from agent.loop.records import ServedSample, SwapSeen
from agent.types import PipelineName, ReleaseId

COMMIT_RETRY_S = 10.0

log = structlog.get_logger(part="deploy")


class Owner(Protocol):
    """Who acts upon the verdict, as far as a probation needs it."""

    def swapped_in(self, receipt: Receipt) -> None:
        """Keep the receipt: the candidate gave its first answer."""
        ...

    def proved(self, candidate: Loaded, receipt: Receipt | None) -> bool:
        """Commit; False where that cannot be written now: it is tried again."""
        ...

    def reject(self, reason: str) -> None:
        """Roll back."""
        ...

    def stalled(self, reason: str) -> None:
        """Say that the time has passed and frames are missing."""
        ...


class Probing:
    """The probation under way, if one is."""

    def __init__(
        self, name: PipelineName, pipeline: PipelinePort, parts: Parts, timers: Timers, keeper: Keeper, owner: Owner
    ) -> None:
        self._name = name
        self._pipeline = pipeline
        self._parts = parts
        self._timers = timers
        self._keeper = keeper
        self._owner = owner
        self._watching: Watching | None = None
        self._before: Before | None = None

    @property
    def on(self) -> bool:
        """Whether a candidate serves on probation."""
        return self._watching is not None

    def concerns(self, release: ReleaseId) -> bool:
        """Return whether ``release`` is the candidate that serves."""
        return self._watching is not None and self._watching.loaded.slot.digest == release.digest

    def measure_old(self) -> None:
        """Take the measure of the release that serves now: it will be unloaded before the candidate is there."""
        self._before = Before.of(self._keeper.now, self._pipeline)

    def begin(
        self,
        loaded: Loaded,
        record: TrialRecord | None,
        *,
        shadow: ShadowReport | None = None,
        unload_first: bool = False,
    ) -> None:
        """Let the candidate serve; that it is on probation is durable."""
        parts, before = self._parts, self._before if unload_first else None
        self._before = None
        watching = Watching.begin(
            loaded,
            before or Before.of(self._keeper.now, self._pipeline),
            parts.settings,
            record=record,
            now_ns=parts.now_ns(),
            shadow=shadow,
            unload_first=unload_first,
        )
        self._watching = watching
        try:
            loaded.worker.promote()
        except LookoutError as error:  # it runs at a candidate's priority, or has just died: the pipeline will tell
            log.warning("worker.not_promoted", pipeline=self._name, problem=error.message)
        self._keeper.install(loaded)
        self._pipeline.watch(watching.bounds.frames)
        self._timers.set("probation", watching.due_ns(), self._due)
        log.info("swap.ordered", pipeline=self._name, release=str(loaded.slot))

    def end(self) -> bool:
        """Stop watching; return whether a candidate served."""
        served, self._watching = self._watching is not None, None
        self._timers.cancel("probation")
        return served

    def swapped(self, seen: SwapSeen) -> None:
        """Take note of a first answer: the candidate's begins the time of probation and gives the receipt."""
        watching = self._watching
        if watching is None or seen.cause != "swap" or not self.concerns(seen.new):
            return
        receipt = watching.swapped(seen, self._parts.now_ns(), self._parts.now_ms())
        log.info("swap.done", pipeline=self._name, gap_ms=seen.gap_ms, lost=seen.lost, skipped=seen.skipped)
        self._owner.swapped_in(receipt)
        self._judge(watching)

    def served(self, seen: ServedSample) -> None:
        """Judge the candidate on a newer sample."""
        watching = self._watching
        if watching is None or not self.concerns(seen.release):
            return
        watching.served(seen, self._parts.now_ns())
        self._judge(watching)
        if self._watching is watching and seen.frames >= watching.bounds.frames:
            self._pipeline.watch(watching.bounds.frames)  # enough frames, not enough time: look on

    def _due(self) -> None:
        """Judge because time has passed; say what is missing where there is no verdict yet."""
        if self._watching is None:
            return
        verdict = self._judge(self._watching)
        if isinstance(verdict, Wait):
            self._owner.stalled(f"{verdict.reason}; the verdict waits for frames")

    def _judge(self, watching: Watching) -> Verdict:
        now_ns = self._parts.now_ns()
        verdict = watching.judge(now_ns)
        if isinstance(verdict, Rollback):
            self._owner.reject(verdict.reason)
        elif isinstance(verdict, Wait) and watching.due_ns() > now_ns:
            self._timers.set("probation", watching.due_ns(), self._due)
        elif isinstance(verdict, Commit) and watching.receipt is not None:  # else its first answer is told at once
            self._commit(watching)
        return verdict

    def _commit(self, watching: Watching) -> None:
        if not self._owner.proved(watching.loaded, watching.final_receipt()):
            retry_ns = self._parts.now_ns() + round(COMMIT_RETRY_S * NS_PER_S)
            self._timers.set("probation", retry_ns, self._due)
