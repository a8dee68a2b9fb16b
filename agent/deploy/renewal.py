"""Loads what serves anew where the configuration asks for another way of running it, and lets that take over.

Other providers, threads or spinning, cameras that need another tuning, or a threshold below the scores that the worker
answers at all: the same release is loaded beside the worker that serves, and swapped in between two frames; where
memory is too short for both, the worker that serves is closed first, which is said. Where the release cannot be loaded
in the new way, what serves goes on as it is, and ``trouble`` says why: it is not tried again before something changes.
A deployment in its trial, shadow or probation is not disturbed: its end is waited for. Control thread only.
"""

from __future__ import annotations

import msgspec
import structlog

from agent.clock import NS_PER_S
from agent.deploy.admission import Need, Way, admit
from agent.deploy.configured import Configured
from agent.deploy.course import Course
from agent.deploy.keeper import Keeper
from agent.deploy.loading import Loaded, variant_for
from agent.deploy.machine import State
from agent.deploy.parts import Parts
from agent.deploy.records import DeploySettings, PipelineSettings, SlotRelease
from agent.deploy.timers import Timers
from agent.deploy.watching import memory_mb
from agent.errors import ChildDied, LookoutError, StorageError
from agent.loop.records import SwapSeen
from agent.types import MB

WARM_S = 10.0
"""How long the worker that was replaced stays warm where no frame comes that the new one could answer."""

BUSY = frozenset({State.VERIFYING, State.TRIAL, State.SHADOW, State.PROBATION})
"""States in which a load beside them would disturb what is measured, or cost what may be needed."""

log = structlog.get_logger(part="deploy")


class Renewal:
    """The renewal of one pipeline's worker."""

    def __init__(self, configured: Configured, parts: Parts, timers: Timers, course: Course, keeper: Keeper) -> None:
        self._configured = configured
        self._parts = parts
        self._timers = timers
        self._course = course
        self._keeper = keeper
        self._seen: tuple[Loaded, DeploySettings, PipelineSettings] | None = None
        self._loading: Loaded | None = None
        self._former: Loaded | None = None
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why what serves does not run as the configuration says, in words; None where it does."""
        return None if self._seen is None or self._seen[0] is not self._keeper.now else self._trouble

    def look(self) -> None:
        """Begin where there is reason to. Costs nothing where nothing changed since the last look."""
        now = self._keeper.now
        if now is None or self._loading is not None or self._course.state in BUSY:
            return
        settings, wanted = self._parts.settings, self._configured.now
        seen = self._seen
        if seen is not None and seen[0] is now and seen[1] is settings and seen[2] is wanted:
            return
        self._seen, self._trouble = (now, settings, wanted), None
        before = settings.providers if seen is None else seen[1].providers
        try:
            self._decide(now, wanted, fresh=frozenset(settings.providers) - frozenset(before))
        except LookoutError as error:
            self._fail(error)

    def swapped(self, seen: SwapSeen) -> None:
        """Take note of a first answer: the new worker needs no other one beside it any more."""
        if seen.cause == "swap":
            self._exchanged()

    def _decide(self, now: Loaded, wanted: PipelineSettings, fresh: frozenset[str]) -> None:
        """Load what serves anew if that makes a difference. Raises :class:`ModelError`: it cannot run here at all."""
        parts = self._parts
        variant = variant_for(now.stored, now.slot.variant, parts.settings.providers, fresh)
        if now.how.serves_for(parts.loader.how(now.stored, variant, wanted.score, wanted.fps)):
            return
        slot = msgspec.structs.replace(now.slot, variant=variant)
        short = self._lacks_memory(now)
        log.info("model.renewing", pipeline=self._course.name, release=str(slot), unload_first=short)
        if short is None:
            self._loading = now
            self._keeper.bring_back(slot, self._loaded, beside=True)
        else:
            self._keeper.unload(short, self._keeper.reload)

    def _lacks_memory(self, now: Loaded) -> str | None:
        """Return why what serves cannot be loaded a second time beside itself; None: it can, or nobody knows."""
        held_mb, available = memory_mb(now), self._parts.available()
        if held_mb is None or available is None:
            return None
        floor_mb = self._parts.settings.memory_floor_mb
        need = Need(held_mb, "what its worker holds now", known=True)
        admission = admit(need, available_mb=available / MB, current_mb=held_mb, floor_mb=floor_mb)
        return admission.reason if admission.way is Way.UNLOAD_FIRST else None

    def _loaded(self, slot: SlotRelease, result: Loaded | LookoutError) -> None:
        former, self._loading = self._loading, None
        if isinstance(result, LookoutError):
            self._fail(result)
            return
        if not result.worker.alive:
            self._keeper.close(result.worker)
            self._fail(ChildDied(f"{slot}: its worker died before it could serve"))
            return
        if former is not self._keeper.now or not self._keeper.exchange(result):
            self._keeper.close(result.worker)
            self._seen = None  # things went on without it: look again
            return
        self._promote(result)
        self._seen = (result, *self._seen[1:]) if self._seen is not None else None
        self._former = former
        self._timers.set("renewal", self._parts.now_ns() + round(WARM_S * NS_PER_S), self._exchanged)
        self._note_variant(slot)
        log.info("model.renewed", pipeline=self._course.name, release=str(slot))

    def _promote(self, loaded: Loaded) -> None:
        try:
            loaded.worker.promote()
        except LookoutError as error:  # it runs at a candidate's priority, or has just died: the pipeline will tell
            log.warning("worker.not_promoted", pipeline=self._course.name, problem=error.message)

    def _note_variant(self, slot: SlotRelease) -> None:
        """Let the next start load the same variant."""
        current = self._course.row.current
        if current is None or current.digest != slot.digest or current == slot:
            return
        try:
            self._course.amend(current=slot)
        except StorageError as error:
            log.warning("journal.not_written", pipeline=self._course.name, problem=error.message)

    def _exchanged(self) -> None:
        former, self._former = self._former, None
        self._timers.cancel("renewal")
        if former is not None:
            self._keeper.exchanged(former)

    def _fail(self, error: LookoutError) -> None:
        self._trouble = f"it does not run as configured (inference): {error.message}"
        log.error("model.not_renewed", pipeline=self._course.name, reason=error.message)
