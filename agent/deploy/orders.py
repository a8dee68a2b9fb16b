"""The orders to one pipeline: deploy, cancel, roll back. From the operator, the configuration, or its own upkeep.

An order is refused or durable when its method returns. A deploy supersedes one that has not reached probation and is
refused as busy after that; a rollback undoes the latest change, whatever stage it is at. Whoever orders, it is the same
order: what the configuration and the upkeep do by themselves an operator could do. Control thread only.
"""

from __future__ import annotations

from typing import Any

import structlog

from agent.deploy import room
from agent.deploy.approach import Approach
from agent.deploy.configured import Configured
from agent.deploy.course import Course
from agent.deploy.judging import Judging
from agent.deploy.keeper import Keeper
from agent.deploy.machine import BEFORE_PROBATION, TERMINAL, Signal, State
from agent.deploy.parts import Parts
from agent.deploy.records import Accepted, DeployOptions, OnDone, SlotRelease
from agent.deploy.timers import Timers
from agent.deploy.upkeep import Upkeep
from agent.deploy.wish import Wish
from agent.deploy.withdrawal import REASON, Withdrawal
from agent.errors import DeploymentRefused, LookoutError, MemoryShort, SurroundingsError
from agent.process.messages import Surveyed
from agent.registry.reference import parse_reference

log = structlog.get_logger(part="deploy")


class Orders:
    """The orders of one pipeline."""

    def __init__(
        self,
        configured: Configured,
        parts: Parts,
        timers: Timers,
        course: Course,
        keeper: Keeper,
        approach: Approach,
        judging: Judging,
    ) -> None:
        self._parts = parts
        self._course = course
        self._keeper = keeper
        self._approach = approach
        self._judging = judging
        self.upkeep = Upkeep(course, parts, timers, self)
        self._withdrawal = Withdrawal(course, keeper, self)
        self._configured = configured
        self._wish = Wish(configured.now.model, timers, self._deploy_wish)
        self._wished = False

    # --- deploy and cancel -------------------------------------------------------------------------------------------

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
        self._refuse_busy()
        later = self._approach.is_ahead(options.not_before_ms, options.spread_ms)
        changes: dict[str, Any] = {
            "reference": reference,
            "force": force,
            "not_before_ms": options.not_before_ms if later else None,
            "spread_ms": options.spread_ms,
            "shadow_frames": options.shadow_frames,
            "min_agreement": options.min_agreement,
        }
        if config_model is not None:
            changes["config_model"] = config_model
        if stored is not None:
            changes |= {"stored": True, "candidate": stored}
        supersedes = self._course.begin(Signal.LATER if later else Signal.DEPLOY, on_done, **changes)
        self._approach.renew()
        self._wished = config_model is not None
        self._wish.overruled()
        self.upkeep.begun(reference)
        self._course.tell()
        self._approach.set_out()
        return Accepted(self._course.name, reference, supersedes)

    def _refuse_busy(self) -> None:
        """Raise DeploymentRefused while a deployment would get in the way of what is under way."""
        name, row = self._course.name, self._course.row
        if row.state is State.PROBATION:
            raise DeploymentRefused(
                f"busy: {row.reference} is on probation in pipeline {name!r}; wait for its end or roll back"
            )
        if self._withdrawal.on:
            raise DeploymentRefused(f"busy: pipeline {name!r} is rolling back; try again in a moment")

    def cancel(self, reason: str = "cancelled by the operator") -> Accepted:
        """Cancel a deployment that has not reached probation. Raises DeploymentRefused."""
        if self._course.state not in BEFORE_PROBATION:
            raise DeploymentRefused(
                f"pipeline {self._course.name!r} is {self._course.state.value}: there is nothing to cancel"
            )
        self._approach.cancel(reason)
        return self._course.accepted()

    # --- roll back ---------------------------------------------------------------------------------------------------

    def roll_back(self, on_done: OnDone | None) -> Accepted:
        """Undo the latest change: cancel it, take it back in probation, or bring the previous release back.

        Raises DeploymentRefused.
        """
        accepted, row = self._course.accepted(), self._course.row
        if row.state in BEFORE_PROBATION:
            self.cancel(REASON)
            self._course.answer(on_done, ok=True)
            return accepted
        if row.state is State.PROBATION:
            self._judging.take_back(Signal.WITHDRAW, REASON)
            self._course.answer(on_done, ok=True)
            return accepted
        if self._withdrawal.on:
            raise DeploymentRefused(f"busy: pipeline {row.pipeline!r} is rolling back already")
        if row.previous is None:
            raise DeploymentRefused(f"pipeline {row.pipeline!r} has no previous release to roll back to")
        self.upkeep.refuse_low(row.previous)
        self._withdrawal.begin(row.previous, on_done)
        return accepted

    def step_back(self, reason: str) -> None:
        """Bring the previous release back because ``reason``. Raises DeploymentRefused."""
        row = self._course.row
        if row.state not in TERMINAL or self._withdrawal.on or row.previous is None:
            raise DeploymentRefused(f"pipeline {row.pipeline!r} cannot roll back now ({row.state.value})")
        self._withdrawal.begin(row.previous, None, reason)

    def lacks_memory_for(self, slot: SlotRelease) -> str | None:
        """Return why a release cannot be loaded beside the one that serves; None: it can, or it is not known."""
        try:
            stored = self._parts.store.release(slot.digest)
            return None if stored is None else room.shortage(self._parts, stored, slot, self._keeper.now)
        except MemoryShort as error:
            return error.message
        except LookoutError:  # loading it will tell
            return None

    # --- what nobody ordered just now --------------------------------------------------------------------------------

    def consider_config(self, *, at_boot: bool) -> None:
        """Deploy the configuration's model if it is due."""
        self._wish.consider(self._course.row, at_boot=at_boot)

    def config_changed(self) -> None:
        """Take up what the configuration says now: its model is deployed where it was edited."""
        self._wish.renew(self._configured.now.model)
        self.consider_config(at_boot=False)

    def _deploy_wish(self, model: str) -> None:
        try:
            self.deploy(str(parse_reference(model)), config_model=model)
        except LookoutError as error:
            self._course.say(f"pipelines.{self._course.name}.model: {error.message}")
            log.error("deploy.config_refused", pipeline=self._course.name, reference=model, reason=error.message)  # noqa: TRY400

    def surveyed(self, found: Surveyed) -> None:
        """Act upon what the registry answered."""
        if not self._withdrawal.on and not self._keeper.safe:
            self.upkeep.surveyed(found)

    def ended(self, ok: bool, error: LookoutError | None) -> None:
        """Let the next deployment begin; one that only the surroundings stood in the way of is tried again later."""
        row = self._course.row
        if isinstance(error, SurroundingsError):
            wished = row.config_model if self._wished else None
            self._wish.failed(wished, self._parts.now_ns(), self._parts.random())
            self.upkeep.failed(row.reference)
        if ok:
            self._wish.fulfilled()
            self.upkeep.fulfilled()
        self._parts.turn.give_up(self._course.name)
        self.consider_config(at_boot=False)
