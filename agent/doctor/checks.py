"""The table of checks: a name for each, how long it may take, and what it does. Facts are read, then judged.

What a check needs is imported when it runs, on its own thread: only the registry's brings TUF, only the cameras' starts
the capture process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.clock import utc_ms
from agent.doctor.case import Case
from agent.doctor.findings import Finding, skipped
from agent.types import CameraName

if TYPE_CHECKING:
    from agent.doctor.look.glimpses import Glimpses
    from agent.process.child import Spawner

QUICK_S, SLOW_S = 16.0, 20.0


@dataclass(frozen=True)
class Helpers:
    """What starts processes for the checks that need some."""

    spawner: Spawner
    glimpses: Glimpses


Look = Callable[[Case, Helpers], tuple[Finding, ...]]


@dataclass(frozen=True)
class Check:
    """``deadline_s``: after which it is told as such; ``configured``: it says nothing without a configuration."""

    name: str
    look: Look
    deadline_s: float = QUICK_S
    configured: bool = False

    def __call__(self, case: Case, helpers: Helpers) -> tuple[Finding, ...]:
        """Look and judge."""
        if self.configured and case.loaded is None:
            why = "the configuration is not right" if case.problems else "there is no configuration"
            return (skipped(self.name, f"{why}: not looked at"),)
        return self.look(case, helpers)


def table(case: Case) -> tuple[Check, ...]:
    """Return the checks, in the order in which they are told; each camera has its own."""
    cameras = () if case.loaded is None else case.loaded.config.cameras
    watched = [Check(f"camera {name}", _camera(CameraName(name)), SLOW_S) for name in cameras]
    return (
        Check("configuration", _configuration),
        Check("service", _service),
        Check("agent", _agent),
        Check("pipelines", _pipelines),
        *(watched or [Check("cameras", lambda _case, _helpers: (), configured=True)]),
        Check("groups", _groups, configured=True),
        Check("state folder", _storage),
        Check("clock", _clock),
        Check("broker", _broker, SLOW_S, configured=True),
        Check("registry", _registry, SLOW_S, configured=True),
        Check("providers", _providers, SLOW_S),
        Check("versions", _packages),
        Check("memory", _memory),
        Check("memory limits", _limits),
        Check("power supply", _power),
    )


def _configuration(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import configuration

    config = None if case.loaded is None else case.loaded.config
    counts = (0, 0) if config is None else (len(config.cameras), len(config.pipelines))
    running = case.status.config if case.status else None
    return configuration.judge(str(case.file) if case.file else None, case.problems, counts, running, case.notes)


def _service(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import service

    return service.judge_service(
        service.Service(case.unit.manager, case.unit.properties, answers=case.status is not None)
    )


def _agent(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import service
    from agent.doctor.look import people
    from agent.versions import agent_version

    return service.judge_agents(
        service.Agents(str(case.socket), case.status, case.silence, case.forbidden, people.agents(), agent_version())
    )


def _pipelines(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import pipelines

    return pipelines.judge(case.status.pipelines if case.status else ())


def _camera(name: CameraName) -> Look:
    def look(case: Case, helpers: Helpers) -> tuple[Finding, ...]:
        from agent.doctor.judge import cameras as judge
        from agent.doctor.look import cameras

        return (judge.judge(cameras.look(case, name, helpers.glimpses)),)

    return look


def _groups(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import access as judge
    from agent.doctor.look import access

    return judge.judge(case.user, access.nodes(case), access.group_names(case.user.groups))


def _storage(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import storage as judge
    from agent.doctor.look import storage

    return (*judge.judge(storage.look(case)), *judge.judge_wear(storage.look_at_wear(case)))


def _clock(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import clock as judge
    from agent.doctor.look import clock

    return judge.judge(clock.look(case))


def _broker(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import broker as judge
    from agent.doctor.look import broker

    return judge.judge(broker.look(case), utc_ms())


def _registry(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import registry as judge
    from agent.doctor.look import registry

    return judge.judge(registry.look(case), utc_ms(), str(case.file))


def _providers(case: Case, helpers: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import providers as judge
    from agent.doctor.look import providers

    return judge.judge(providers.look(case, helpers.spawner))


def _packages(_: Case, __: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import packages as judge
    from agent.doctor.look import packages

    return judge.judge(packages.look())


def _memory(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import memory as judge
    from agent.doctor.look import board

    return judge.judge(board.look_at_memory(case))


def _limits(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import kernel as judge
    from agent.doctor.look import board

    return judge.judge(board.look_at_groups(case.host))


def _power(case: Case, _: Helpers) -> tuple[Finding, ...]:
    from agent.doctor.judge import power as judge
    from agent.doctor.look import board

    governor = None if case.loaded is None else case.loaded.config.governor
    governed_c = judge.HOT_C if governor is None else governor.temperature_c if governor.enabled else None
    return judge.judge(board.look(case.host, governed_c))
