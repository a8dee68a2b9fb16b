"""What becomes of a candidate that serves, and of a worker that died: the answers to probation's and pipeline's news.

A verdict is durable before it has an effect, but for one: where a rollback cannot be written it happens all the same
(``machine.URGENT``), and where a commit cannot, the candidate serves on, on probation, and it is tried again. A worker
that dies in probation is a verdict; one that dies later is the keeper's to bring back. Control thread only.
"""

from __future__ import annotations

import structlog

from agent.deploy.course import Course
from agent.deploy.keeper import Keeper
from agent.deploy.loading import Loaded
from agent.deploy.machine import Signal, State
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort, WorkerPort
from agent.deploy.probing import Probing
from agent.deploy.records import Receipt, SlotRelease
from agent.deploy.timers import Timers
from agent.errors import LookoutError, StorageError
from agent.types import Digest, ReleaseId

log = structlog.get_logger(part="deploy")


class Judging:
    """The verdicts of one pipeline; ``probing`` watches the candidate for it."""

    def __init__(self, pipeline: PipelinePort, parts: Parts, timers: Timers, course: Course, keeper: Keeper) -> None:
        self.probing = Probing(course.name, pipeline, parts, timers, keeper, self)
        self._parts = parts
        self._course = course
        self._keeper = keeper
        self._loading = False

    # --- what the probation asks -------------------------------------------------------------------------------------

    def swapped_in(self, receipt: Receipt) -> None:
        """Keep the receipt of the swap."""
        try:
            self._course.amend(receipt=receipt)
        except StorageError as error:
            log.warning("receipt.not_stored", pipeline=self._course.name, problem=error.message)
            self._course.keep_receipt(receipt)
        self._course.tell()

    def proved(self, candidate: Loaded, receipt: Receipt | None) -> bool:
        """Commit the candidate; False where that cannot be written: it serves on, on probation."""
        try:
            self._course.enter(Signal.COMMIT, receipt=receipt)
            self._parts.journal.acquit(candidate.slot.digest)
        except StorageError as error:
            if self._course.state is State.PROBATION:
                self._course.say(f"proved itself, but that cannot be noted: {error.message}")
                return False
        self.probing.end()
        self._keeper.committed()
        log.info("deploy.committed", pipeline=self._course.name, release=str(candidate.slot))
        self._course.end(ok=True)
        return True

    def reject(self, reason: str, *, fell_back: bool = False) -> None:
        """End probation against the candidate, and never try its digest again unasked."""
        candidate = self._course.row.candidate
        quarantine = (candidate.digest, reason) if candidate is not None else None
        self.take_back(Signal.REJECT, reason, quarantine, fell_back=fell_back)

    def stalled(self, reason: str) -> None:
        """Say what the verdict waits for, and let other pipelines' deployments go on meanwhile."""
        self._course.say(reason)
        self._parts.turn.give_up(self._course.name)

    def take_back(
        self, signal: Signal, reason: str, quarantine: tuple[Digest, str] | None = None, *, fell_back: bool = False
    ) -> None:
        """Undo the swap; ``fell_back``: the pipeline did already."""
        row = self._course.row
        log.warning("deploy.rolled_back", pipeline=row.pipeline, reference=row.reference, reason=reason)
        self._course.enter(signal, reason=reason, quarantine=quarantine)
        if self.probing.end():
            self._keeper.rolled_back(reason, fell_back=fell_back)
        else:  # the candidate was still being loaded, after a restart
            self._keeper.restore()
        self._course.end(ok=False, code="rolled_back")

    # --- what the pipeline tells of its workers ----------------------------------------------------------------------

    def worker_lost(self, release: ReleaseId, reason: str, *, fell_back: bool) -> None:
        """Take back a candidate whose worker died; keep a committed release alive."""
        self._without(self._keeper.lost(release, reason, fell_back=fell_back), release, reason)

    def retired(self, worker: WorkerPort) -> None:
        """Close a worker that the pipeline handed back; one that should serve has died as it was swapped back to."""
        self._without(self._keeper.handed_back(worker), worker.release, "its worker died before it could serve")

    def _without(self, died: bool, release: ReleaseId, reason: str) -> None:
        """Go on without the worker that served, if it was that one which ``died``."""
        if died and self.probing.concerns(release):
            self.reject(reason, fell_back=True)
        elif died:
            self._keeper.revive(reason)

    def bad_output(self, release: ReleaseId, reason: str) -> None:
        """Take back a candidate that answered something impossible; of a committed release it is only counted."""
        if self.probing.concerns(release):
            self.reject(reason)
        else:
            log.warning("model.bad_output", pipeline=self._course.name, release=release.version, reason=reason)

    # --- after a restart of the agent --------------------------------------------------------------------------------

    def candidate_again(self) -> None:
        """Bring the candidate back to a new probation, after current, so that there is something to fall back to."""
        row = self._course.row
        wanted = row.state is State.PROBATION and not self.probing.on and not self._loading
        if wanted and row.candidate is not None:
            self._loading = True
            self._keeper.bring_back(row.candidate, self._candidate_back)

    def _candidate_back(self, _slot: SlotRelease, result: Loaded | LookoutError) -> None:
        self._loading = False
        if self._course.state is not State.PROBATION or self.probing.on:
            if isinstance(result, Loaded):
                self._keeper.close(result.worker)
            return
        if isinstance(result, LookoutError):
            self.take_back(Signal.REJECT, f"cannot be loaded again after a restart: {result.message}")
            return
        self.probing.begin(result, None)
