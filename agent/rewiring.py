"""What each row of a reconfiguration needs of the configuration, as records. Pure.

:mod:`agent.steer.rows` is the table, :mod:`agent.settings` makes the records; here they meet. Keys that hold from the
next start on are left as they were at this one, where a record has some beside others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from agent import settings
from agent.config.layers import Loaded
from agent.config.schema import Mqtt
from agent.link.discovery import Facts
from agent.loop.setups import PipelineSetup
from agent.steer.frames import DeployWish, Opening
from agent.steer.rows import Drawn, Plans, Records
from agent.types import CameraName, PipelineName


def records(booted: Loaded, *, state: Path, cores: int, announced: Facts) -> Records:
    """Return what each row is told of a configuration; ``booted`` is the one of the start."""

    def deploy(loaded: Loaded) -> DeployWish:
        found = settings.deploy_settings(loaded.config, cores)
        held = msgspec.structs.replace(found, device_class=booted.config.device.klass)
        return DeployWish(held, settings.pipeline_settings(loaded))

    def broker(loaded: Loaded) -> Mqtt:
        return settings.broker(loaded).model_copy(update={"prefix": booted.config.mqtt.prefix})

    return Records(
        access=lambda loaded: settings.registry_access(loaded, state),
        openings=openings,
        setups=setups,
        deploy=deploy,
        rates=lambda loaded: (plans(loaded), settings.governor_settings(loaded.config)),
        drawn=drawn,
        outbox=lambda loaded: settings.outbox_limits(loaded.config),
        home_assistant=lambda loaded: settings.home_assistant_settings(loaded.config, announced),
        broker=broker,
    )


def watched(loaded: Loaded) -> dict[CameraName, PipelineName]:
    """Return the pipeline of each camera."""
    return {
        CameraName(camera): PipelineName(name)
        for name, pipeline in loaded.config.pipelines.items()
        for camera in pipeline.cameras
    }


def openings(loaded: Loaded) -> dict[CameraName, Opening]:
    """Return where each camera's frames come from and go to."""
    return {camera: Opening(settings.source_of(loaded, camera), name) for camera, name in watched(loaded).items()}


def setups(loaded: Loaded) -> dict[PipelineName, PipelineSetup]:
    """Return all that each pipeline is told."""
    return {PipelineName(name): settings.pipeline_setup(loaded.config, name) for name in loaded.config.pipelines}


def plans(loaded: Loaded) -> Plans:
    """Return how each pipeline's cameras take part."""
    pipelines: Mapping[PipelineName, PipelineSetup] = setups(loaded)
    return {
        name: {camera: one.plan for camera, one in pipeline.cameras.items()} for name, pipeline in pipelines.items()
    }


def drawn(loaded: Loaded) -> Drawn:
    """Return what pictures are made of: each camera's pipeline, and the zones that are drawn into them."""
    return watched(loaded), settings.overlay_zones(loaded.config)
