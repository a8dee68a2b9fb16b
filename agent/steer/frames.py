"""Brings cameras, pipelines and deployments into agreement with the configuration, and loses no frame by it.

The order matters, and :mod:`agent.steer.apply` keeps it: cameras that change are closed (their pipeline has then every
frame of theirs, and what capture was writing is void); pipelines take their new setup up, and a camera that goes is
waited for until its last frame was answered, so that nothing of it is told after what comes next; the deployer is
told; pipelines that go are dismissed, which hands their workers back; cameras are opened, where they had come to. Each
step looks at what is, not at what was told before: it may be taken again, or after another one failed. The steward's
thread only; nothing here waits longer than :data:`DEPART_S` but for the end of a camera's own process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from agent.capture.book import BEGINNING, Reached
from agent.capture.handle import CameraEvents
from agent.clock import NS_PER_S, monotonic_ns
from agent.deploy.ports import PipelinePort
from agent.deploy.records import DeploySettings, PipelineSettings
from agent.loop.eye import Remembered
from agent.loop.pipeline import Pipeline
from agent.loop.setups import PipelineSetup
from agent.process.messages import SourceSpec
from agent.steer.pipelines import Pipelines
from agent.types import CameraName, PipelineName

log = structlog.get_logger(part="config")

DEPART_S = 5.0
"""How long the last frames of cameras that go are waited for: longer than a worker that hangs is given."""

REMEMBERED = 256
"""Cameras that are gone whose tracks' numbers and lines' counts are remembered."""

NO_CAMERAS = PipelineSetup({})


class Opening(msgspec.Struct, frozen=True):
    """Where a camera's frames come from, and which pipeline they go to."""

    source: SourceSpec
    pipeline: PipelineName


class DeployWish(msgspec.Struct, frozen=True):
    """What the deployer is told."""

    settings: DeploySettings
    pipelines: tuple[PipelineSettings, ...]


class CapturePort(Protocol):
    """What is asked of capture, whichever way it is organised."""

    def open(self, camera: CameraName, source: SourceSpec, events: CameraEvents, reached: Reached = ...) -> None:
        """Open a camera and keep it open."""
        ...

    def close_camera(self, camera: CameraName) -> Reached | None:
        """Close a camera and return how far it had come."""
        ...


class DeployerPort(Protocol):
    """What is asked of the deployer."""

    def reconfigure(
        self,
        settings: DeploySettings,
        wanted: Sequence[PipelineSettings],
        pipelines: Mapping[PipelineName, PipelinePort],
    ) -> None:
        """Take another configuration up. Raises DeploymentRefused."""
        ...


def shows_the_same(before: SourceSpec, after: SourceSpec) -> bool:
    """Return whether two sources show the same picture, so that what was seen in the one goes on in the other."""
    return _picture(before) == _picture(after)


def goes_on(before: SourceSpec, after: SourceSpec) -> bool:
    """Return whether a file or folder goes on where it had come to."""
    return (before.kind, before.location, before.seed) == (after.kind, after.location, after.seed)


def _picture(source: SourceSpec) -> tuple[object, ...]:
    view = source.view
    return (source.kind, source.location, source.width, source.height, source.seed, view.rotate, view.crop)


class Frames:
    """See the module.

    ``opened`` and ``told`` are what holds since the start; ``make`` builds a pipeline, ``still`` ends its heartbeat.
    """

    def __init__(
        self,
        *,
        capture: CapturePort,
        pipelines: Pipelines,
        deployer: DeployerPort,
        make: Callable[[PipelineName, PipelineSetup], Pipeline],
        still: Callable[[PipelineName], None],
        opened: Mapping[CameraName, Opening],
        told: Mapping[PipelineName, PipelineSetup],
    ) -> None:
        self._capture = capture
        self._pipelines = pipelines
        self._deployer = deployer
        self._make = make
        self._still = still
        self._opened = dict(opened)
        self._told = dict(told)
        self._reached: dict[CameraName, Reached] = {}
        self._remembered: dict[CameraName, Remembered] = {}

    def close_cameras(self, wanted: Mapping[CameraName, Opening]) -> None:
        """Close the cameras that are not to be open, or not like this."""
        for name, opening in tuple(self._opened.items()):
            after = wanted.get(name)
            if after == opening:
                continue
            reached = self._capture.close_camera(name) or BEGINNING
            del self._opened[name]
            self._reached.pop(name, None)
            if after is not None:
                self._reached[name] = _onward(opening, after, reached)
            pipeline = self._pipelines.get(opening.pipeline)
            if pipeline is not None:
                another = after is None or not shows_the_same(opening.source, after.source)
                pipeline.camera_closed(name, another=another)
            log.info("camera.closed", camera=name, again=after is not None)

    def take_up(self, setups: Mapping[PipelineName, PipelineSetup]) -> None:
        """Tell the pipelines what is to be, see off the cameras that go, and start the pipelines that are new."""
        going: dict[PipelineName, set[CameraName]] = {}
        for name, pipeline in self._pipelines.items():
            told, setup = self._told[name], setups.get(name, NO_CAMERAS)
            gone = set(told.cameras.keys() - setup.cameras.keys())
            if gone:
                going[name] = gone
                self._told[name] = _only(setup, told.cameras.keys())
                pipeline.reconfigure(self._told[name])
        self._see_off(going)
        for name, setup in setups.items():
            if name not in self._pipelines:
                pipeline = self._make(name, self._with_memory(setup))
                pipeline.start()
                self._pipelines.add(name, pipeline)
                log.info("pipeline.added", pipeline=name)
            elif self._told[name] != setup:
                self._pipelines[name].reconfigure(self._with_memory(setup))
            self._told[name] = setup

    def deploy(self, wish: DeployWish) -> None:
        """Tell the deployer. Raises DeploymentRefused where it does not answer."""
        self._deployer.reconfigure(wish.settings, wish.pipelines, self._pipelines)

    def end_pipelines(self, wanted: Collection[PipelineName]) -> None:
        """Dismiss the pipelines that are not to be; the deployer has let go of them."""
        for name in [name for name in self._pipelines if name not in wanted]:
            self._pipelines.remove(name).dismiss()
            self._told.pop(name, None)
            self._still(name)
            log.info("pipeline.removed", pipeline=name)

    def open_cameras(self, wanted: Mapping[CameraName, Opening]) -> None:
        """Open the cameras that are to be open and are not."""
        for name, opening in wanted.items():
            if name not in self._opened:
                reached = self._reached.pop(name, BEGINNING)
                self._capture.open(name, opening.source, self._pipelines[opening.pipeline], reached)
                self._opened[name] = opening
                log.info("camera.opened", camera=name, pipeline=opening.pipeline)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _see_off(self, going: Mapping[PipelineName, Collection[CameraName]]) -> None:
        """Wait for the last frames of the cameras that go, and keep what is to be known of them."""
        deadline_ns = monotonic_ns() + round(DEPART_S * NS_PER_S)
        for name, cameras in going.items():
            left_s = max(0.0, (deadline_ns - monotonic_ns()) / NS_PER_S)
            departed = self._pipelines[name].wait_departed(cameras, left_s)
            if late := set(cameras) - departed.keys():
                log.warning("camera.not_departed", pipeline=name, cameras=sorted(late), after_s=DEPART_S)
            for camera, remembered in departed.items():
                self._remembered.pop(camera, None)
                self._remembered[camera] = remembered
        while len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _with_memory(self, setup: PipelineSetup) -> PipelineSetup:
        known = {
            name: msgspec.structs.replace(camera, remembered=self._remembered[name])
            for name, camera in setup.cameras.items()
            if name in self._remembered
        }
        return msgspec.structs.replace(setup, cameras={**setup.cameras, **known})


def _only(setup: PipelineSetup, cameras: Collection[CameraName]) -> PipelineSetup:
    kept = {name: camera for name, camera in setup.cameras.items() if name in cameras}
    return msgspec.structs.replace(setup, cameras=kept)


def _onward(before: Opening, after: Opening, reached: Reached) -> Reached:
    """Return where a camera goes on that is opened anew: another pipeline counts what it skips from 0."""
    place = reached.place if goes_on(before.source, after.source) else 0
    return Reached(place, reached.sequence, reached.skipped if before.pipeline == after.pipeline else 0)
