"""The configuration, as one tree of frozen pydantic models.

Every key says two things beside its type: ``applies`` (``live``: taken up at once; ``part``: one part is rebuilt;
``agent``: at the next start) and ``remote`` (may an operator change it over MQTT). Validation touches neither the
network nor the disk. Names of cameras, pipelines and groups follow :data:`agent.types.NAME_PATTERN`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from agent.types import NAME_PATTERN

Applies = Literal["live", "part", "agent"]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def key(default: Any = ..., *, applies: Applies, remote: bool, **rest: Any) -> Any:
    """Declare a key: a pydantic field that also carries ``applies`` and ``remote`` (read by ``--explain`` and patches)."""
    return Field(default, json_schema_extra={"applies": applies, "remote": remote}, **rest)


def section(part: type[BaseModel], *, applies: Applies, remote: bool) -> Any:
    """Declare a section that may be left out: its keys then have their defaults."""
    return Field(default_factory=part, json_schema_extra={"applies": applies, "remote": remote})


class Part(BaseModel):
    """Base of every section: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Device(Part):
    """Who this device is."""

    id: Name | None = key(
        None, applies="agent", remote=False, description="unique in the fleet; default: from the machine id"
    )
    klass: Name | None = key(
        None, alias="class", applies="agent", remote=True, description="e.g. raspberry-pi-5; chooses a budget"
    )
    groups: tuple[Name, ...] = key(
        (), applies="part", remote=True, description="groups whose commands this device obeys"
    )


class Paths(Part):
    """Where state lies. Default: $STATE_DIRECTORY and $RUNTIME_DIRECTORY (systemd), else the XDG folders."""

    state: str | None = key(None, applies="agent", remote=False)
    runtime: str | None = key(None, applies="agent", remote=False)


class FileSource(Part):
    """A video file."""

    kind: Literal["file"]
    path: str = key(applies="part", remote=True)
    pace: Literal["realtime", "lossless"] = key("realtime", applies="part", remote=True)
    loop: bool = key(False, applies="part", remote=True)
    fps: float | None = key(None, applies="part", remote=True, gt=0, le=1000)


class ImagesSource(Part):
    """A folder of images, in the order of their names."""

    kind: Literal["images"]
    path: str = key(applies="part", remote=True)
    pace: Literal["realtime", "lossless"] = key("realtime", applies="part", remote=True)
    loop: bool = key(False, applies="part", remote=True)
    fps: float = key(1.0, applies="part", remote=True, gt=0, le=1000)


class UrlSource(Part):
    """Anything that OpenCV opens by URL: RTSP, HTTP MJPEG."""

    kind: Literal["url"]
    url: str = key(applies="part", remote=True)
    open_timeout_ms: int = key(3000, applies="part", remote=True, ge=100, le=60000)
    read_timeout_ms: int = key(2000, applies="part", remote=True, ge=100, le=60000)


class DeviceSource(Part):
    """A USB or CSI camera by V4L2 path or index."""

    kind: Literal["device"]
    device: str = key(applies="part", remote=True)
    width: int | None = key(None, applies="part", remote=True, ge=16, le=8192)
    height: int | None = key(None, applies="part", remote=True, ge=16, le=8192)
    fps: float | None = key(None, applies="part", remote=True, gt=0, le=1000)
    fourcc: str | None = key(None, applies="part", remote=True, min_length=4, max_length=4)


Source = Annotated[FileSource | ImagesSource | UrlSource | DeviceSource, Field(discriminator="kind")]


class Camera(Part):
    """One named source of frames."""

    source: Source = key(applies="part", remote=True)


class Pipeline(Part):
    """Some cameras and the one model that watches them."""

    cameras: tuple[Name, ...] = key(applies="part", remote=True, min_length=1)
    model: str | None = key(
        None, applies="live", remote=True, description="reference: name:version, name@channel or name@range"
    )
    score: float | None = key(
        None,
        applies="live",
        remote=True,
        ge=0,
        le=1,
        description="reporting threshold; default: the manifest's",
    )
    labels: tuple[str, ...] | None = key(
        None, applies="live", remote=True, description="report these labels only"
    )
    in_flight: int = key(3, applies="part", remote=True, ge=1, le=4)


class Inference(Part):
    """How ONNX Runtime runs."""

    providers: tuple[str, ...] = key(("CPUExecutionProvider",), applies="part", remote=True, min_length=1)
    threads: int = key(
        0, applies="part", remote=True, ge=0, le=64, description="0: one fewer than the cores, at least 1"
    )
    spin: bool = key(False, applies="part", remote=True)


class Registry(Part):
    """Where signed releases come from."""

    url: str | None = key(None, applies="part", remote=False, description="http(s):// or file://")
    total_timeout_s: float = key(900.0, applies="live", remote=True, gt=0)
    min_rate_bytes_s: int = key(1024, applies="live", remote=True, ge=0)
    max_file_mb: int = key(512, applies="live", remote=True, ge=1)
    free_floor_mb: int = key(64, applies="live", remote=True, ge=0)


class Tls(Part):
    """TLS towards the broker."""

    ca_file: str | None = key(
        None, applies="part", remote=False, description="default: the system's certificates"
    )
    cert_file: str | None = key(None, applies="part", remote=False)
    key_file: str | None = key(None, applies="part", remote=False)


class Mqtt(Part):
    """The broker. Without ``host`` the device runs and detects, and reports to nobody."""

    host: str | None = key(None, applies="part", remote=False)
    port: int = key(1883, applies="part", remote=False, ge=1, le=65535)
    protocol: Literal["auto", "5", "3.1.1"] = key("auto", applies="part", remote=True)
    username: str | None = key(None, applies="part", remote=False)
    password: SecretStr | None = key(None, applies="part", remote=False)
    password_file: str | None = key(None, applies="part", remote=False)
    tls: Tls | None = key(None, applies="part", remote=False)
    prefix: str = key("lookout", applies="part", remote=False, pattern=r"^[^/#+\s][^#+\s]*$")
    keepalive_s: int = key(30, applies="part", remote=True, ge=5, le=3600)


class Report(Part):
    """What is reported, and how often."""

    detections_hz: float = key(
        5.0, applies="live", remote=True, ge=0, le=1000, description="per camera; 0: never"
    )
    all: bool = key(False, applies="live", remote=True, description="also frames without detections")
    telemetry_s: float = key(10.0, applies="live", remote=True, ge=1, le=3600)


class Probation(Part):
    """How long a swap may still undo itself, and what makes it."""

    frames: int = key(60, applies="live", remote=True, ge=1)
    seconds: float = key(10.0, applies="live", remote=True, ge=0)
    memory_mb: int | None = key(None, applies="live", remote=True, ge=1)
    slow_ratio: float = key(2.0, applies="live", remote=True, ge=1)
    slow_extra_ms: float = key(20.0, applies="live", remote=True, ge=0)
    rate_baseline_frames: int = key(100, applies="live", remote=True, ge=1)
    rate_collapse: float = key(0.2, applies="live", remote=True, ge=0, le=1)
    rate_explosion: float = key(5.0, applies="live", remote=True, ge=1)


class Deploy(Part):
    """How releases are taken into service."""

    probation: Probation = section(Probation, applies="live", remote=True)
    keep_previous_warm: Literal["probation", "always"] = key("probation", applies="live", remote=True)
    load_timeout_s: float = key(60.0, applies="live", remote=True, gt=0)
    golden_timeout_s: float = key(30.0, applies="live", remote=True, gt=0)


class Logs(Part):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = key("info", applies="live", remote=True)


class Config(Part):
    """The whole file."""

    schema_: Literal[1] = key(1, alias="schema", applies="agent", remote=False)
    device: Device = section(Device, applies="agent", remote=True)
    paths: Paths = section(Paths, applies="agent", remote=False)
    cameras: dict[Name, Camera] = key(applies="part", remote=True, min_length=1)
    pipelines: dict[Name, Pipeline] = key(applies="part", remote=True, min_length=1)
    inference: Inference = section(Inference, applies="part", remote=True)
    registry: Registry = section(Registry, applies="part", remote=True)
    mqtt: Mqtt = section(Mqtt, applies="part", remote=True)
    report: Report = section(Report, applies="live", remote=True)
    deploy: Deploy = section(Deploy, applies="live", remote=True)
    logs: Logs = section(Logs, applies="live", remote=True)
