"""Puts the device's page together, where it or its metrics are switched on; without them nothing of it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent import overview, rewiring
from agent.config.layers import Loaded
from agent.config.schema import CREDENTIAL
from agent.deploy.journal import Journal
from agent.link.commands import Router
from agent.logs.setup import Logging
from agent.loop.pipeline import Pipeline
from agent.process.messages import OverlayZone
from agent.readings import Readings
from agent.telemetry.reporter import Reporter
from agent.types import CameraName, PipelineName

if TYPE_CHECKING:
    from agent.web.parts import Settings


class Served(Protocol):
    """The page, once it is built."""

    def start(self) -> None:
        """Begin to serve."""
        ...

    def stop(self) -> None:
        """End."""
        ...

    def problem(self) -> str | None:
        """Return in words why it is not served; None: all is well."""
        ...


@dataclass(frozen=True)
class Parts:
    """Who is shown, and asked. ``identity`` and ``loaded`` return what holds now."""

    identity: Callable[[], overview.Identity]
    readings: Readings
    loaded: Callable[[], Loaded]
    pipelines: Mapping[PipelineName, Pipeline]
    reporter: Reporter
    journal: Journal
    router: Router
    logs: Logging
    metrics: Callable[[], bytes] | None = None


class _Cameras:
    """The cameras and zones of the configuration in force."""

    def __init__(self, loaded: Callable[[], Loaded], pipelines: Mapping[PipelineName, Pipeline]) -> None:
        self._loaded, self._pipelines = loaded, pipelines

    def pipelines(self) -> Mapping[CameraName, Pipeline]:
        """Return the pipeline of each camera; one that is being removed is left out."""
        watched, _ = rewiring.drawn(self._loaded())
        there = {camera: self._pipelines.get(name) for camera, name in watched.items()}
        return {camera: pipeline for camera, pipeline in there.items() if pipeline is not None}

    def zones(self) -> Mapping[CameraName, tuple[OverlayZone, ...]]:
        """Return the zones of each camera."""
        return rewiring.drawn(self._loaded())[1]


def build(loaded: Loaded, parts: Parts, credentials: str | None) -> Served | None:
    """Return the page, None where nothing of it is switched on; ``credentials`` is systemd's folder of them."""
    section = loaded.config.web
    if not section.enabled and not section.metrics:
        return None
    from agent.web.parts import Agent
    from agent.web.server import Page

    readings = parts.readings
    agent = Agent(
        version=parts.identity().versions.get("lookout-agent", "0"),
        status=lambda: overview.status(parts.identity(), readings.take()),
        pipelines=readings.pipeline_statistics,
        memory_mb=readings.memory_mb,
        telemetry=lambda: parts.reporter.last,
        loaded=parts.loaded,
        cameras=_Cameras(parts.loaded, parts.pipelines),
        deployments=readings.deployer.status,
        history=parts.journal.history,
        logs=parts.logs,
        commands=parts.router,
        metrics=parts.metrics,
    )
    return Page(settings_of(loaded, credentials), agent)


def settings_of(loaded: Loaded, credentials: str | None) -> Settings:
    """Return the section; relative paths start from the configuration's folder, credentials stay."""
    from agent.web.credentials import Files
    from agent.web.parts import Settings

    section = loaded.config.web

    def path(text: str | None) -> str | None:
        return text if text is None or text.startswith(CREDENTIAL) else str(loaded.path_of(text))

    tls = section.tls
    return Settings(
        page=section.enabled,
        metrics=section.metrics,
        host=section.host,
        port=section.port,
        names=section.names,
        token=None if section.token is None else section.token.get_secret_value(),
        files=Files(
            token=path(section.token_file),
            certificate=None if tls is None else path(tls.certificate),
            key=None if tls is None else path(tls.key),
            folder=None if credentials is None else Path(credentials),
        ),
        may_change=section.allow_changes,
    )
