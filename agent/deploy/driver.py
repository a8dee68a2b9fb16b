"""Drives one pipeline's machine: takes orders, results and events, journals the transition, then acts.

Control thread only, one driver a pipeline. Every change of state goes through :meth:`Driver._enter`, which makes it
durable before anything is done about it. Where the journal cannot be written, a step that would change what serves is
not taken and the deployment fails; one that keeps the device seeing (``machine.URGENT``) is taken all the same: after a
kill the journal then holds an older state, from which boot comes to the same end. What serves, and how it is kept
alive, is :class:`agent.deploy.keeper.Keeper`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from agent.clock import rfc3339
from agent.deploy import room
from agent.deploy.bootguard import Do, Plan
from agent.deploy.candidate import CandidateJobs, Fetched, Tried, Verified
from agent.deploy.keeper import Keeper
from agent.deploy.later import Later
from agent.deploy.loading import Loaded, slot_of
from agent.deploy.machine import BEFORE_PROBATION, TERMINAL, URGENT, Action, Signal, State
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort, WorkerPort
from agent.deploy.probing import Probing
from agent.deploy.records import (
    Accepted,
    DeploymentStatus,
    DeployOptions,
    FetchProgress,
    OnDone,
    Outcome,
    PipelineSettings,
    Receipt,
    SlotRelease,
    TrialRecord,
)
from agent.deploy.row import Row, advance
from agent.deploy.shadowing import Shadowing, Terms, terms
from agent.deploy.timers import Timers
from agent.deploy.upkeep import Upkeep
from agent.deploy.wish import Wish
from agent.deploy.withdrawal import REASON, Withdrawal
from agent.errors import (
    ChildDied,
    ChildHung,
    DeploymentRefused,
    LookoutError,
    MemoryShort,
    ModelError,
    StorageError,
    SurroundingsError,
    TrialFailed,
)
from agent.loop.records import ServedSample, SwapSeen
from agent.process.messages import Progress, Surveyed
from agent.registry.reference import parse_reference
from agent.registry.store import StoredRelease
from agent.types import Digest, ReleaseId

CONDEMNING = (ModelError, TrialFailed, ChildDied, ChildHung)
"""What, in a trial, speaks against the release itself."""

log = structlog.get_logger(part="deploy")


class Driver:
    """One pipeline's deployment."""

    def __init__(self, settings: PipelineSettings, pipeline: PipelinePort, parts: Parts, row: Row) -> None:
        self.name = settings.name
        self.row = row
        self.timers = Timers()
        self._settings = settings
        self._pipeline = pipeline
        self._parts = parts
        self._keeper = Keeper(settings, pipeline, parts, self.timers, self)
        self._jobs = CandidateJobs(self.name, parts, self._keeper.close)
        self._probing = Probing(self.name, pipeline, parts, self.timers, self._keeper, self)
        self.shadowing = Shadowing(self.name, pipeline, parts, self.timers, self._keeper, self)
        self._later = Later(self.timers, parts.now_ns, parts.now_ms)
        self._withdrawal = Withdrawal(self._keeper, self)
        self._upkeep = Upkeep(self.name, parts, self.timers, self)
        self._on_done: OnDone | None = None
        self._candidate_loading = False
        self._wish = Wish(settings.model, self.timers, self._deploy_wish)
        self._wished = False
        self._note: str | None = None
        self._progress: FetchProgress | None = None

    # --- what others may see -----------------------------------------------------------------------------------------

    def status(self) -> DeploymentStatus:
        """Return where the pipeline stands."""
        row = self.row
        return DeploymentStatus(
            pipeline=self.name,
            state=row.state,
            reference=row.reference,
            progress=self._progress,
            reason=self._note or row.reason,
            receipt=row.receipt,
            current=row.current,
            previous=row.previous,
            candidate=row.candidate,
            serving=self._keeper.serving,
            degraded=self._keeper.degraded,
            at=rfc3339(row.updated_at_ms) if row.updated_at_ms else "",
            shadow=self.shadowing.report,
            yanked=self._upkeep.yanked,
            not_before=rfc3339(row.not_before_ms) if row.not_before_ms and row.state is State.DEFERRED else None,
        )

    @property
    def factory(self) -> Digest | None:
        """The factory release's digest, once it was loaded: the store keeps it."""
        return self._keeper.factory.digest if self._keeper.factory is not None else None

    @property
    def safe(self) -> bool:
        """Whether previous serves because the agent crashed too often."""
        return self._keeper.safe

    def leave_safe_mode(self) -> None:
        """Let current serve again, and take the configuration up."""
        self._keeper.leave_safe_mode()
        self.consider_config(at_boot=True)

    # --- orders ------------------------------------------------------------------------------------------------------

    def deploy(
        self,
        reference: str,
        *,
        force: bool = False,
        on_done: OnDone | None = None,
        stored: SlotRelease | None = None,
        config_model: str | None = None,
        options: DeployOptions = DeployOptions(),  # noqa: B008 - frozen
    ) -> Accepted:
        """Begin a deployment; one that has not reached probation is superseded.

        ``stored``: take this release from the store. ``config_model``: note that the configuration's value was acted
        upon. Raises DeploymentRefused (busy), StorageError; then nothing changed.
        """
        if self.row.state is State.PROBATION:
            raise DeploymentRefused(
                f"busy: {self.row.reference} is on probation in pipeline {self.name!r}; wait for its end or roll back"
            )
        if self._withdrawal.on:
            raise DeploymentRefused(f"busy: pipeline {self.name!r} is rolling back; try again in a moment")
        before, supersedes = self.row, None
        passed: tuple[Row, ...] = ()
        if before.state in BEFORE_PROBATION:
            supersedes = before.reference
            reason = f"superseded by {reference}"
            before, _ = advance(before, Signal.SUPERSEDE, self._parts.now_ms(), reason=reason)
            passed = (before,)
        later = self._later.is_ahead(options.not_before_ms)
        changes: dict[str, Any] = {
            "reference": reference,
            "force": force,
            "not_before_ms": options.not_before_ms if later else None,
            "shadow_frames": options.shadow_frames,
            "min_agreement": options.min_agreement,
        }
        if config_model is not None:
            changes["config_model"] = config_model
        if stored is not None:
            changes |= {"stored": True, "candidate": stored}
        signal = Signal.LATER if later else Signal.DEPLOY
        row, _ = advance(before, signal, self._parts.now_ms(), **changes)
        self._parts.journal.save(row, passed=passed)
        self._jobs.begin()
        self._drop_candidate()
        self.shadowing.report = None
        if passed:
            self.row = before
            self._end(ok=False, code="superseded", keep_turn=True)
        self.row, self._on_done, self._wished = row, on_done, config_model is not None
        self._wish.overruled()
        self._upkeep.begun(reference)
        self._entered()
        if later:
            self._parts.turn.give_up(self.name)
            self._wait()
        else:
            self._ask_turn()
        return Accepted(self.name, reference, supersedes)

    def _wait(self) -> None:
        """Begin when the deployment's time has come."""
        self._later.wait(self.row.not_before_ms or 0, self._due)

    def _due(self) -> None:
        self._step(lambda: self._enter(Signal.DUE))
        if self.row.state is State.RESOLVING:
            self._ask_turn()

    def _drop_candidate(self) -> None:
        """Let go of what a deployment holds besides its job: its time, the shadow, the memory that it was given."""
        self._later.cancel()
        self.shadowing.end()
        self._keeper.reload()

    def shut_down(self) -> None:
        """Stop the running job; the journal keeps the deployment, which goes on at the next start."""
        self._jobs.cancel("the agent stops")

    def cancel(self, reason: str = "cancelled by the operator") -> Accepted:
        """Cancel a deployment that has not reached probation. Raises DeploymentRefused."""
        if self.row.state not in BEFORE_PROBATION:
            raise DeploymentRefused(f"pipeline {self.name!r} is {self.row.state.value}: there is nothing to cancel")
        self._jobs.cancel(reason)
        self._enter(Signal.CANCEL, reason=reason)
        self._drop_candidate()
        self._end(ok=False, code="cancelled")
        return Accepted(self.name, self.row.reference)

    def roll_back(self, on_done: OnDone | None) -> Accepted:
        """Undo the latest change: cancel it, take it back in probation, or bring the previous release back.

        Raises DeploymentRefused.
        """
        accepted = Accepted(self.name, self.row.reference)
        if self.row.state in BEFORE_PROBATION:
            self.cancel(REASON)
            self.answer(on_done, ok=True)
            return accepted
        if self.row.state is State.PROBATION:
            self._take_back(Signal.WITHDRAW, REASON)
            self.answer(on_done, ok=True)
            return accepted
        if self._withdrawal.on:
            raise DeploymentRefused(f"busy: pipeline {self.name!r} is rolling back already")
        if self.row.previous is None:
            raise DeploymentRefused(f"pipeline {self.name!r} has no previous release to roll back to")
        self._upkeep.refuse_low(self.row.previous)
        self._withdrawal.begin(self.row.previous, on_done)
        return accepted

    def step_back(self, reason: str) -> None:
        """Bring the previous release back because ``reason``. Raises DeploymentRefused."""
        if self.row.state not in TERMINAL or self._withdrawal.on or self.row.previous is None:
            raise DeploymentRefused(f"pipeline {self.name!r} cannot roll back now ({self.row.state.value})")
        self._withdrawal.begin(self.row.previous, None, reason)

    def surveyed(self, found: Surveyed) -> None:
        """Act upon what the registry answered."""
        if not self._withdrawal.on and not self.safe:
            self._upkeep.surveyed(found)

    # --- boot --------------------------------------------------------------------------------------------------------

    def boot(self, plan: Plan, *, safe: bool) -> None:
        """Do what ``bootguard`` planned; ``plan.row`` is durable. ``safe``: in safe mode."""
        self.row = plan.row
        self._keeper.boot(safe=safe)
        self._note = plan.reason if plan.do is Do.RETRY else None
        candidate = plan.row.candidate
        if plan.do is Do.GIVE_UP:
            self._enter(Signal.FAULT, reason=plan.reason)
        elif plan.do is Do.ROLL_BACK and candidate is not None:
            quarantine = (candidate.digest, plan.reason or "bad")
            self._enter(Signal.REJECT, reason=plan.reason, quarantine=quarantine)
        elif plan.do in (Do.ROLL_BACK, Do.ROLL_BACK_UNJUDGED):
            self._enter(Signal.REJECT, reason=plan.reason)
        self._keeper.restore()
        if self.row.current is None and self.row.state is State.PROBATION:
            self.candidate_again()
        if plan.do is Do.WAIT:
            self._wait()
        if plan.do is Do.AGAIN:
            self._step(self._resume)

    def _resume(self) -> None:
        """Start the interrupted deployment from its beginning; what was fetched lies in the store."""
        self._enter(Signal.RESUME, reason="started again: the agent was stopped in it")
        self._ask_turn()

    def candidate_again(self) -> None:
        """Bring the candidate back to a new probation, after current, so that there is something to fall back to."""
        wanted = self.row.state is State.PROBATION and not self._probing.on and not self._candidate_loading
        if wanted and self.row.candidate is not None:
            self._candidate_loading = True
            self._keeper.bring_back(self.row.candidate, self._candidate_back)

    def _candidate_back(self, _slot: SlotRelease, result: Loaded | LookoutError) -> None:
        self._candidate_loading = False
        if self.row.state is not State.PROBATION or self._probing.on:
            if isinstance(result, Loaded):
                self._keeper.close(result.worker)
            return
        if isinstance(result, LookoutError):
            reason = f"cannot be loaded again after a restart: {result.message}"
            self._take_back(Signal.REJECT, reason)
            return
        self._probing.begin(result, None)

    def consider_config(self, *, at_boot: bool) -> None:
        """Deploy the configuration's model if it is due."""
        self._wish.consider(self.row, at_boot=at_boot)

    def _deploy_wish(self, model: str) -> None:
        try:
            self.deploy(str(parse_reference(model)), config_model=model)
        except LookoutError as error:
            self._note = f"pipelines.{self.name}.model: {error.message}"
            log.error("deploy.config_refused", pipeline=self.name, reference=model, reason=error.message)  # noqa: TRY400

    # --- the way to the trial ----------------------------------------------------------------------------------------

    def _ask_turn(self) -> None:
        before = self._parts.turn.ask(self.name, self._start)
        if before is not None:
            self._note = f"waits for the deployment of pipeline {before!r}"

    def _start(self) -> None:
        self._note = None
        if self.row.stored and self.row.candidate is not None:
            self._jobs.take_stored(self.row.candidate.digest, self._fetched)
        elif not self._upkeep.must_wait():
            self._jobs.fetch(self.row.reference or "", self._progressed, self._fetched)

    def _progressed(self, step: Progress) -> None:
        if self.row.state is State.RESOLVING and step.stage == "fetching":
            self._step(lambda: self._enter(Signal.RESOLVED))
        if self.row.state is State.FETCHING:
            self._progress = FetchProgress(step.done_bytes, step.total_bytes)

    def _fetched(self, result: Fetched | LookoutError) -> None:
        if isinstance(result, LookoutError):
            self._fail(result)
            return
        stored, versions = result
        self._step(lambda: self._take(stored, versions))

    def _take(self, stored: Any, versions: dict[str, int]) -> None:
        """Accept a release that is whole in the store, unless it is known to be bad or serves already."""
        journal, row = self._parts.journal, self.row
        journal.accept_versions(versions)
        self._upkeep.take(stored)
        bad = journal.quarantined().get(stored.id.digest)
        if bad is not None and not row.force:
            raise TrialFailed(f"{stored.id.model}:{stored.id.version} is in quarantine: {bad}; force overrides")
        slot = slot_of(stored, 0)
        if row.current is not None and row.current.digest == slot.digest and self._keeper.runs(slot) and not row.force:
            self._enter(Signal.ALREADY_CURRENT, reason="it serves already")
            self._end(ok=True)
            return
        self._enter(Signal.FETCHED, candidate=slot)
        self._jobs.verify(slot.digest, self._verified)

    def _verified(self, result: Verified | LookoutError) -> None:
        if isinstance(result, LookoutError):
            self._fail(result)
            return
        stored, variant = result
        slot = slot_of(stored, variant)
        self._step(lambda: self._enter(Signal.VERIFIED, candidate=slot))
        if self.row.state is State.TRIAL:
            self._step(lambda: self._make_room(stored, slot))

    def _make_room(self, stored: StoredRelease, slot: SlotRelease) -> None:
        """Try the candidate beside current, or in its place where memory is too short for both."""

        def try_() -> None:
            self._jobs.try_(stored, slot, self._settings.score, self._tried)

        short = room.shortage(self._parts, stored, slot, self._keeper.now)
        if short is None:
            try_()
            return
        if self._shadow_terms().frames and self._shadow_terms().min_agreement is not None:
            raise MemoryShort(
                f"{slot}: {short}, so it cannot be compared with the current model; "
                f"deploy it without min_agreement to load it in the current model's place"
            )
        row = msgspec.structs.replace(self.row, unload_first=True)
        self._parts.journal.update(row)
        self.row = row
        self._probing.measure_old()
        self._keeper.unload(short, try_)

    def _shadow_terms(self) -> Terms:
        return terms(self.row, self._parts.settings, comparable=self._keeper.expected)

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
            self._enter(Signal.TO_SHADOW if self._shadow_terms().frames else Signal.PASSED, candidate=loaded.slot)
        except StorageError as error:
            self._keeper.close(loaded.worker)
            self._fail(error)
            return
        if self.row.state is State.SHADOW:
            self.shadowing.begin(loaded, record, self._shadow_terms())
        else:
            self._probing.begin(loaded, record, unload_first=self.row.unload_first)

    # --- what the shadow asks ----------------------------------------------------------------------------------------

    def agreed(self, loaded: Loaded, record: TrialRecord) -> None:
        """Let the candidate serve after its shadow."""
        try:
            self._enter(Signal.AGREED)
        except StorageError as error:
            self._pipeline.end_shadow()
            self._fail(error)
            return
        self._probing.begin(loaded, record, shadow=self.shadowing.report)

    def shadow_refused(self, error: LookoutError, *, condemn: bool) -> None:
        """End a deployment in its shadow."""
        self._fail(error, condemn=condemn)

    def _step(self, step: Callable[[], object]) -> None:
        """Take a step; the deployment fails where it cannot be taken."""
        try:
            step()
        except LookoutError as error:
            self._jobs.cancel(error.message)
            self._fail(error)

    def _fail(self, error: LookoutError, *, condemn: bool = False) -> None:
        """End a deployment before probation; current is untouched."""
        candidate = self.row.candidate
        quarantine = (candidate.digest, error.message) if condemn and candidate is not None else None
        log.warning("deploy.failed", pipeline=self.name, reference=self.row.reference, reason=error.message)
        self._enter(Signal.FAULT, reason=error.message, quarantine=quarantine)
        self._drop_candidate()
        if isinstance(error, SurroundingsError):
            self._wish.failed(
                self.row.config_model if self._wished else None, self._parts.now_ns(), self._parts.random()
            )
            self._upkeep.failed(self.row.reference)
        self._end(ok=False, code=error.code)

    # --- what the probation asks -------------------------------------------------------------------------------------

    def swapped_in(self, receipt: Receipt) -> None:
        """Keep the receipt of the swap."""
        self.row = msgspec.structs.replace(self.row, receipt=receipt)
        try:
            self._parts.journal.update(self.row)
        except StorageError as error:
            log.warning("receipt.not_stored", pipeline=self.name, problem=error.message)
        self._entered()

    def proved(self, candidate: Loaded, receipt: Receipt | None) -> bool:
        """Commit the candidate; False where that cannot be written: it serves on, on probation."""
        try:
            self._enter(Signal.COMMIT, receipt=receipt)
            self._parts.journal.acquit(candidate.slot.digest)
        except StorageError as error:
            if self.row.state is State.PROBATION:
                self._note = f"proved itself, but that cannot be noted: {error.message}"
                return False
        self._probing.end()
        self._keeper.committed()
        log.info("deploy.committed", pipeline=self.name, release=str(candidate.slot))
        self._end(ok=True)
        return True

    def reject(self, reason: str, *, fell_back: bool = False) -> None:
        """End probation against the candidate, and never try its digest again unasked."""
        candidate = self.row.candidate
        quarantine = (candidate.digest, reason) if candidate is not None else None
        self._take_back(Signal.REJECT, reason, quarantine, fell_back=fell_back)

    def stalled(self, reason: str) -> None:
        """Say what the verdict waits for, and let other pipelines' deployments go on meanwhile."""
        self._note = reason
        self._parts.turn.give_up(self.name)

    def _take_back(
        self, signal: Signal, reason: str, quarantine: tuple[Digest, str] | None = None, *, fell_back: bool = False
    ) -> None:
        """Undo the swap; ``fell_back``: the pipeline did already."""
        log.warning("deploy.rolled_back", pipeline=self.name, reference=self.row.reference, reason=reason)
        self._enter(signal, reason=reason, quarantine=quarantine)
        if self._probing.end():
            self._keeper.rolled_back(reason, fell_back=fell_back)
        else:  # the candidate was still being loaded, after a restart
            self._keeper.restore()
        self._end(ok=False, code="rolled_back")

    # --- events of the pipeline --------------------------------------------------------------------------------------

    def swapped(self, seen: SwapSeen) -> None:
        """Take note of another worker's first answer."""
        self._probing.swapped(seen)

    def served(self, seen: ServedSample) -> None:
        """Take note of how current does."""
        self._probing.served(seen)

    def worker_lost(self, release: ReleaseId, reason: str, *, fell_back: bool) -> None:
        """Take back a candidate whose worker died; keep a committed release alive."""
        self._without(self._keeper.lost(release, reason, fell_back=fell_back), release, reason)

    def _without(self, died: bool, release: ReleaseId, reason: str) -> None:
        """Go on without the worker that served, if it was that one which ``died``."""
        if died and self._probing.concerns(release):
            self.reject(reason, fell_back=True)
        elif died:
            self._keeper.revive(reason)

    def bad_output(self, release: ReleaseId, reason: str) -> None:
        """Take back a candidate that answered something impossible; of a committed release it is only counted."""
        if self._probing.concerns(release):
            self.reject(reason)
        else:
            log.warning("model.bad_output", pipeline=self.name, release=release.version, reason=reason)

    def retired(self, worker: WorkerPort) -> None:
        """Close a worker that the pipeline handed back; one that should serve has died as it was swapped back to."""
        self._without(self._keeper.handed_back(worker), worker.release, "its worker died before it could serve")

    # --- what the keeper asks ----------------------------------------------------------------------------------------

    def give_current_up(self, reason: str, *, condemn: bool) -> None:
        """Move current to previous because it cannot be kept alive; a deployment under way goes on."""
        current = self.row.current
        quarantine = (current.digest, reason) if condemn and current is not None else None
        log.error("deploy.given_up", pipeline=self.name, release=str(current), reason=reason)
        self._enter(Signal.WITHDRAW, reason=reason, quarantine=quarantine)

    # --- what upkeep asks --------------------------------------------------------------------------------------------

    def fetch_again(self, slot: SlotRelease) -> None:
        """Fetch a release again whose copy on disk is damaged."""
        self._upkeep.mend(slot)

    def wait_for_clock(self, doubt: str) -> None:
        """Show, durably, that the deployment waits for a clock that can be believed, and let others go first."""
        self._step(lambda: self._enter(Signal.CLOCK_UNTRUSTED, reason=doubt))
        self._parts.turn.give_up(self.name)

    def clock_is_right(self) -> None:
        """Go on with the deployment that waited."""
        self._step(lambda: self._enter(Signal.CLOCK_TRUSTED))
        if self.row.state is State.RESOLVING:
            self._ask_turn()

    # --- what a withdrawal asks --------------------------------------------------------------------------------------

    def lacks_memory_for(self, slot: SlotRelease) -> str | None:
        """Return why a release cannot be loaded beside the one that serves; None: it can, or it is not known."""
        try:
            stored = self._parts.store.release(slot.digest)
            return None if stored is None else room.shortage(self._parts, stored, slot, self._keeper.now)
        except MemoryShort as error:
            return error.message
        except LookoutError:  # loading it will tell
            return None

    def withdraw(self, reason: str) -> None:
        """Move current to previous because the operator says so; the former stays as previous."""
        self._enter(Signal.WITHDRAW, reason=reason, keep_former=True)

    def say(self, note: str | None) -> None:
        """Show ``note`` in the status until the next change of state."""
        self._note = note

    # --- inside ------------------------------------------------------------------------------------------------------

    def _enter(
        self, signal: Signal, *, reason: str | None = None, quarantine: tuple[Digest, str] | None = None, **changes: Any
    ) -> Action:
        """Make a transition durable, then true. Raises StorageError where it is not durable and could do harm."""
        row, action = advance(self.row, signal, self._parts.now_ms(), reason=reason, **changes)
        try:
            self._parts.journal.save(row, quarantine=quarantine)
        except StorageError as error:
            log.error("journal.not_written", pipeline=self.name, state=row.state.value, problem=error.message)  # noqa: TRY400
            if action not in URGENT:
                raise
        self.row = row
        self._entered()
        return action

    def _entered(self) -> None:
        self._note = self._progress = None
        self._parts.report(self.status())

    def _end(self, *, ok: bool, code: str | None = None, keep_turn: bool = False) -> None:
        """Tell who ordered the deployment how it ended, and let the next one begin."""
        on_done, self._on_done = self._on_done, None
        self.answer(on_done, ok=ok, code=code)
        if keep_turn:
            return
        if ok:
            self._wish.fulfilled()
            self._upkeep.fulfilled()
        self._parts.turn.give_up(self.name)
        self.consider_config(at_boot=False)

    def answer(self, on_done: OnDone | None, *, ok: bool, code: str | None = None, reason: str | None = None) -> None:
        """Tell how an order ended, where somebody wants to know."""
        if on_done is None:
            return
        row = self.row
        on_done(
            Outcome(
                pipeline=self.name,
                reference=row.reference,
                ok=ok,
                state=row.state,
                reason=reason or row.reason,
                code=None if ok else code,
                receipt=row.receipt,
                current=row.current,
            )
        )
