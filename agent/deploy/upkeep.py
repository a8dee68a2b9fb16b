"""What a pipeline does by itself about its registry: follow a channel, heed a yank, mend a damaged copy.

Each of it ends in an ordinary order, so nothing here can do what an operator could not. Control thread
only.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from agent.deploy.course import Course
from agent.deploy.following import Do, named, named_version, notice
from agent.deploy.machine import TERMINAL, State
from agent.deploy.parts import Parts
from agent.deploy.records import Accepted, SlotRelease
from agent.deploy.repair import Repair
from agent.deploy.timers import Timers
from agent.errors import DeploymentRefused, InputError, LookoutError, StorageError
from agent.process.messages import Surveyed
from agent.registry.floor import check_floor

log = structlog.get_logger(part="deploy")


class Owner(Protocol):
    """Who takes the orders, as far as upkeep needs it."""

    def deploy(self, reference: str) -> Accepted:
        """Begin a deployment. Raises LookoutError."""
        ...

    def step_back(self, reason: str) -> None:
        """Bring previous back. Raises DeploymentRefused."""
        ...


class Upkeep:
    """The upkeep of one pipeline."""

    def __init__(self, course: Course, parts: Parts, timers: Timers, owner: Owner) -> None:
        self._name = course.name
        self._course = course
        self._parts = parts
        self._owner = owner
        self._repair = Repair(timers, self._deploy)
        self._yanked: tuple[str, str] | None = None
        self._surveyed: tuple[str, str] | None = None

    @property
    def yanked(self) -> str | None:
        """Why the publisher withdrew the release that is current; None where nobody said so."""
        current = self._course.row.current
        if self._yanked is None or current is None or self._yanked[0] != named(current):
            return None
        return self._yanked[1]

    @property
    def latest(self) -> str | None:
        """The version that the pipeline's reference meant when the registry was last asked; None: not known."""
        row = self._course.row
        if row.candidate is not None and not row.stored:
            return row.candidate.version
        if self._surveyed is not None and self._surveyed[0] == row.reference:
            return self._surveyed[1]
        if row.current is not None and row.state is State.COMMITTED:
            return row.current.version
        return named_version(row.reference)

    # --- what a deployment tells ------------------------------------------------------------------------------------

    def refuse_low(self, slot: SlotRelease) -> None:
        """Raise DeploymentRefused where the operator would go back below the device's floor."""
        try:
            check_floor(slot.model, slot.version, self._parts.settings.min_versions)
        except InputError as error:
            raise DeploymentRefused(error.message, field=error.field) from error

    def begun(self, reference: str) -> None:
        """Forget a repair that another deployment takes the place of, and what the registry said before it."""
        self._surveyed = None
        self._repair.begun(reference)

    def failed(self, reference: str | None) -> None:
        """Try a repair again later: the surroundings stood in its way."""
        self._repair.failed(reference, self._parts.now_ns(), self._parts.random())

    def fulfilled(self) -> None:
        """Forget a repair that succeeded."""
        self._repair.over()

    def mend(self, slot: SlotRelease) -> None:
        """Fetch a release again whose copy on disk is damaged, unless a deployment is under way."""
        if self._course.row.state in TERMINAL:
            log.warning("release.fetched_again", pipeline=self._name, release=str(slot))
            self._repair.begin(slot, self._course.row)

    # --- what the registry tells --------------------------------------------------------------------------------------

    def surveyed(self, found: Surveyed) -> None:
        """Act upon what the registry answered, where the pipeline is at rest."""
        row = self._course.row
        if row.state not in TERMINAL:
            return
        try:
            said = notice(
                row,
                found,
                last_taken=self._parts.journal.followed(self._name),
                quarantined=self._parts.journal.quarantined(),
                floors=self._parts.settings.min_versions,
                on_yank=self._parts.settings.on_yank,
            )
        except StorageError as error:
            log.warning("journal.not_read", pipeline=self._name, problem=error.message)
            return
        self._note_yank(said.yanked)
        self._note_latest(found)
        if said.do is Do.DEPLOY and row.reference is not None:
            self._deploy(row.reference)
        elif said.do is Do.ROLL_BACK:
            try:
                self._owner.step_back(f"{row.current} was yanked by its publisher: {said.yanked}")
            except LookoutError as error:
                log.warning("deploy.not_rolled_back", pipeline=self._name, reason=error.message)

    def _note_yank(self, reason: str | None) -> None:
        current = self._course.row.current
        before = self.yanked
        self._yanked = (named(current), reason) if current is not None and reason is not None else None
        if self.yanked is not None and self.yanked != before:
            log.warning("release.yanked", pipeline=self._name, release=str(current), reason=reason)

    def _note_latest(self, found: Surveyed) -> None:
        resolved = found.resolved.get(self._course.row.reference or "")
        if resolved is not None and resolved.problem is None:
            self._surveyed = (self._course.row.reference or "", resolved.version)

    def _deploy(self, reference: str) -> None:
        try:
            self._owner.deploy(reference)
        except LookoutError as error:
            log.warning("deploy.not_begun", pipeline=self._name, reference=reference, reason=error.message)
