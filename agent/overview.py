"""How the whole device stands, put together from the snapshots of its parts. Pure.

One reading of the parts serves whoever asks: ``lookout status``, the ``info`` message, systemd's status line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.deploy.records import DeploymentStatus, FetchProgress
from agent.link.messages import Info, ModelInfo, Trust
from agent.link.standing import SessionStatistics
from agent.loop.records import CameraStatistics, PipelineStatistics
from agent.steer.inforce import InForce
from agent.supervise.status import BrokerStatus, CameraStatus, ConfigStatus, PipelineStatus, Status
from agent.types import CameraName, Digest, PipelineName, RunOptions
from agent.vision.whynot import Facts, WhyNot, why_not

HEALTHY = frozenset({"streaming", "ended"})
STARTING = "opening"
TROUBLE = frozenset({"stale", "frozen", "blurred", "moved"})
"""Conditions of a camera's pictures that somebody has to look after; the dark is not."""


@dataclass(frozen=True)
class Identity:
    """What does not change while the agent runs."""

    device: str
    device_class: str | None
    groups: tuple[str, ...]
    versions: Mapping[str, str]
    pid: int
    host: Mapping[str, str | int | float | None]
    instance: str = ""


@dataclass(frozen=True)
class Reading:
    """One look at every part.

    ``session`` is None where no broker is configured; ``problems`` are the parts' own. ``providers`` is what this
    host's ONNX Runtime offers, ``runs_on`` what each loaded release really uses, by its digest, and ``runs_with`` the
    options of its session.
    """

    pipelines: Mapping[PipelineName, PipelineStatistics]
    deployments: Sequence[DeploymentStatus]
    session: SessionStatistics | None
    queued: int
    uptime_s: float
    memory_mb: Mapping[str, float]
    trust: Trust
    problems: tuple[str, ...] = ()
    boot: int = 0
    providers: tuple[str, ...] = ()
    runs_on: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict)
    runs_with: Mapping[Digest, RunOptions] = field(default_factory=dict)
    config: InForce | None = None


def degraded(reading: Reading) -> tuple[str, ...]:
    """Say in words all that does not work; empty: all is well."""
    found = list(reading.problems)
    for status in reading.deployments:
        if status.degraded:
            found.append(f"pipeline {status.pipeline}: {status.degraded}")
    for statistics in reading.pipelines.values():
        found += [
            f"camera {camera.camera}: {camera.health}{f' ({camera.reason})' if camera.reason else ''}"
            for camera in statistics.cameras.values()
            if camera.health not in HEALTHY
        ]
        found += [
            f"camera {camera.camera}: its picture is {condition}"
            for camera in statistics.cameras.values()
            for condition in camera.conditions
            if condition in TROUBLE
        ]
    if reading.config is not None and reading.config.file:
        found.append(f"configuration: {reading.config.file}")
    if reading.session is not None and reading.session.state != "connected":
        why = reading.session.last_error.message if reading.session.last_error else "not connected yet"
        found.append(f"broker {reading.session.broker}: {why}")
    if reading.session is not None and reading.session.duplicate_device_id:
        found.append("broker: another client uses this device's id; give each device a device.id of its own")
    if reading.session is not None and reading.session.credentials_problem:
        found.append(f"broker: {reading.session.credentials_problem}")
    return tuple(found)


def status(identity: Identity, reading: Reading) -> Status:
    """Return what ``lookout status`` shows."""
    deployments = {one.pipeline: one for one in reading.deployments}
    return Status(
        device=identity.device,
        version=identity.versions.get("lookout-agent", "0"),
        pid=identity.pid,
        uptime_s=round(reading.uptime_s, 1),
        cameras=tuple(
            _camera(pipeline, statistics, camera)
            for pipeline, statistics in reading.pipelines.items()
            for camera in statistics.cameras.values()
        ),
        pipelines=tuple(
            _pipeline(name, statistics, deployments.get(name), reading)
            for name, statistics in reading.pipelines.items()
        ),
        broker=_broker(reading),
        degraded=degraded(reading),
        memory_mb={name: round(mb, 1) for name, mb in reading.memory_mb.items()},
        config=None if reading.config is None else config_status(reading.config),
    )


def config_status(now: InForce) -> ConfigStatus:
    """Return how the configuration stands."""
    return ConfigStatus(
        revision=now.revision,
        state=now.state,
        reason=now.reason,
        until=None if now.pending is None else now.pending.until,
        needs_confirm=now.pending is not None and now.pending.needs_confirm,
        desired=(now.overlay.epoch, now.overlay.version),
        restart_needed=now.restart_needed,
        errors=tuple(f"{error.path}: {error.message}".removeprefix(": ") for error in (*now.errors, *now.models)),
    )


def why_not_of(pipelines: Iterable[PipelineStatistics]) -> dict[CameraName, WhyNot]:
    """Say of each camera why it reports nothing, or that it does."""
    return {name: _why_not(one, camera) for one in pipelines for name, camera in one.cameras.items()}


def _why_not(pipeline: PipelineStatistics, camera: CameraStatistics) -> WhyNot:
    return why_not(
        Facts(
            health=camera.health,
            reason=camera.reason,
            conditions=camera.conditions,
            idle_s=camera.idle_s,
            model=None if pipeline.current is None else pipeline.current.model,
            sights=camera.sights,
        )
    )


def _camera(pipeline: PipelineName, statistics: PipelineStatistics, camera: CameraStatistics) -> CameraStatus:
    seeing = _why_not(statistics, camera)
    return CameraStatus(
        name=camera.camera,
        pipeline=pipeline,
        health=camera.health,
        fps=round(camera.fps, 1),
        captured=camera.captured,
        answered=camera.answered,
        lost=camera.lost,
        skipped=camera.skipped,
        gated=camera.gated,
        reason=camera.reason,
        conditions=camera.conditions,
        changed_fps=None if camera.changed_fps is None else round(camera.changed_fps, 1),
        seeing=seeing.code,
        why_not="" if seeing.code == "reporting" else seeing.message,
    )


def _pipeline(
    name: PipelineName,
    statistics: PipelineStatistics,
    deployment: DeploymentStatus | None,
    reading: Reading,
) -> PipelineStatus:
    serving, current = statistics.serving, statistics.current
    return PipelineStatus(
        name=name,
        model=current.model if current else None,
        version=current.version if current else None,
        digest=current.digest if current else None,
        providers=reading.runs_on.get(current.digest, ()) if current else (),
        options=reading.runs_with.get(current.digest) if current else None,
        latency_ms_p50=round(serving.p50_ms, 2) if serving else None,
        latency_ms_p95=round(serving.p95_ms, 2) if serving else None,
        deployment=deployment.state.value if deployment else "idle",
        reference=deployment.reference if deployment else None,
        reason=(deployment.reason or "") if deployment else "",
        progress=_fetched(deployment.progress) if deployment else None,
    )


def _fetched(progress: FetchProgress | None) -> float | None:
    """Return the part of a release that was fetched, None where its size is not known."""
    return round(progress.done_bytes / progress.total_bytes, 3) if progress and progress.total_bytes else None


def _broker(reading: Reading) -> BrokerStatus:
    session = reading.session
    if session is None:
        return BrokerStatus(address=None, state="off")
    states = {"connected": "connected", "stopped": "off", "connecting": "connecting", "waiting": "failed"}
    return BrokerStatus(
        address=session.broker,
        state=states[session.state],
        protocol=session.protocol,
        queued=reading.queued,
        reason=session.last_error.message if session.last_error else "",
    )


def info(identity: Identity, reading: Reading) -> Info:
    """Return the ``info`` message."""
    models = {
        str(name): None
        if statistics.current is None
        else ModelInfo(
            statistics.current.model,
            statistics.current.version,
            statistics.current.digest,
            reading.runs_with.get(statistics.current.digest),
        )
        for name, statistics in reading.pipelines.items()
    }
    cameras = [str(name) for statistics in reading.pipelines.values() for name in statistics.cameras]
    return Info(
        device=identity.device,
        device_class=identity.device_class,
        groups=identity.groups,
        versions=dict(identity.versions),
        host=dict(identity.host),
        providers=reading.providers,
        cameras=tuple(cameras),
        models=models,
        boot=reading.boot,
        session=reading.session.session if reading.session else 0,
        instance=identity.instance,
        protocol=(reading.session.protocol or "") if reading.session else "",
        trust=reading.trust,
        warnings=degraded(reading),
    )
