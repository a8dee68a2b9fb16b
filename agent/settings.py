"""What each part needs of the configuration, in the part's own terms. Pure.

The schema is the operator's view; parts take small frozen records of their own and never see the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from agent.config.layers import Loaded
from agent.config.schema import (
    CREDENTIAL,
    Camera,
    Config,
    DeviceSource,
    FileSource,
    GstreamerSource,
    ImagesSource,
    Inference,
    Mqtt,
    PatternSource,
    PicameraSource,
    Shape,
    Tls,
    UrlSource,
    Zone,
    inference_threads,
)
from agent.deploy.loading import CPU
from agent.deploy.records import DeploySettings, PipelineSettings
from agent.infer.tuning import options_to_try
from agent.link.discovery import Facts, HostRow, Watched
from agent.link.durable import OutboxLimits
from agent.loop.governor import GovernorSettings
from agent.loop.plan import CameraPlan, Quiet
from agent.loop.seeing import SeeingSettings
from agent.loop.setups import CameraSetup, PipelineSetup
from agent.process.messages import MotionSpec, OverlayZone, RegistryAccess, SourceSpec, View
from agent.steer.homeassistant import HomeAssistantSettings
from agent.telemetry.probes import Probe
from agent.telemetry.rows import Column, LoopRow, columns
from agent.types import MB, CameraName, PipelineName, RunOptions
from agent.vision.filters import Limits
from agent.vision.gate import GateSettings
from agent.vision.places import ZoneSpec
from agent.vision.track import TrackSettings

ASSUMED_FPS = 30.0
"""What a camera gives of which nobody says it."""


def source_of(loaded: Loaded, camera: CameraName) -> SourceSpec:
    """Return where a camera's frames come from; relative paths start from the folder of the configuration file."""
    section = loaded.config.cameras[camera]
    return msgspec.structs.replace(_spec(loaded, section), view=view_of(section), motion=motion_of(section))


def view_of(camera: Camera) -> View:
    """Return how a camera's picture is turned, cut and masked."""
    return View(camera.rotate, camera.crop, camera.masks, camera.mask_inference)


def motion_of(camera: Camera) -> MotionSpec | None:
    """Return how motion is measured; None where nothing is gated by it."""
    motion = camera.motion
    return MotionSpec(motion.contrast, motion.include, motion.exclude) if is_gated(camera) else None


def is_gated(camera: Camera) -> bool:
    """Return whether the motion gate leaves frames of this camera out; of a lossless one only where that was asked."""
    return camera.motion.enabled and (camera.motion.lossless or getattr(camera.source, "pace", "") != "lossless")


def camera_plans(config: Config, cameras: Iterable[CameraName]) -> dict[CameraName, CameraPlan]:
    """Return how these cameras take part in their pipeline."""
    return {name: _plan(config.cameras[name]) for name in cameras}


def _plan(camera: Camera) -> CameraPlan:
    motion = camera.motion
    gate = GateSettings(motion.min_area, motion.hold_s, motion.every_s, motion.recheck_s)
    quiet = tuple(Quiet(_minute(hours.from_), _minute(hours.to), hours.max_fps) for hours in camera.quiet)
    return CameraPlan(camera.weight, camera.max_fps, quiet, gate if is_gated(camera) else None)


def _minute(clock: str) -> int:
    """Return the minute of the day that ``HH:MM`` is."""
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


def governor_settings(config: Config) -> GovernorSettings | None:
    """Return when the device works less; None: never."""
    section = config.governor
    if not section.enabled:
        return None
    return GovernorSettings(
        temperature_c=section.temperature_c,
        cool_c=section.cool_c,
        throttling=section.throttling,
        load=section.load,
        steps_fps=section.steps_fps,
        settle_s=section.settle_s,
        recover_s=section.recover_s,
    )


def outbox_limits(config: Config) -> OutboxLimits:
    """Return what may wait on the disk; without a broker nothing does."""
    section = config.outbox
    return OutboxLimits(
        max_bytes=round(section.max_mb * MB),
        max_age_s=section.max_age_h * 3600,
        flush_ms=section.flush_ms,
        drain_per_s=section.drain_per_s,
        writes=config.mqtt.host is not None,
    )


def overlay_zones(config: Config) -> dict[CameraName, tuple[OverlayZone, ...]]:
    """Return the zones and lines that are drawn into each camera's pictures."""
    found: dict[CameraName, tuple[OverlayZone, ...]] = {}
    for name, zone in config.zones.items():
        camera = CameraName(zone.camera)
        found[camera] = (*found.get(camera, ()), OverlayZone(zone.polygon or zone.line or (), name))
    return found


def _spec(loaded: Loaded, camera: Camera) -> SourceSpec:
    source = camera.source
    match source:
        case FileSource():
            return SourceSpec(
                "file", str(loaded.path_of(source.path)), pace=source.pace, loop=source.loop, fps=source.fps
            )
        case ImagesSource():
            return SourceSpec(
                "images", str(loaded.path_of(source.path)), pace=source.pace, loop=source.loop, fps=source.fps
            )
        case UrlSource():
            return SourceSpec(
                "url",
                source.url,
                open_timeout_ms=source.open_timeout_ms,
                read_timeout_ms=source.read_timeout_ms,
                transport=source.transport,
            )
        case GstreamerSource():
            return SourceSpec(
                "gstreamer",
                source.pipeline,
                open_timeout_ms=source.open_timeout_ms,
                read_timeout_ms=source.read_timeout_ms,
            )
        case PicameraSource():
            return SourceSpec(
                "picamera2",
                str(source.number),
                fps=source.fps,
                width=source.width,
                height=source.height,
                read_timeout_ms=source.read_timeout_ms,
            )
        case PatternSource():
            return SourceSpec(
                "pattern",
                "pattern",
                pace=source.pace,
                fps=source.fps,
                width=source.width,
                height=source.height,
                seed=source.seed,
            )
        case DeviceSource():
            return SourceSpec(
                "device",
                source.device,
                fps=source.fps,
                width=source.width,
                height=source.height,
                fourcc=source.fourcc,
            )


def lossless_cameras(config: Config) -> frozenset[CameraName]:
    """Return the cameras whose every frame counts."""
    return frozenset(
        CameraName(name) for name, camera in config.cameras.items() if getattr(camera.source, "pace", "") == "lossless"
    )


def deploy_settings(config: Config, cores: int) -> DeploySettings:
    """Return what deployment needs to know; the CPU always comes last among the providers."""
    deploy, inference = config.deploy, config.inference
    wanted = tuple(name for name in inference.providers if name != CPU)
    return DeploySettings(
        providers=(*wanted, CPU),
        threads=inference_threads(inference, cores),
        spin=bool(inference.spin),
        concurrency=inference.concurrency or 1,
        options=run_options(inference, cores),
        device_class=config.device.klass,
        load_timeout_s=deploy.load_timeout_s,
        golden_timeout_s=deploy.golden_timeout_s,
        variant=deploy.variant,
        trial_timeout_s=deploy.trial_timeout_s,
        trial_memory_mb=deploy.trial_memory_mb,
        keep_previous_warm=deploy.keep_previous_warm,
        probation_frames=deploy.probation.frames,
        probation_s=deploy.probation.seconds,
        memory_mb=deploy.probation.memory_mb,
        slow_ratio=deploy.probation.slow_ratio,
        slow_extra_ms=deploy.probation.slow_extra_ms,
        rate_baseline_frames=deploy.probation.rate_baseline_frames,
        rate_collapse=deploy.probation.rate_collapse,
        rate_explosion=deploy.probation.rate_explosion,
        shadow_frames=deploy.shadow_frames,
        min_agreement=deploy.min_agreement,
        shadow_max_slowdown=deploy.shadow_max_slowdown,
        shadow_timeout_s=deploy.shadow_timeout_s,
        memory_floor_mb=deploy.memory_floor_mb,
        safe_mode_s=deploy.safe_mode_s,
        poll_s=config.registry.poll_s if config.registry.url else 0.0,
        on_yank=deploy.on_yank,
        min_versions=dict(config.registry.min_version),
        safe_mode_after=deploy.safe_mode_after,
    )


def run_options(inference: Inference, cores: int) -> tuple[RunOptions, ...]:
    """Return the options of ONNX Runtime among which tuning is to choose; none where it is not wanted."""
    if not inference.tune:
        return ()
    threads, concurrency = inference.threads or None, inference.concurrency or None
    return options_to_try(cores, threads=threads, spin=inference.spin, concurrency=concurrency)


def pipeline_settings(loaded: Loaded) -> tuple[PipelineSettings, ...]:
    """Return what deployment needs to know of each pipeline; relative paths start from the configuration's folder."""
    return tuple(
        PipelineSettings(
            PipelineName(name),
            model=pipeline.model,
            score=pipeline.score,
            labels=pipeline.labels,
            factory=None if pipeline.factory is None else str(loaded.path_of(pipeline.factory)),
            fps=wanted_fps(loaded.config, pipeline.cameras),
        )
        for name, pipeline in loaded.config.pipelines.items()
    )


def wanted_fps(config: Config, cameras: Iterable[str]) -> float | None:
    """Return the frames a second that these cameras give together at most; None: as many as can be answered."""
    total = 0.0
    for name in cameras:
        camera = config.cameras[name]
        if getattr(camera.source, "pace", "") == "lossless":
            return None
        given = getattr(camera.source, "fps", None) or ASSUMED_FPS
        total += given if camera.max_fps is None else min(given, camera.max_fps)
    return total


def seeing_settings(config: Config, pipeline: str) -> SeeingSettings:
    """Return what becomes of one pipeline's answers: tracks, thresholds, zones, events."""
    section = config.pipelines[pipeline]
    tracking = section.tracking
    zones: dict[CameraName, tuple[ZoneSpec, ...]] = {}
    for name, zone in config.zones.items():
        if zone.camera in section.cameras:
            camera = CameraName(zone.camera)
            zones[camera] = (*zones.get(camera, ()), zone_spec(name, zone))
    return SeeingSettings(
        tracking=TrackSettings(
            enabled=tracking.enabled,
            match_iou=tracking.match_iou,
            min_hits=tracking.min_hits,
            max_age_s=tracking.max_age_s,
            stationary_s=tracking.stationary_s,
        ),
        high_score=tracking.high_score,
        remap=dict(section.remap),
        scores=dict(section.scores),
        shapes={label: _limits(shape) for label, shape in section.shapes.items()},
        zones=zones,
        update_s=config.report.event_update_s,
        kinds=frozenset(config.report.events),
    )


def pipeline_setup(config: Config, pipeline: str) -> PipelineSetup:
    """Return all that a pipeline is told."""
    section = config.pipelines[pipeline]
    lossless = lossless_cameras(config)
    plans = camera_plans(config, map(CameraName, section.cameras))
    cameras = {name: CameraSetup(plan, name in lossless) for name, plan in plans.items()}
    return PipelineSetup(cameras, section.in_flight, seeing_settings(config, pipeline))


def zone_spec(name: str, zone: Zone) -> ZoneSpec:
    """Return a zone, a line or a mask of objects."""
    return ZoneSpec(
        name=name,
        points=zone.polygon or zone.line or (),
        mask=zone.ignore,
        labels=None if zone.labels is None else frozenset(zone.labels),
        limits={label: _limits(limits, limits.score) for label, limits in zone.limits.items()},
        inertia=zone.inertia,
        loiter_s=zone.loiter_s,
    )


def _limits(shape: Shape, score: float = 0.0) -> Limits:
    return Limits(score, shape.min_area, shape.max_area, shape.min_ratio, shape.max_ratio)


def home_assistant_settings(config: Config, device: Facts) -> HomeAssistantSettings:
    """Return as what the device is announced; ``device`` says of it what is not in the configuration."""
    section = config.home_assistant
    cameras = tuple(
        _watched(config, camera, zones=pipeline.tracking.enabled)
        for pipeline in config.pipelines.values()
        for camera in pipeline.cameras
    )
    facts = msgspec.structs.replace(device, cameras=cameras, pipelines=tuple(config.pipelines))
    return HomeAssistantSettings(section.prefix, facts if section.enabled else None)


def _watched(config: Config, camera: str, *, zones: bool) -> Watched:
    mine = {name: zone for name, zone in config.zones.items() if zone.camera == camera and not zone.ignore and zones}
    return Watched(
        camera,
        zones=tuple(name for name, zone in mine.items() if zone.polygon),
        lines=tuple(name for name, zone in mine.items() if zone.line),
    )


def host_rows(probes: Iterable[Probe]) -> tuple[HostRow, ...]:
    """Return telemetry's rows as Home Assistant is told of them."""
    return tuple(_ha_row(probe.column) for probe in probes)


def pipeline_rows() -> tuple[HostRow, ...]:
    """Return the rows of a pipeline that Home Assistant is told of: those that are shown."""
    return tuple(_ha_row(column) for column in columns(LoopRow) if column.shown)


def _ha_row(column: Column) -> HostRow:
    name = column.name or column.key
    counts = column.kind == "counter"
    return HostRow(column.key, name, column.unit, column.device_class, shown=column.shown, counts=counts)


def log_file(loaded: Loaded) -> Path | None:
    """Return the file to log to besides, None where none is configured."""
    name = loaded.config.logs.file
    return None if name is None else loaded.path_of(name)


def broker(loaded: Loaded) -> Mqtt:
    """Return how the broker is reached; relative paths start from the configuration's folder, credentials stay."""
    mqtt = loaded.config.mqtt

    def resolved(section: Mqtt | Tls, *names: str) -> dict[str, str]:
        named = {name: getattr(section, name) for name in names}
        return {
            name: text if text.startswith(CREDENTIAL) else str(loaded.path_of(text))
            for name, text in named.items()
            if text is not None
        }

    tls = mqtt.tls
    if tls is not None:
        tls = tls.model_copy(update=resolved(tls, "ca_file", "cert_file", "key_file"))
    return mqtt.model_copy(update={"tls": tls, **resolved(mqtt, "username_file", "password_file")})


def registry_access(loaded: Loaded, state: Path) -> RegistryAccess:
    """Return how the fetch process reaches the registry, and where it puts what it brings."""
    registry = loaded.config.registry

    def path(text: str | None) -> str | None:
        return None if text is None else str(loaded.path_of(text))

    return RegistryAccess(
        url=registry.url or "",
        metadata_dir=str(state / "registry"),
        store_dir=str(state / "store"),
        total_timeout_s=registry.total_timeout_s,
        min_rate_bytes_s=registry.min_rate_bytes_s,
        max_file_bytes=registry.max_file_mb * MB,
        free_floor_bytes=registry.free_floor_mb * MB,
        min_versions=dict(registry.min_version),
        token_file=path(registry.token_file),
        ca_file=path(registry.ca_file),
        cert_file=path(registry.cert_file),
        key_file=path(registry.key_file),
        proxy=None if registry.proxy is None else registry.proxy.get_secret_value(),
        rate_limit_bytes_s=registry.max_rate_bytes_s,
    )
