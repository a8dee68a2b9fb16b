"""The way of a deployment to its probation: its time, the clock, its turn, fetch, verify, room, trial, shadow.

Each step is taken only once its state is durable; whatever fails on the way ends the deployment here, with current
untouched. What spoke against the release itself in a trial or a shadow puts its digest into quarantine; a network, a
disk or a clock never does. Control thread only: blocking work is :class:`agent.deploy.candidate.CandidateJobs`'.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent.deploy import room
from agent.deploy.candidate import CandidateJobs, Fetched, Tried, Verified
from agent.deploy.clockwait import ClockWait
from agent.deploy.configured import Configured
from agent.deploy.course import Course
from agent.deploy.following import taken
from agent.deploy.keeper import Keeper
from agent.deploy.later import Later
from agent.deploy.loading import Loaded, slot_of
from agent.deploy.machine import Signal, State
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort
from agent.deploy.probing import Probing
from agent.deploy.records import FetchProgress, SlotRelease, TrialRecord
from agent.deploy.shadowing import Shadowing, Terms, terms
from agent.deploy.timers import Timers
from agent.errors import (
    ChildDied,
    ChildHung,
    LookoutError,
    MemoryShort,
    ModelError,
    StorageError,
    TrialFailed,
)
from agent.process.messages import Progress
from agent.registry.floor import check_floor
from agent.registry.store import StoredRelease

CONDEMNING = (ModelError, TrialFailed, ChildDied, ChildHung)
"""What, in a trial, speaks against the release itself."""

log = structlog.get_logger(part="deploy")


class Approach:
    """The way of one pipeline's deployments; at its end the candidate is handed to ``probing``."""

    def __init__(
        self,
        configured: Configured,
        pipeline: PipelinePort,
        parts: Parts,
        timers: Timers,
        course: Course,
        keeper: Keeper,
        probing: Probing,
    ) -> None:
        self.shadowing = Shadowing(configured.name, pipeline, parts, timers, keeper, self)
        self._configured = configured
        self._pipeline = pipeline
        self._parts = parts
        self._course = course
        self._keeper = keeper
        self._probing = probing
        self._jobs = CandidateJobs(configured.name, parts, keeper.close)
        self._later = Later(timers, parts.now_ns, parts.now_ms)
        self._clock = ClockWait(parts, timers, course, self)

    # --- orders ------------------------------------------------------------------------------------------------------

    def is_ahead(self, at_ms: int | None, spread_ms: int | None) -> bool:
        """Return whether a deployment for ``at_ms`` (UTC) has to wait for its time, or its part of a spread."""
        return self._later.is_ahead(at_ms, spread_ms)

    def renew(self) -> None:
        """Let go of everything that belongs to a former deployment: another one has begun."""
        self._jobs.begin()
        self._let_go()
        self.shadowing.report = None

    def set_out(self) -> None:
        """Begin, when it is the deployment's time and the pipeline's turn."""
        if self._course.state is State.DEFERRED:
            self._parts.turn.give_up(self._course.name)
            self.wait()
        else:
            self.ask_turn()

    def wait(self) -> None:
        """Begin when the deployment's time has come."""
        row = self._course.row
        self._later.wait(row.not_before_ms, row.spread_ms, row.updated_at_ms, self._due)

    def resume(self) -> None:
        """Start an interrupted deployment from its beginning; what was fetched lies in the store."""
        self._step(self._begin_again)

    def _begin_again(self) -> None:
        self._course.enter(Signal.RESUME, reason="started again: the agent was stopped in it")
        self.ask_turn()

    def cancel(self, reason: str) -> None:
        """Give the deployment up because somebody said so. Raises StorageError."""
        self._jobs.cancel(reason)
        self._course.enter(Signal.CANCEL, reason=reason)
        self._let_go()
        self._course.end(ok=False, code="cancelled")

    def shut_down(self) -> None:
        """Stop the running job; the journal keeps the deployment, which goes on at the next start."""
        self._jobs.cancel("the agent stops")

    def _let_go(self) -> None:
        """Let go of what a deployment holds besides its job: its time, the shadow, the memory that it was given."""
        self._later.cancel()
        self.shadowing.end()
        self._keeper.reload()

    # --- time and turn -----------------------------------------------------------------------------------------------

    def _due(self) -> None:
        self._step(lambda: self._course.enter(Signal.DUE))
        if self._course.state is State.RESOLVING:
            self.ask_turn()

    def wait_for_clock(self, doubt: str) -> None:
        """Show, durably, that the deployment waits for a clock that can be believed, and let others go first."""
        self._step(lambda: self._course.enter(Signal.CLOCK_UNTRUSTED, reason=doubt))
        self._parts.turn.give_up(self._course.name)

    def clock_is_right(self) -> None:
        """Go on with the deployment that waited."""
        self._step(lambda: self._course.enter(Signal.CLOCK_TRUSTED))
        if self._course.state is State.RESOLVING:
            self.ask_turn()

    def ask_turn(self) -> None:
        """Start when no other pipeline's deployment is under way."""
        before = self._parts.turn.ask(self._course.name, self._start)
        if before is not None:
            self._course.say(f"waits for the deployment of pipeline {before!r}")

    # --- fetch and verify --------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._course.say(None)
        row = self._course.row
        if row.stored and row.candidate is not None:
            self._jobs.take_stored(row.candidate.digest, self._fetched)
        elif not self._clock.must_wait():
            self._jobs.fetch(row.reference or "", self._progressed, self._fetched)

    def _progressed(self, step: Progress) -> None:
        if self._course.state is State.RESOLVING and step.stage == "fetching":
            self._step(lambda: self._course.enter(Signal.RESOLVED))
        if self._course.state is State.FETCHING:
            self._course.progress = FetchProgress(step.done_bytes, step.total_bytes)

    def _fetched(self, result: Fetched | LookoutError) -> None:
        if isinstance(result, LookoutError):
            self._fail(result)
            return
        stored, versions = result
        self._step(lambda: self._take(stored, versions))

    def _take(self, stored: StoredRelease, versions: dict[str, int]) -> None:
        """Accept a release that is whole in the store, unless it is known to be bad or serves already."""
        journal, row = self._parts.journal, self._course.row
        journal.accept_versions(versions)
        check_floor(stored.id.model, stored.id.version, self._parts.settings.min_versions)
        if row.reference is not None and not row.stored:
            journal.note_followed(self._course.name, taken(row.reference, stored.id.digest))
        bad = journal.quarantined().get(stored.id.digest)
        if bad is not None and not row.force:
            raise TrialFailed(f"{stored.id.model}:{stored.id.version} is in quarantine: {bad}; force overrides")
        slot = slot_of(stored, 0)
        if row.current is not None and row.current.digest == slot.digest and self._keeper.runs(slot) and not row.force:
            self._course.enter(Signal.ALREADY_CURRENT, reason="it serves already")
            self._course.end(ok=True)
            return
        self._course.enter(Signal.FETCHED, candidate=slot)
        self._jobs.verify(slot.digest, self._verified)

    def _verified(self, result: Verified | LookoutError) -> None:
        if isinstance(result, LookoutError):
            self._fail(result)
            return
        stored, variant = result
        slot = slot_of(stored, variant)
        self._step(lambda: self._course.enter(Signal.VERIFIED, candidate=slot))
        if self._course.state is State.TRIAL:
            self._step(lambda: self._make_room(stored, slot))

    # --- trial and shadow --------------------------------------------------------------------------------------------

    def _make_room(self, stored: StoredRelease, slot: SlotRelease) -> None:
        """Try the candidate beside current, or in its place where memory is too short for both."""

        def try_() -> None:
            self._jobs.try_(stored, slot, self._configured.now, self._tried)

        short = room.shortage(self._parts, stored, slot, self._keeper.now)
        if short is None:
            try_()
            return
        if self._terms().frames and self._terms().min_agreement is not None:
            raise MemoryShort(
                f"{slot}: {short}, so it cannot be compared with the current model; "
                f"deploy it without min_agreement to load it in the current model's place"
            )
        self._course.amend(unload_first=True)
        self._probing.measure_old()
        self._keeper.unload(short, try_)

    def _terms(self) -> Terms:
        return terms(self._course.row, self._parts.settings, comparable=self._keeper.expected)

    def _tried(self, result: Tried | LookoutError) -> None:
        if isinstance(result, LookoutError):
            self._fail(result, condemn=isinstance(result, CONDEMNING))
            return
        loaded, record = result
        if not loaded.worker.alive:
            self._keeper.close(loaded.worker)
            self._fail(ChildDied(f"{loaded.slot}: its worker died between trial and swap"), condemn=True)
            return
        try:
            self._parts.journal.record_trial(loaded.slot.digest, record, self._parts.now_ms())
            self._course.enter(Signal.TO_SHADOW if self._terms().frames else Signal.PASSED, candidate=loaded.slot)
        except StorageError as error:
            self._keeper.close(loaded.worker)
            self._fail(error)
            return
        if self._course.state is State.SHADOW:
            self.shadowing.begin(loaded, record, self._terms())
        else:
            self._probing.begin(loaded, record, unload_first=self._course.row.unload_first)

    def say(self, note: str | None) -> None:
        """Show how far the shadow is."""
        self._course.say(note)

    def agreed(self, loaded: Loaded, record: TrialRecord) -> None:
        """Let the candidate serve after its shadow."""
        try:
            self._course.enter(Signal.AGREED)
        except StorageError as error:
            self._pipeline.end_shadow()
            self._fail(error)
            return
        self._probing.begin(loaded, record, shadow=self.shadowing.report)

    def shadow_refused(self, error: LookoutError, *, condemn: bool) -> None:
        """End a deployment in its shadow."""
        self._fail(error, condemn=condemn)

    # --- failure -----------------------------------------------------------------------------------------------------

    def _step(self, step: Callable[[], object]) -> None:
        """Take a step; the deployment fails where it cannot be taken."""
        try:
            step()
        except LookoutError as error:
            self._jobs.cancel(error.message)
            self._fail(error)

    def _fail(self, error: LookoutError, *, condemn: bool = False) -> None:
        """End a deployment before probation; current is untouched."""
        row = self._course.row
        quarantine = (row.candidate.digest, error.message) if condemn and row.candidate is not None else None
        log.warning("deploy.failed", pipeline=row.pipeline, reference=row.reference, reason=error.message)
        self._course.enter(Signal.FAULT, reason=error.message, quarantine=quarantine)
        self._let_go()
        self._course.end(ok=False, code=error.code, error=error)
