"""What each part needs of the configuration, in the part's own terms. Pure.

The schema is the operator's view; parts take small frozen records of their own and never see the whole.
"""

from __future__ import annotations

from pathlib import Path

from agent.config.layers import Loaded
from agent.config.schema import Config, DeviceSource, FileSource, ImagesSource, UrlSource, inference_threads
from agent.deploy.loading import CPU
from agent.deploy.records import DeploySettings, PipelineSettings
from agent.process.messages import RegistryAccess, SourceSpec
from agent.types import MB, CameraName, PipelineName


def source_of(loaded: Loaded, camera: CameraName) -> SourceSpec:
    """Return where a camera's frames come from; relative paths start from the folder of the configuration file."""
    source = loaded.config.cameras[camera].source
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
                "url", source.url, open_timeout_ms=source.open_timeout_ms, read_timeout_ms=source.read_timeout_ms
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
        spin=inference.spin,
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


def pipeline_settings(loaded: Loaded) -> tuple[PipelineSettings, ...]:
    """Return what deployment needs to know of each pipeline; relative paths start from the configuration's folder."""
    return tuple(
        PipelineSettings(
            PipelineName(name),
            model=pipeline.model,
            score=pipeline.score,
            labels=pipeline.labels,
            factory=None if pipeline.factory is None else str(loaded.path_of(pipeline.factory)),
        )
        for name, pipeline in loaded.config.pipelines.items()
    )


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
