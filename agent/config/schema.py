"""The configuration, as one tree of frozen pydantic models. Pure.

Every key says three things beside its type: a sentence of what it is for, ``applies`` (``live``: taken up at once;
``part``: one part is rebuilt; ``agent``: at the next start) and ``remote`` (may an operator change it over MQTT).
A section's ``applies`` is the heaviest of its keys', its ``remote`` is true where that of some key is. Types are
strict (``"3"`` is no number), so that a slip of the pen is told and not guessed at. Validation touches neither the
network nor the disk; what concerns several keys at once is in :mod:`agent.config.checks`. Names of cameras, pipelines
and groups follow :data:`agent.types.NAME_PATTERN`.

Not remote, because a hostile broker must not be able to: what reads or writes a path of this device, where models and
commands come from, credentials, and who the device is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, SecretStr, model_validator

from agent.config.checks import clashes
from agent.config.keypath import dotted
from agent.config.texts import (
    broker_host,
    camera_url,
    device_path,
    int_as_text,
    model_reference,
    plain_text,
    provider,
    proxy_url,
    registry_url,
    topic_prefix,
    unique,
    version,
    wrong,
)
from agent.types import NAME_PATTERN

Applies = Literal["live", "part", "agent"]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Path = Annotated[str, Field(min_length=1, max_length=4096), plain_text]
Pace = Literal["realtime", "lossless"]

MAX_CAMERAS = 64
MAX_PIPELINES = 16


def key(default: Any = ..., *, applies: Applies, remote: bool, description: str, **rest: Any) -> Any:
    """Declare a key: a field that also carries ``applies`` and ``remote``, for ``--explain`` and for patches."""
    extra: dict[str, JsonValue] = {"applies": applies, "remote": remote}
    return Field(default, json_schema_extra=extra, description=description, **rest)


def section(part: type[BaseModel], *, applies: Applies, remote: bool) -> Any:
    """Declare a section that may be left out: its keys then have their defaults."""
    extra: dict[str, JsonValue] = {"applies": applies, "remote": remote}
    return Field(default_factory=part, json_schema_extra=extra, description=(part.__doc__ or "").split("\n")[0])


class Part(BaseModel):
    """Base of every section: frozen, strict, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class Device(Part):
    """Who this device is."""

    id: Name | None = key(
        None,
        applies="agent",
        remote=False,
        description="Name of this device, unique in its fleet. Without it one is derived from the machine id.",
    )
    klass: Name | None = key(
        None,
        alias="class",
        applies="agent",
        remote=True,
        description="What kind of device this is, such as raspberry-pi-5; it chooses a budget of the manifest.",
    )
    groups: Annotated[tuple[Name, ...], unique] = key(
        (),
        applies="part",
        remote=True,
        strict=False,
        max_length=32,
        description="Groups of devices whose commands this one obeys too.",
    )


class Paths(Part):
    """Where the agent keeps its state and its local socket."""

    state: Path | None = key(
        None,
        applies="agent",
        remote=False,
        description="Folder for what must survive a restart. Default: $STATE_DIRECTORY, else the XDG state folder.",
    )
    runtime: Path | None = key(
        None,
        applies="agent",
        remote=False,
        description="Folder for the local socket. Default: $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/lookout.",
    )


class FileSource(Part):
    """A video file."""

    kind: Literal["file"] = key(applies="part", remote=True, description="A video file.")
    path: Path = key(
        applies="part", remote=False, description="The video; relative to the folder of the configuration file."
    )
    pace: Pace = key(
        "realtime",
        applies="part",
        remote=True,
        description="Realtime plays at fps and skips what comes too fast; lossless waits, so that each frame is seen.",
    )
    loop: bool = key(False, applies="part", remote=True, description="Begin again at the end.")
    fps: float | None = key(
        None,
        applies="part",
        remote=True,
        gt=0,
        le=1000,
        description="Frames a second in realtime. Default: the file's own rate.",
    )


class ImagesSource(Part):
    """A folder of images, in the order of their names."""

    kind: Literal["images"] = key(applies="part", remote=True, description="A folder of images.")
    path: Path = key(
        applies="part", remote=False, description="The folder; relative to the folder of the configuration file."
    )
    pace: Pace = key(
        "realtime",
        applies="part",
        remote=True,
        description="Realtime plays at fps and skips what comes too fast; lossless waits, so that each image is seen.",
    )
    loop: bool = key(False, applies="part", remote=True, description="Begin again at the end.")
    fps: float = key(1.0, applies="part", remote=True, gt=0, le=1000, description="Images a second in realtime.")


class UrlSource(Part):
    """A network camera: RTSP, or MJPEG over HTTP."""

    kind: Literal["url"] = key(applies="part", remote=True, description="A network camera.")
    url: Annotated[str, Field(min_length=1, max_length=2048), camera_url] = key(
        applies="part",
        remote=True,
        description="Where it streams: rtsp, rtsps, http or https. Its credentials are hidden wherever it is shown.",
    )
    open_timeout_ms: int = key(
        3000, applies="part", remote=True, ge=100, le=60000, description="Longest wait for a connection."
    )
    read_timeout_ms: int = key(
        2000, applies="part", remote=True, ge=100, le=60000, description="Longest wait for a frame."
    )


class DeviceSource(Part):
    """A USB or CSI camera of this device."""

    kind: Literal["device"] = key(applies="part", remote=True, description="A USB or CSI camera of this device.")
    device: Annotated[str, Field(min_length=1, max_length=256), BeforeValidator(int_as_text), device_path] = key(
        applies="part",
        remote=True,
        description="Its index (0) or path; /dev/v4l/by-id/… stays the same when cameras are plugged in anew.",
    )
    width: int | None = key(
        None, applies="part", remote=True, ge=16, le=8192, description="Width to ask of it, pixels."
    )
    height: int | None = key(
        None, applies="part", remote=True, ge=16, le=8192, description="Height to ask of it, pixels."
    )
    fps: float | None = key(
        None, applies="part", remote=True, gt=0, le=1000, description="Frames a second to ask of it."
    )
    fourcc: str | None = key(
        None,
        applies="part",
        remote=True,
        pattern=r"^[ -~]{4}$",
        description="Pixel format to ask of it, such as MJPG or YUYV; USB cameras need MJPG for large frames.",
    )


Source = Annotated[FileSource | ImagesSource | UrlSource | DeviceSource, Field(discriminator="kind")]


class Camera(Part):
    """One named source of frames."""

    source: Source = key(applies="part", remote=True, description="Where its frames come from.")


class Pipeline(Part):
    """Some cameras and the one model that watches them."""

    cameras: Annotated[tuple[Name, ...], unique] = key(
        applies="part",
        remote=True,
        strict=False,
        min_length=1,
        max_length=MAX_CAMERAS,
        description="Names of the cameras it watches. A camera belongs to exactly one pipeline.",
    )
    model: Annotated[str, Field(max_length=256), model_reference] | None = key(
        None,
        applies="live",
        remote=True,
        description="Release to deploy: name:version, name@channel or name@range. Not set: deployed by command.",
    )
    score: float | None = key(
        None,
        applies="live",
        remote=True,
        ge=0,
        le=1,
        description="Lowest score that is reported. Default: the manifest's.",
    )
    labels: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], unique] | None = key(
        None,
        applies="live",
        remote=True,
        strict=False,
        max_length=10_000,
        description="Labels that are reported. Default: all of the model's.",
    )
    factory: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="Folder of a release (manifest.json and its files) that serves where no deployed one can.",
    )
    in_flight: int = key(
        3,
        applies="part",
        remote=True,
        ge=1,
        le=4,
        description="Frames in the worker at a time; 2 or 3 keep it busy, 1 saves memory.",
    )


class Inference(Part):
    """How ONNX Runtime runs models."""

    providers: Annotated[tuple[Annotated[str, provider], ...], unique] = key(
        ("CPUExecutionProvider",),
        applies="part",
        remote=True,
        strict=False,
        min_length=1,
        max_length=8,
        description="Execution providers, the most wanted first. One that is missing is passed over with a warning.",
    )
    threads: int = key(
        0,
        applies="part",
        remote=True,
        ge=0,
        le=64,
        description="Threads of one model. 0: one fewer than the cores, at least 1.",
    )
    spin: bool = key(
        False,
        applies="part",
        remote=True,
        description="Let threads busy-wait between frames: a little faster at full load, hot at low load.",
    )


class Registry(Part):
    """Where signed releases come from."""

    url: Annotated[str, Field(max_length=2048), registry_url] | None = key(
        None,
        applies="part",
        remote=False,
        description="The registry: http://, https:// or file:///folder. Not set: nothing new can be deployed.",
    )
    total_timeout_s: float = key(
        900.0, applies="live", remote=True, gt=0, le=86_400, description="Longest time for one fetch."
    )
    min_rate_bytes_s: int = key(
        1024,
        applies="live",
        remote=True,
        ge=0,
        le=1_000_000_000,
        description="A transfer that stays slower than this is given up. 0: never.",
    )
    max_file_mb: int = key(
        512, applies="live", remote=True, ge=1, le=65_536, description="Largest file that is fetched."
    )
    max_rate_bytes_s: int = key(
        0,
        applies="live",
        remote=True,
        ge=0,
        le=1_000_000_000,
        description="A fetch takes no more of the line than this. 0: all that it gets.",
    )
    poll_s: float = key(
        3600.0,
        applies="live",
        remote=True,
        ge=0,
        le=2_592_000,
        description="How often to ask, at random instants, what a channel or range means now and what was yanked. "
        "0: never.",
    )
    min_version: dict[Name, Annotated[str, Field(max_length=64), version]] = key(
        {},
        applies="part",
        remote=False,
        max_length=256,
        description="Model: oldest version that this device takes, whoever asks for an older one.",
    )
    trust_clock: bool = key(
        False,
        applies="part",
        remote=False,
        description="Believe the clock although nothing keeps it right: for devices without a time server. "
        "A clock that is behind then accepts metadata that has expired.",
    )
    token_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="File that holds the token a private registry asks for, such as a systemd credential; HTTPS only.",
    )
    ca_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="Certificates of the authorities to trust for the registry, PEM. Default: those of the web.",
    )
    cert_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="This device's certificate for the registry, PEM; goes with key_file.",
    )
    key_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="This device's private key for the registry, PEM; goes with cert_file.",
    )
    proxy: Annotated[SecretStr, proxy_url] | None = key(
        None,
        applies="part",
        remote=False,
        description="Proxy on the way to the registry: http://host:port, with user:password@ where it wants one.",
    )
    free_floor_mb: int = key(
        64, applies="live", remote=True, ge=0, le=1_048_576, description="Disk space that a fetch leaves free."
    )


class Tls(Part):
    """TLS towards the broker."""

    ca_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="Certificates of the authorities to trust, PEM. Default: the system's.",
    )
    cert_file: Path | None = key(
        None, applies="part", remote=False, description="This device's certificate, PEM; goes with key_file."
    )
    key_file: Path | None = key(
        None, applies="part", remote=False, description="This device's private key, PEM; goes with cert_file."
    )


class Mqtt(Part):
    """The broker. Without a host the device runs and detects, and reports to nobody."""

    host: Annotated[str, Field(min_length=1, max_length=253), broker_host] | None = key(
        None, applies="part", remote=False, description="Name or address of the broker."
    )
    port: int = key(1883, applies="part", remote=False, ge=1, le=65535, description="Its port; 8883 is usual with TLS.")
    protocol: Annotated[Literal["auto", "5", "3.1.1"], BeforeValidator(int_as_text)] = key(
        "auto", applies="part", remote=True, description="Version of MQTT; auto asks the broker."
    )
    username: Annotated[str, Field(min_length=1, max_length=1024), plain_text] | None = key(
        None, applies="part", remote=False, description="User name at the broker."
    )
    password: SecretStr | None = key(
        None,
        applies="part",
        remote=False,
        max_length=65_535,
        description="Password; better in LOOKOUT__MQTT__PASSWORD or in password_file than in this file.",
    )
    password_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="File that holds the password, such as a systemd credential; a last newline is left out.",
    )
    tls: Tls | None = key(
        None, applies="part", remote=False, description="TLS towards the broker; {} for the defaults."
    )
    prefix: Annotated[str, Field(min_length=1, max_length=128), topic_prefix] = key(
        "lookout", applies="part", remote=False, description="First part of every topic."
    )
    keepalive_s: int = key(
        30,
        applies="part",
        remote=True,
        ge=5,
        le=3600,
        description="Longest silence towards the broker; it declares the device offline after 1.5 times that.",
    )


class Report(Part):
    """What is reported, and how often."""

    detections_hz: float = key(
        5.0,
        applies="live",
        remote=True,
        ge=0,
        le=1000,
        description="Most messages of detections a second and camera. 0: none.",
    )
    all: bool = key(False, applies="live", remote=True, description="Report frames without detections as well.")
    telemetry_s: float = key(
        10.0, applies="live", remote=True, ge=1, le=3600, description="Time between telemetry messages."
    )


class Probation(Part):
    """How long a swap may still undo itself, and what makes it."""

    frames: int = key(
        60, applies="live", remote=True, ge=1, le=1_000_000, description="Answered frames that it lasts at least."
    )
    seconds: float = key(10.0, applies="live", remote=True, ge=0, le=86_400, description="Time that it lasts at least.")
    memory_mb: int | None = key(
        None,
        applies="live",
        remote=True,
        ge=1,
        le=1_048_576,
        description="Roll back when the worker needs more memory. Default: the manifest's budget, where it has one.",
    )
    slow_ratio: float = key(
        2.0,
        applies="live",
        remote=True,
        ge=1,
        le=100,
        description="Without a budget: roll back when p95 exceeds the old release's times this, plus slow_extra_ms.",
    )
    slow_extra_ms: float = key(20.0, applies="live", remote=True, ge=0, le=60_000, description="See slow_ratio.")
    rate_baseline_frames: int = key(
        100,
        applies="live",
        remote=True,
        ge=1,
        le=1_000_000,
        description="Frames of the old release needed before its rate of detections is a baseline.",
    )
    rate_collapse: float = key(
        0.2,
        applies="live",
        remote=True,
        ge=0,
        le=1,
        description="Roll back when the rate of detections falls below this part of the baseline.",
    )
    rate_explosion: float = key(
        5.0,
        applies="live",
        remote=True,
        ge=1,
        le=1000,
        description="Roll back when the rate of detections rises above this multiple of the baseline.",
    )


class Deploy(Part):
    """How releases are taken into service."""

    probation: Probation = section(Probation, applies="live", remote=True)
    keep_previous_warm: Literal["probation", "always"] = key(
        "probation",
        applies="live",
        remote=True,
        description="How long the previous worker is kept ready: always makes later rollbacks instant, for its memory.",
    )
    on_yank: Literal["warn", "rollback"] = key(
        "warn",
        applies="live",
        remote=True,
        description="What to do when the publisher yanked the release that serves: say so, or go back to previous.",
    )
    load_timeout_s: float = key(
        60.0, applies="live", remote=True, gt=0, le=3600, description="Longest time a model may take to load."
    )
    golden_timeout_s: float = key(
        30.0,
        applies="live",
        remote=True,
        gt=0,
        le=3600,
        description="Longest time a model may take for one golden image.",
    )
    variant: Literal["fastest", "first"] = key(
        "fastest",
        applies="live",
        remote=True,
        description="Which of the variants that this host can run serves: the one measured fastest, or the first.",
    )
    trial_timeout_s: float = key(
        300.0,
        applies="live",
        remote=True,
        gt=0,
        le=86_400,
        description="Longest time that one variant's trial may take.",
    )
    trial_memory_mb: int | None = key(
        None,
        applies="live",
        remote=True,
        ge=1,
        le=1_048_576,
        description="Most memory of a worker in its trial. Default: twice the manifest's budget, else half the host's.",
    )
    shadow_frames: int = key(
        0,
        applies="live",
        remote=True,
        ge=0,
        le=1_000_000,
        description="Live frames that a candidate answers beside the current model before it may serve. 0: none.",
    )
    min_agreement: float | None = key(
        None,
        applies="live",
        remote=True,
        ge=0,
        le=1,
        description="Refuse a candidate that agreed less with the current model, on 100 frames unless shadow_frames is "
        "set. Default: only report.",
    )
    shadow_max_slowdown: float = key(
        0.2,
        applies="live",
        remote=True,
        gt=0,
        le=1,
        description="Share of the current model's rate that shadow may cost at most; it bounds shadow's share of time.",
    )
    shadow_timeout_s: float = key(
        300.0, applies="live", remote=True, gt=0, le=86_400, description="Longest time that shadow may take."
    )
    memory_floor_mb: int = key(
        64,
        applies="live",
        remote=True,
        ge=0,
        le=1_048_576,
        description="Memory to leave free; a candidate that would not is loaded only once the current one is unloaded.",
    )
    safe_mode_after: int = key(
        3,
        applies="agent",
        remote=False,
        ge=0,
        le=64,
        description="Crashes of the agent in ten minutes after which it starts with the previous models. 0: never.",
    )
    safe_mode_s: float = key(
        600.0,
        applies="agent",
        remote=False,
        gt=0,
        le=86_400,
        description="Time that the agent must run well before safe mode (entered after three crashes) ends.",
    )


class Logs(Part):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = key(
        "info", applies="live", remote=True, description="Least level that is logged."
    )


class Config(Part):
    """The whole file."""

    schema_: Literal[1] = key(
        1, alias="schema", applies="agent", remote=False, description="Version of this file's form."
    )
    device: Device = section(Device, applies="agent", remote=True)
    paths: Paths = section(Paths, applies="agent", remote=False)
    cameras: dict[Name, Camera] = key(
        applies="part",
        remote=True,
        min_length=1,
        max_length=MAX_CAMERAS,
        description="The cameras, by name.",
    )
    pipelines: dict[Name, Pipeline] = key(
        applies="part",
        remote=True,
        min_length=1,
        max_length=MAX_PIPELINES,
        description="The pipelines, by name.",
    )
    inference: Inference = section(Inference, applies="part", remote=True)
    registry: Registry = section(Registry, applies="part", remote=True)
    mqtt: Mqtt = section(Mqtt, applies="part", remote=True)
    report: Report = section(Report, applies="live", remote=True)
    deploy: Deploy = section(Deploy, applies="agent", remote=True)
    logs: Logs = section(Logs, applies="live", remote=True)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Config:
        found = clashes(self.model_dump(by_alias=True))
        if found:
            raise wrong("; ".join(f"{dotted(clash.path)}: {clash.message}" for clash in found), kind="cross")
        return self


def inference_threads(inference: Inference, cores: int) -> int:
    """How many threads one model gets on a host with ``cores``: as configured, else one fewer than the cores."""
    return inference.threads or max(1, cores - 1)
