"""One pipeline's deployment, put together: orders, the way to probation, verdicts, and what keeps the model alive.

Each of these has a module that states its rules, and uses only those before it in this list: ``course`` (the journalled
state), ``keeper`` (what serves), ``judging`` (probation, deaths), ``approach`` (up to the trial), ``orders``. What one
of them has to tell a later one goes through here. Control thread only, one driver a pipeline.
"""

from __future__ import annotations

from agent.clock import rfc3339
from agent.deploy.approach import Approach
from agent.deploy.bootguard import Do, Plan
from agent.deploy.configured import Configured
from agent.deploy.course import Course
from agent.deploy.guard import Guard
from agent.deploy.judging import Judging
from agent.deploy.keeper import Keeper
from agent.deploy.machine import Signal
from agent.deploy.orders import Orders
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort, WorkerPort
from agent.deploy.records import DeploymentStatus, PipelineSettings, SlotRelease
from agent.deploy.renewal import Renewal
from agent.deploy.row import Row
from agent.deploy.timers import Timers
from agent.errors import LookoutError
from agent.loop.records import ServedSample, SwapSeen
from agent.process.messages import Surveyed
from agent.types import Digest, ReleaseId


class Driver:
    """One pipeline's deployment. ``orders`` takes orders, ``shadowing`` the pipeline's news of a shadow."""

    def __init__(self, settings: PipelineSettings, pipeline: PipelinePort, parts: Parts, row: Row) -> None:
        self.name = settings.name
        self.timers = Timers()
        self._configured = configured = Configured(settings)
        self._parts = parts
        self._course = Course(settings.name, parts, row, changed=self._changed, ended=self._ended)
        self._keeper = Keeper(configured, pipeline, parts, self.timers, self._course, self)
        self._judging = Judging(pipeline, parts, self.timers, self._course, self._keeper)
        self._approach = Approach(
            configured, pipeline, parts, self.timers, self._course, self._keeper, self._judging.probing
        )
        self.shadowing = self._approach.shadowing
        self.orders = Orders(configured, parts, self.timers, self._course, self._keeper, self._approach, self._judging)
        self._guard = Guard(parts, self.timers, self._course, self._keeper)
        self._renewal = Renewal(configured, parts, self.timers, self._course, self._keeper)

    # --- what others may see -----------------------------------------------------------------------------------------

    @property
    def row(self) -> Row:
        """What is durable of it."""
        return self._course.row

    def status(self) -> DeploymentStatus:
        """Return where the pipeline stands."""
        row = self.row
        return DeploymentStatus(
            pipeline=self.name,
            state=row.state,
            reference=row.reference,
            progress=self._course.progress,
            reason=self._course.note or row.reason,
            receipt=row.receipt,
            current=row.current,
            previous=row.previous,
            candidate=row.candidate,
            serving=self._keeper.serving,
            degraded=self._keeper.degraded or self._renewal.trouble,
            at=rfc3339(row.updated_at_ms) if row.updated_at_ms else "",
            shadow=self.shadowing.report,
            yanked=self.orders.upkeep.yanked,
            not_before=None if (begins_ms := row.begins_ms()) is None else rfc3339(begins_ms),
            latest=self.orders.upkeep.latest,
        )

    @property
    def factory(self) -> Digest | None:
        """The factory release's digest, once it was loaded: the store keeps it."""
        return self._keeper.factory.digest if self._keeper.factory is not None else None

    @property
    def safe(self) -> bool:
        """Whether previous serves because the agent crashed too often."""
        return self._keeper.safe

    # --- start and stop ----------------------------------------------------------------------------------------------

    def boot(self, plan: Plan, *, safe: bool) -> None:
        """Do what ``bootguard`` planned; ``plan.row`` is durable. ``safe``: in safe mode."""
        course, candidate = self._course, plan.row.candidate
        course.row = plan.row
        self._keeper.boot(safe=safe)
        course.say(plan.reason if plan.do is Do.RETRY else None)
        if plan.do is Do.GIVE_UP:
            course.enter(Signal.FAULT, reason=plan.reason)
        elif plan.do is Do.ROLL_BACK and candidate is not None:
            course.enter(Signal.REJECT, reason=plan.reason, quarantine=(candidate.digest, plan.reason or "bad"))
        elif plan.do in (Do.ROLL_BACK, Do.ROLL_BACK_UNJUDGED):
            course.enter(Signal.REJECT, reason=plan.reason)
        self._keeper.restore()
        if course.row.current is None:
            self.candidate_again()
        if plan.do is Do.WAIT:
            self._approach.wait()
        if plan.do is Do.AGAIN:
            self._approach.resume()
        self._guard.start()

    def leave_safe_mode(self) -> None:
        """Let current serve again, and take the configuration up."""
        self._keeper.leave_safe_mode()
        self.orders.consider_config(at_boot=True)

    def reconfigure(self, settings: PipelineSettings) -> None:
        """Take up what the configuration says now, of this pipeline and of all."""
        before, self._configured.now = self._configured.now, settings
        if (before.score, before.labels) != (settings.score, settings.labels):
            self._keeper.report()
        self._keeper.reconsider()
        if before.model != settings.model:
            self.orders.config_changed()

    def look(self) -> None:
        """Do what is due by what has become of everything; called after each message."""
        self._renewal.look()

    def leave(self) -> None:
        """Let go of the pipeline, which was removed; the journal keeps what was under way."""
        self._approach.shut_down()
        self._keeper.leave()
        self._parts.turn.give_up(self.name)
        self._course.leave("its pipeline was removed from the configuration")

    def shut_down(self) -> None:
        """Stop the running job; the journal keeps the deployment, which goes on at the next start."""
        self._approach.shut_down()

    # --- news, from the pipeline and the registry --------------------------------------------------------------------

    def swapped(self, seen: SwapSeen) -> None:
        """Take note of another worker's first answer."""
        self._renewal.swapped(seen)
        self._judging.probing.swapped(seen)

    def served(self, seen: ServedSample) -> None:
        """Take note of how current does."""
        self._judging.probing.served(seen)

    def worker_lost(self, release: ReleaseId, reason: str, *, fell_back: bool) -> None:
        """Go on without a worker that died."""
        self._judging.worker_lost(release, reason, fell_back=fell_back)

    def bad_output(self, release: ReleaseId, reason: str) -> None:
        """Take note of an impossible answer."""
        self._judging.bad_output(release, reason)

    def retired(self, worker: WorkerPort) -> None:
        """Close a worker that the pipeline handed back."""
        self._judging.retired(worker)

    def surveyed(self, found: Surveyed) -> None:
        """Act upon what the registry answered, and tell what that changed."""
        before = self.status()
        self.orders.surveyed(found)
        if self.status() != before:
            self._changed()

    # --- what the parts tell later ones ------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._parts.report(self.status())

    def _ended(self, ok: bool, error: LookoutError | None) -> None:
        self.orders.ended(ok, error)

    def fetch_again(self, slot: SlotRelease) -> None:
        """Fetch a release again whose copy on disk is damaged."""
        self.orders.upkeep.mend(slot)

    def candidate_again(self) -> None:
        """Bring a candidate that was on probation back, after a restart of the agent."""
        self._judging.candidate_again()
