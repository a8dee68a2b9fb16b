"""What happens once, when the agent starts: what the journal holds is decided about, made durable, and done.

A journal that cannot be read or written is no reason not to serve. Where it was lost, what lies in the store is
adopted. After too many crashes the agent is in safe mode: previous serves in the place of current, until the agent ran
well for a while or every pipeline has another release. :meth:`Starting.read` runs on the agent's main thread, the rest
on the control thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from agent.clock import NS_PER_S
from agent.deploy import adopt, bootguard
from agent.deploy.driver import Driver
from agent.deploy.loading import slot_of
from agent.deploy.machine import State
from agent.deploy.parts import Parts
from agent.deploy.records import PipelineSettings
from agent.deploy.row import Row
from agent.deploy.timers import Timers
from agent.errors import LookoutError, StorageError
from agent.types import PipelineName

log = structlog.get_logger(part="deploy")


class Starting:
    """The start, and safe mode until its end. ``on_safe_mode`` is told why it began, and None when it ends."""

    def __init__(
        self,
        parts: Parts,
        drivers: Mapping[PipelineName, Driver],
        timers: Timers,
        on_safe_mode: Callable[[str | None], object],
    ) -> None:
        self.safe_mode: str | None = None
        """Why the previous models serve, in words; None: no safe mode."""
        self._parts = parts
        self._drivers = drivers
        self._timers = timers
        self._on_safe_mode = on_safe_mode
        self._began_safe = False

    def read(self, boot_id: str) -> tuple[dict[PipelineName, Row], bootguard.Boot]:
        """Read the rows and note the start."""
        rows: dict[PipelineName, Row] = {}
        boot = bootguard.Boot(same_boot=False, clean_stop=True, counter=0)
        try:
            rows = self._parts.journal.rows()
            boot = self._parts.journal.begin(boot_id, self._parts.now_ns())
        except StorageError as error:
            log.error("journal.not_used", problem=error.message)  # noqa: TRY400 - the message says it all
        return rows, boot

    def boot(self, settings: Sequence[PipelineSettings], boot: bootguard.Boot) -> None:
        """Let every pipeline serve what it should, and go on with what it was doing."""
        safe = bootguard.safe_mode(boot, self._parts.settings.safe_mode_after)
        if safe is not None:
            self._enter_safe_mode(safe)
        for driver in self._drivers.values():
            self.boot_one(driver, boot, safe=safe is not None)
        self._began_safe = any(driver.safe for driver in self._drivers.values())
        adopted = self._adopt(settings)
        for one in settings:
            if one.name not in adopted and not self._drivers[one.name].safe:
                self._drivers[one.name].orders.consider_config(at_boot=True)

    def look_at_safe_mode(self) -> None:
        """Leave safe mode once every pipeline that began in it has another release committed."""
        if self.safe_mode is not None and self._began_safe and not any(one.safe for one in self._drivers.values()):
            self._leave_safe_mode()

    def boot_one(self, driver: Driver, boot: bootguard.Boot, *, safe: bool) -> None:
        """Let one pipeline serve what it should, and go on with what it was doing."""
        plan = bootguard.plan(driver.row, boot)
        if plan.row != driver.row:
            try:
                self._parts.journal.update(plan.row)
            except StorageError as error:
                log.error("journal.not_written", pipeline=driver.name, problem=error.message)  # noqa: TRY400 - idem
        log.info("boot.plan", pipeline=driver.name, do=plan.do.name.lower(), reason=plan.reason)
        driver.boot(plan, safe=safe)

    def _enter_safe_mode(self, why: str) -> None:
        log.error("boot.safe_mode", reason=why)
        self.safe_mode = why
        due_ns = self._parts.now_ns() + round(self._parts.settings.safe_mode_s * NS_PER_S)
        self._timers.set("safe_mode", due_ns, self._leave_safe_mode)
        self._on_safe_mode(why)

    def _leave_safe_mode(self) -> None:
        """Let the current models serve again: the agent ran well, or another release was committed."""
        log.info("boot.safe_mode_ends")
        self.safe_mode = None
        self._timers.cancel("safe_mode")
        try:
            self._parts.journal.forget_crashes()
        except StorageError as error:
            log.warning("journal.not_written", problem=error.message)
        for driver in self._drivers.values():
            if driver.safe:
                driver.leave_safe_mode()
        self._on_safe_mode(None)

    def _adopt(self, settings: Sequence[PipelineSettings]) -> set[PipelineName]:
        """Deploy from the store where the journal was lost; the configuration is considered when that has ended."""
        adopted: set[PipelineName] = set()
        journal, store = self._parts.journal, self._parts.store
        for one in settings:
            driver = self._drivers[one.name]
            if driver.row.state is not State.IDLE or driver.row.current is not None or not journal.lost(one.name):
                continue
            try:
                found = adopt.pick(store.releases(), one.model, only_pipeline=len(settings) == 1)
                if found is not None:
                    log.warning("deploy.adopted", pipeline=one.name, release=f"{found.id.model}:{found.id.version}")
                    driver.orders.deploy(f"{found.id.model}:{found.id.version}", stored=slot_of(found, 0))
                    adopted.add(one.name)
            except LookoutError as error:
                log.error("deploy.not_adopted", pipeline=one.name, reason=error.message)  # noqa: TRY400 - idem
        return adopted
