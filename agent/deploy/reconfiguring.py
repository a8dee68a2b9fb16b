"""Takes another configuration up: other settings, pipelines that come, change and go. Control thread only.

A pipeline that goes leaves its row in the journal as it is, whatever was under way: when it comes back, now or at a
later start, it goes on there, as after a clean stop of the agent. Its workers are handed back by the pipeline itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from agent.deploy import bootguard
from agent.deploy.driver import Driver
from agent.deploy.parts import Parts
from agent.deploy.polling import Polling
from agent.deploy.ports import PipelinePort
from agent.deploy.records import DeploySettings, PipelineSettings
from agent.deploy.row import Row
from agent.deploy.starting import Starting
from agent.types import PipelineName

CLEAN = bootguard.Boot(same_boot=True, clean_stop=True, counter=0)
"""What a pipeline that comes finds: nothing crashed."""

log = structlog.get_logger(part="deploy")


class Reconfiguring:
    """See the module. ``drivers`` and ``absent`` (rows of pipelines that are not configured) are the deployer's."""

    def __init__(
        self,
        parts: Parts,
        drivers: dict[PipelineName, Driver],
        absent: dict[PipelineName, Row],
        starting: Starting,
        polling: Polling,
    ) -> None:
        self._parts = parts
        self._drivers = drivers
        self._absent = absent
        self._starting = starting
        self._polling = polling

    def take_up(
        self,
        settings: DeploySettings,
        wanted: Sequence[PipelineSettings],
        pipelines: Mapping[PipelineName, PipelinePort],
    ) -> None:
        """Be as the configuration says from now on; ``pipelines`` has each one that ``wanted`` names."""
        if settings != self._parts.settings:
            self._parts.renew(settings)
            self._polling.reconfigure(settings.poll_s)
        for name in [name for name in self._drivers if name not in {one.name for one in wanted}]:
            self._remove(name)
        for one in wanted:
            driver = self._drivers.get(one.name)
            if driver is None:
                self._add(one, pipelines[one.name])
            else:
                driver.reconfigure(one)

    def _remove(self, name: PipelineName) -> None:
        driver = self._drivers.pop(name)
        driver.leave()
        self._absent[name] = driver.row
        log.info("deploy.pipeline_removed", pipeline=name, state=driver.row.state.value)

    def _add(self, settings: PipelineSettings, pipeline: PipelinePort) -> None:
        row = self._absent.pop(settings.name, None) or Row(settings.name)
        driver = self._drivers[settings.name] = Driver(settings, pipeline, self._parts, row)
        log.info("deploy.pipeline_added", pipeline=settings.name, state=row.state.value)
        self._starting.boot_one(driver, CLEAN, safe=False)
        driver.orders.consider_config(at_boot=True)
