"""The table of what is told to which part of the agent when the configuration changes, in order.

:mod:`agent.steer.apply` says what the order is good for. The records come from ``agent.settings``, handed in as
functions, because the settings know every part and this layer does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.layers import Loaded
from agent.config.schema import Logs, Mqtt, Report
from agent.link.durable import OutboxLimits
from agent.loop.governor import GovernorSettings
from agent.loop.plan import CameraPlan
from agent.loop.setups import PipelineSetup
from agent.process.messages import OverlayZone, RegistryAccess
from agent.steer.apply import Row
from agent.steer.frames import DeployWish, Frames, Opening
from agent.steer.homeassistant import HomeAssistantSettings
from agent.types import CameraName, PipelineName

Openings = Mapping[CameraName, Opening]
Setups = Mapping[PipelineName, PipelineSetup]
Plans = Mapping[PipelineName, Mapping[CameraName, CameraPlan]]
Told = tuple[tuple[CameraName, ...], tuple[PipelineName, ...]]
Drawn = tuple[Mapping[CameraName, PipelineName], Mapping[CameraName, tuple[OverlayZone, ...]]]


@dataclass(frozen=True)
class Records:
    """What each part needs of a configuration."""

    access: Callable[[Loaded], RegistryAccess]
    openings: Callable[[Loaded], Openings]
    setups: Callable[[Loaded], Setups]
    deploy: Callable[[Loaded], DeployWish]
    rates: Callable[[Loaded], tuple[Plans, GovernorSettings | None]]
    drawn: Callable[[Loaded], Drawn]
    outbox: Callable[[Loaded], OutboxLimits]
    home_assistant: Callable[[Loaded], HomeAssistantSettings]
    broker: Callable[[Loaded], Mqtt]


@dataclass(frozen=True)
class Parts:
    """How each part takes a new record. ``expect`` is told which cameras and pipelines may be told of."""

    frames: Frames
    logs: Callable[[Logs], object]
    trust_clock: Callable[[bool], object]
    access: Callable[[RegistryAccess], object]
    rates: Callable[[Plans, GovernorSettings | None], object]
    drawn: Callable[[Drawn], object]
    report: Callable[[Report], object]
    telemetry_s: Callable[[float], object]
    expect: Callable[[Told], object]
    groups: Callable[[tuple[str, ...]], object]
    outbox: Callable[[OutboxLimits], object]
    home_assistant: Callable[[HomeAssistantSettings], object]
    broker: Callable[[Mqtt], object]


def rows(parts: Parts, records: Records, booted: Loaded) -> tuple[Row[Any], ...]:
    """Return the table; ``booted`` is the configuration by which the parts were built."""
    frames, known = parts.frames, _Known(parts.expect, names(booted))
    return (
        Row("logs", lambda it: it.config.logs, parts.logs),
        Row("clock", lambda it: it.config.registry.trust_clock, parts.trust_clock),
        Row("registry", records.access, parts.access),
        Row("names", names, known.more),
        Row("cameras.closed", records.openings, frames.close_cameras),
        Row("pipelines", records.setups, frames.take_up),
        Row("deployments", records.deploy, frames.deploy),
        Row("pipelines.ended", lambda it: tuple(it.config.pipelines), frames.end_pipelines),
        Row("cameras.opened", records.openings, frames.open_cameras),
        Row("names.gone", names, known.fewer),
        Row("rates", records.rates, lambda record: parts.rates(*record)),
        Row("snapshots", records.drawn, parts.drawn),
        Row("reports", lambda it: it.config.report, parts.report),
        Row("telemetry", lambda it: it.config.report.telemetry_s, parts.telemetry_s),
        Row("groups", lambda it: it.config.device.groups, parts.groups),
        Row("outbox", records.outbox, parts.outbox),
        Row("home_assistant", records.home_assistant, parts.home_assistant),
        Row("broker", records.broker, parts.broker),
    )


def names(loaded: Loaded) -> Told:
    """Return the names of the cameras and of the pipelines."""
    return tuple(map(CameraName, loaded.config.cameras)), tuple(map(PipelineName, loaded.config.pipelines))


class _Known:
    """Who may be told of: those that come before they begin, those that go until nothing of them is under way."""

    def __init__(self, expect: Callable[[Told], object], told: Told) -> None:
        self._expect = expect
        self._last = told

    def more(self, told: Told) -> None:
        """Add names; those that were known before stay, for now."""
        (cameras, pipelines), (old_cameras, old_pipelines) = told, self._last
        both = dict.fromkeys((*old_cameras, *cameras)), dict.fromkeys((*old_pipelines, *pipelines))
        self._last = tuple(both[0]), tuple(both[1])
        self._expect(self._last)

    def fewer(self, told: Told) -> None:
        """Have these only."""
        self._last = told
        self._expect(told)
