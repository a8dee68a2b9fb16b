"""Keeps a committed release alive: brings it back when its worker died, and gives it up when that keeps happening.

Never blind: at boot and after a death, current is loaded from the store; where that cannot be, previous; where neither,
the factory model stands in, if there is one, and current is tried again, ever more slowly; ``degraded`` says why. The
third death in ten minutes gives current up for previous. In probation the candidate serves, and what is brought back
meanwhile is not needed. In safe mode previous serves, and nothing is given up. Control thread only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

import structlog

from agent.clock import NS_PER_S
from agent.deploy.configured import Configured
from agent.deploy.course import Course
from agent.deploy.deaths import SLOWEST_S, Deaths
from agent.deploy.loading import Loaded
from agent.deploy.machine import Signal, State
from agent.deploy.parts import Parts
from agent.deploy.ports import PipelinePort, WorkerPort
from agent.deploy.records import SlotRelease
from agent.deploy.serving import Serving, Who
from agent.deploy.timers import Timers
from agent.errors import DigestMismatch, InputError, LookoutError, StorageError, TrustError
from agent.types import Digest, ReleaseId

FASTEST_RETRY_S = 1.0

log = structlog.get_logger(part="deploy")


class Owner(Protocol):
    """The driver, as far as the keeper needs it."""

    def fetch_again(self, slot: SlotRelease) -> None:
        """Fetch a release again whose copy on disk is damaged."""
        ...

    def candidate_again(self) -> None:
        """Bring a candidate that was on probation back, after a restart of the agent."""
        ...


class Keeper:
    """What serves in one pipeline."""

    def __init__(
        self,
        configured: Configured,
        pipeline: PipelinePort,
        parts: Parts,
        timers: Timers,
        course: Course,
        owner: Owner,
    ) -> None:
        self.factory: SlotRelease | None = None
        """The factory release, once it was loaded."""
        self._name = configured.name
        self._configured = configured
        self._standing_in = self._unloaded = self._safe = False
        self._parts = parts
        self._timers = timers
        self._course = course
        self._owner = owner
        self._deaths = Deaths()
        self._workers = Serving(configured, pipeline, parts)
        self._restoring: Digest | None = None
        self._trouble: str | None = None

    # --- what is so --------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Loaded | None:
        """Who serves."""
        return self._workers.now

    @property
    def serving(self) -> SlotRelease | None:
        """What serves."""
        return self._workers.now.slot if self._workers.now is not None else None

    @property
    def degraded(self) -> str | None:
        """Why nothing serves, or something else than current; None when all is well."""
        target = self.target
        if self._workers.now is None:
            return self._trouble or ("no model was deployed yet" if target is None else f"{target} is loading")
        if self._course.row.state is State.PROBATION or target is None or self.runs(target):
            return None
        trouble = f"{self._trouble}; " if self._trouble else ""
        return f"{trouble}{self.serving} serves until {target} is loaded"

    @property
    def target(self) -> SlotRelease | None:
        """What should serve where no candidate does: current, in safe mode previous."""
        row = self._course.row
        return row.previous if self._safe and row.previous is not None else row.current

    @property
    def expected(self) -> bool:
        """Whether something serves, or will again without the candidate's help."""
        return not self._unloaded and (self._workers.now is not None or self.target is not None)

    @property
    def safe(self) -> bool:
        """Whether previous serves in the place of current because the agent crashed too often."""
        return self._safe

    def runs(self, slot: SlotRelease | None) -> bool:
        """Return whether ``slot``'s release serves."""
        return self._workers.runs(slot)

    def is_warm(self, slot: SlotRelease) -> bool:
        """Return whether ``slot``'s release can serve at once."""
        return self._workers.warm is not None and self._workers.warm.slot.digest == slot.digest

    # --- orders of the driver ----------------------------------------------------------------------------------------

    def install(self, loaded: Loaded) -> None:
        """Let a candidate serve."""
        self._workers.install(loaded)

    def close(self, worker: WorkerPort) -> None:
        """Close a worker that nobody uses."""
        self._workers.close(worker)

    def bring_back(
        self, slot: SlotRelease, done: Callable[[SlotRelease, Loaded | LookoutError], None], *, beside: bool = False
    ) -> None:
        """Load a release from the store, for ``done``; ``beside`` what serves: slowly, and dying first."""
        self._workers.bring_back(slot, done, beside=beside)

    def boot(self, *, safe: bool) -> None:
        """Remember the deaths of before the agent's restart; ``safe``: begin in safe mode."""
        current = self._course.row.current
        self._safe = safe and self._course.row.previous is not None
        if current is not None:
            with contextlib.suppress(StorageError):
                self._deaths = Deaths(self._parts.journal.deaths(self._name, current.digest))

    def leave_safe_mode(self) -> None:
        """Let current serve again."""
        if self._safe:
            self._safe = False
            self._deaths.forget()
            self.restore()

    def unload(self, reason: str, then: Callable[[], None]) -> None:
        """Close what serves, to make room; ``then`` is called once the memory is free, unless :meth:`reload` was."""
        log.warning("model.unloaded", pipeline=self._name, release=str(self.serving), reason=reason)
        self._trouble, self._unloaded = f"unloaded to make room for the candidate: {reason}", True
        self._timers.cancel("restore")
        self._workers.unload(reason, then)

    def reload(self) -> None:
        """Bring back what was unloaded: the candidate will not serve."""
        if self._unloaded:
            self._unloaded = False
            self._workers.forget_unload()
            self.restore()

    def committed(self) -> None:
        """Take note that the candidate is current."""
        self._safe = self._unloaded = False
        self._calm()
        self._drop_needless()

    def rolled_back(self, reason: str, *, fell_back: bool) -> None:
        """Let current serve again in the place of the candidate (which served), warm or from the store."""
        if not fell_back and self._workers.back(reason):
            return
        if self.target is None:
            self._trouble = f"no good model is left: {reason}"
            self._workers.take_out(reason)
        elif self._unloaded:
            self._workers.take_out(reason)  # there is no memory for both
        self._unloaded = False
        if not self.runs(self.target):
            self.restore()

    def serve_previous(self, loaded: Loaded | None, reason: str) -> None:
        """Let the release that was just made current serve: ``loaded``, or the warm one."""
        self._safe = self._unloaded = False
        self._calm()
        if loaded is None:
            if not self._workers.back(reason):
                self.restore()
            return
        self._workers.install(loaded)
        self._drop_needless()

    # --- another configuration ---------------------------------------------------------------------------------------

    def report(self) -> None:
        """Let what is answered be reported as the configuration says now."""
        self._workers.report()

    def reconsider(self) -> None:
        """Keep no worker warm that the configuration does not want warm, and look again where nothing serves."""
        if self._course.state is not State.PROBATION:
            self._drop_needless()
        if self._workers.now is None:
            self.restore()

    def exchange(self, loaded: Loaded) -> bool:
        """Let what serves be served by another worker of the same release; False where it serves no more, or may not.

        Who served stays warm until :meth:`exchanged`.
        """
        now = self._workers.now
        on_probation = self._course.state is State.PROBATION
        if now is None or now.slot.digest != loaded.slot.digest or self._unloaded or on_probation:
            return False
        self._workers.install(loaded)
        return True

    def exchanged(self, former: Loaded) -> None:
        """Retire the worker that :meth:`exchange` left warm."""
        if self._workers.warm is former:
            self._workers.drop_previous()

    def leave(self) -> None:
        """Let go of the pipeline, which was removed: it hands its workers back itself."""
        self._unloaded = True  # so nothing is brought back
        self._workers.leave()

    # --- deaths ------------------------------------------------------------------------------------------------------

    def lost(self, release: ReleaseId, reason: str, *, fell_back: bool) -> bool:
        """Account for a dead worker; return whether it was the one that served."""
        who = self._workers.lost(release, fell_back=fell_back)
        log.warning("worker.lost", pipeline=self._name, release=release.version, who=who.name.lower(), reason=reason)
        return who is Who.SERVING

    def handed_back(self, worker: WorkerPort) -> bool:
        """Close a worker that the pipeline has no more; return whether it was thought to serve."""
        self._workers.close(worker)
        return self._workers.handed_back(worker) is Who.SERVING

    def revive(self, reason: str) -> None:
        """Bring current back after its worker died while it served."""
        self._died()
        self._trouble = reason
        row = self._course.row
        if self._safe and self._deaths.too_many:
            self.leave_safe_mode()
            return
        if self._deaths.too_many and row.previous is not None and row.state is not State.PROBATION:
            self._give_up(f"its worker died {self._deaths.count} times in ten minutes: {reason}", condemn=True)
            return
        if self._deaths.too_many:
            self.stand_in()
        self._after(self._deaths.delay_s())

    def restore(self) -> None:
        """Load current (in safe mode previous) from the store and let it serve; the factory model where there is none.

        Nothing where the candidate has the memory for itself.
        """
        current = self.target
        if current is None:
            self.stand_in()
        if current is None or self.runs(current) or self._unloaded:
            return
        if self.is_warm(current):
            self.restored(current, None)
        elif self._restoring != current.digest:
            self._restoring = current.digest
            self._workers.bring_back(current, self._brought_back)

    def stand_in(self) -> None:
        """Let the factory model serve while nothing does."""
        folder = self._configured.now.factory
        if folder is None or self._standing_in or self._unloaded or self._workers.now is not None:
            return
        self._standing_in = True
        self._workers.bring_factory(folder, self._stood_in)

    def _stood_in(self, result: Loaded | LookoutError) -> None:
        self._standing_in = False
        if isinstance(result, LookoutError):
            before = f"{self._trouble}; " if self._trouble else ""
            self._trouble = f"{before}the factory model cannot be loaded: {result.message}"
            log.error("model.no_factory", pipeline=self._name, reason=result.message)
            if self.target is None and self._workers.now is None:
                self._timers.set("restore", self._parts.now_ns() + round(SLOWEST_S * NS_PER_S), self._again)
            return
        self.factory = result.slot
        if self._unloaded or self._workers.now is not None:
            self._workers.close(result.worker)
            return
        self._workers.install(result)
        log.warning("model.factory", pipeline=self._name, release=str(result.slot))

    def _again(self) -> None:
        self._trouble = None
        self.restore()

    def _brought_back(self, slot: SlotRelease, result: Loaded | LookoutError) -> None:
        if self._restoring == slot.digest:
            self._restoring = None
        self.restored(slot, result)

    def restored(self, slot: SlotRelease, result: Loaded | LookoutError | None) -> None:
        """Let a release serve that was brought back (None: it is warm), unless things went on without it."""
        row = self._course.row
        if isinstance(result, LookoutError):
            if self._wanted(slot):
                self._not_restored(result)
            self._owner.candidate_again()
            return
        if not self._wanted(slot):
            if result is not None:
                self._workers.close(result.worker)
            return
        if result is None:
            self._workers.back("current is warm")
        else:
            self._workers.install(result)
            self._drop_needless()
        self._trouble = None
        log.info("model.restored", pipeline=self._name, release=str(slot), state=row.state.value)
        self._owner.candidate_again()

    def _wanted(self, slot: SlotRelease) -> bool:
        """Return whether ``slot`` should be made to serve: it is current, and no candidate serves on probation."""
        row, target = self._course.row, self.target
        on_probation = row.state is State.PROBATION and self.runs(row.candidate)
        wanted = target is not None and target.digest == slot.digest and not self._unloaded
        return wanted and not self.runs(slot) and not on_probation

    def _not_restored(self, error: LookoutError) -> None:
        """Fall back to previous where current cannot be loaded; else try again."""
        self._trouble = f"current cannot be loaded: {error.message}"
        log.error("model.not_restored", pipeline=self._name, reason=error.message)
        self._died()
        if self._safe:
            self.leave_safe_mode()
            return
        hopeless = isinstance(error, InputError | TrustError | StorageError)
        row = self._course.row
        if row.current is not None and isinstance(error, DigestMismatch | StorageError):
            self._owner.fetch_again(row.current)  # a deployment under way outlives what follows
            row = self._course.row
        if row.previous is not None and row.state is not State.PROBATION and (hopeless or self._deaths.too_many):
            self._give_up(self._trouble, condemn=False)
            return
        self.stand_in()
        self._after(max(self._deaths.delay_s(), FASTEST_RETRY_S))

    def _died(self) -> None:
        """Count a death of what should serve, and remember it over a restart of the agent."""
        self._deaths.add(self._parts.now_ns())
        current = self._course.row.current
        if current is None or self._safe:
            return
        try:
            self._parts.journal.keep_deaths(self._name, current.digest, self._deaths.at_ns)
        except StorageError as error:
            log.warning("journal.not_written", pipeline=self._name, problem=error.message)

    def _give_up(self, reason: str, *, condemn: bool) -> None:
        """Move current to previous because it cannot be kept alive; a deployment under way goes on."""
        current = self._course.row.current
        quarantine = (current.digest, reason) if condemn and current is not None else None
        log.error("deploy.given_up", pipeline=self._name, release=str(current), reason=reason)
        self._course.enter(Signal.WITHDRAW, reason=reason, quarantine=quarantine)
        self._deaths.forget()
        self.restore()

    def _after(self, delay_s: float) -> None:
        if delay_s <= 0:
            self.restore()
        else:
            self._timers.set("restore", self._parts.now_ns() + round(delay_s * NS_PER_S), self.restore)

    def _drop_needless(self) -> None:
        """Retire the warm worker unless it is previous and the configuration keeps that warm."""
        previous, warm = self._course.row.previous, self._workers.warm
        keep = previous is not None and warm is not None and warm.slot.digest == previous.digest
        if not keep or self._parts.settings.keep_previous_warm == "probation":
            self._workers.drop_previous()

    def _calm(self) -> None:
        self._deaths.forget()
        self._trouble = None
        self._timers.cancel("restore")
