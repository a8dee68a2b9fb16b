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
    broker_address,
    broker_host,
    camera_url,
    crop,
    device_path,
    falling,
    gstreamer_pipeline,
    int_as_text,
    listening_host,
    minutes_as_time,
    model_reference,
    own_name,
    page_token,
    plain_text,
    polygon,
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
MAX_ZONES = 256


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
        remote=True,
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
    transport: Literal["tcp", "udp"] = key(
        "tcp",
        applies="part",
        remote=True,
        description="How RTSP carries its pictures; udp loses some on a poor network, and never falls behind.",
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


class GstreamerSource(Part):
    """A GStreamer pipeline, such as a Jetson's CSI camera; GStreamer's Python bindings must be there."""

    kind: Literal["gstreamer"] = key(applies="part", remote=False, description="A GStreamer pipeline.")
    pipeline: Annotated[str, Field(min_length=3, max_length=4096), gstreamer_pipeline] = key(
        applies="part",
        remote=False,
        description="The pipeline, such as nvarguscamerasrc ! nvvidconv ! …; an appsink is put at its end if missing.",
    )
    open_timeout_ms: int = key(
        5000, applies="part", remote=False, ge=100, le=60000, description="Longest wait for it to start."
    )
    read_timeout_ms: int = key(
        2000, applies="part", remote=False, ge=100, le=60000, description="Longest wait for a frame."
    )


class PicameraSource(Part):
    """A camera of a Raspberry Pi, by the system's picamera2."""

    kind: Literal["picamera2"] = key(applies="part", remote=True, description="A camera of a Raspberry Pi.")
    number: int = key(0, applies="part", remote=True, ge=0, le=15, description="Which one; 0 is the first.")
    width: int = key(1280, applies="part", remote=True, ge=16, le=8192, description="Width to ask of it, pixels.")
    height: int = key(720, applies="part", remote=True, ge=16, le=8192, description="Height to ask of it, pixels.")
    fps: float = key(15.0, applies="part", remote=True, gt=0, le=1000, description="Frames a second to ask of it.")
    read_timeout_ms: int = key(
        2000, applies="part", remote=True, ge=100, le=60000, description="Longest wait for a frame."
    )


class PatternSource(Part):
    """A synthetic camera of moving shapes, to try things out."""

    kind: Literal["pattern"] = key(applies="part", remote=True, description="A synthetic camera of moving shapes.")
    width: int = key(640, applies="part", remote=True, ge=64, le=8192, description="Width, pixels.")
    height: int = key(480, applies="part", remote=True, ge=64, le=8192, description="Height, pixels.")
    fps: float = key(15.0, applies="part", remote=True, gt=0, le=1000, description="Frames a second.")
    seed: int = key(
        0, applies="part", remote=True, ge=0, le=2**31 - 1, description="Which shapes; the same ones for the same seed."
    )
    pace: Pace = key(
        "realtime",
        applies="part",
        remote=True,
        description="Realtime runs at fps and skips what comes too fast; lossless waits, so that each frame is seen.",
    )


Source = Annotated[
    FileSource | ImagesSource | UrlSource | DeviceSource | GstreamerSource | PicameraSource | PatternSource,
    Field(discriminator="kind"),
]
Number = Annotated[float, Field(ge=0, le=16384, strict=False)]
Corner = Annotated[tuple[Number, Number], Field(strict=False)]
Polygon = Annotated[tuple[Corner, ...], Field(min_length=3, max_length=64, strict=False), polygon]
Crop = Annotated[tuple[Number, Number, Number, Number], crop]


class MotionGate(Part):
    """Leaves frames of a still scene out of inference."""

    enabled: bool = key(
        False,
        applies="part",
        remote=True,
        description="Look only at frames in which something moves, and at some others.",
    )
    every_s: float = key(
        10.0,
        applies="part",
        remote=True,
        gt=0,
        le=3600,
        description="Longest time between two frames that are looked at, whatever they show.",
    )
    recheck_s: float = key(
        1.0,
        applies="part",
        remote=True,
        gt=0,
        le=3600,
        description="The same while objects are known: what stands still is looked at again.",
    )
    hold_s: float = key(
        2.0,
        applies="part",
        remote=True,
        ge=0,
        le=3600,
        description="Time after the last motion in which every frame is looked at.",
    )
    min_area: float = key(
        0.0005,
        applies="part",
        remote=True,
        ge=0,
        le=1,
        description="Part of the watched area (0 to 1) that must move; 0.0005 of 640x480 are 12 by 12 pixels.",
    )
    contrast: float = key(
        6.0,
        applies="part",
        remote=True,
        ge=1,
        le=255,
        description="Change of brightness, of 255, from which a place moved; noise and common light are left out.",
    )
    include: tuple[Polygon, ...] = key(
        (),
        applies="part",
        remote=True,
        strict=False,
        max_length=32,
        description="Polygons [[x, y], …] that are watched for motion; parts of the picture (0 to 1) or pixels. "
        "Default: all of it.",
    )
    exclude: tuple[Polygon, ...] = key(
        (),
        applies="part",
        remote=True,
        strict=False,
        max_length=32,
        description="Polygons [[x, y], …] whose motion does not count, such as a tree or a clock in the picture.",
    )
    lossless: bool = key(
        False, applies="part", remote=True, description="Apply it to a source with pace lossless as well."
    )


ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"), BeforeValidator(minutes_as_time)]


class QuietHours(Part):
    """Hours of each day in which a camera works less."""

    from_: ClockTime = key(
        alias="from", applies="part", remote=True, description='Local time at which they begin, such as "22:00".'
    )
    to: ClockTime = key(
        applies="part", remote=True, description="Local time at which they end; before from, it is the next day's."
    )
    max_fps: float = key(applies="part", remote=True, gt=0, le=1000, description="Most frames a second in them.")


class Camera(Part):
    """One named source of frames."""

    source: Source = key(applies="part", remote=True, description="Where its frames come from.")
    rotate: Literal[0, 90, 180, 270] = key(
        0, applies="part", remote=False, description="Turn its picture clockwise, degrees."
    )
    crop: Crop | None = key(
        None,
        applies="part",
        remote=False,
        strict=False,
        description="What is left of the turned picture: [left, top, right, bottom], pixels or parts of it (0 to 1).",
    )
    masks: tuple[Polygon, ...] = key(
        (),
        applies="part",
        remote=False,
        strict=False,
        max_length=32,
        description="Polygons [[x, y], …] on the turned and cut picture that are black in each one that leaves the "
        "device; pixels or parts of it (0 to 1). Where any camera has some, sources cannot be changed from afar.",
    )
    mask_inference: bool = key(
        False, applies="part", remote=False, description="Hide what the masks cover from the model as well."
    )
    weight: int = key(
        1,
        applies="part",
        remote=True,
        ge=1,
        le=10,
        description="Its share of a worker that cannot see every frame: 2 has twice as many frames looked at as 1.",
    )
    max_fps: float | None = key(
        None, applies="part", remote=True, gt=0, le=1000, description="Most frames a second that are taken of it."
    )
    quiet: tuple[QuietHours, ...] = key(
        (),
        applies="part",
        remote=True,
        strict=False,
        max_length=16,
        description="Hours of each day with a lower frame rate: [{from, to, max_fps}, …].",
    )
    motion: MotionGate = section(MotionGate, applies="part", remote=True)


class Shape(Part):
    """What the box of an object must be."""

    min_area: float = key(
        0.0, applies="part", remote=True, ge=0, le=1, description="Least area, as part of the picture's."
    )
    max_area: float = key(
        1.0, applies="part", remote=True, ge=0, le=1, description="Most area, as part of the picture's."
    )
    min_ratio: float = key(0.0, applies="part", remote=True, ge=0, le=1000, description="Least width to height.")
    max_ratio: float = key(1000.0, applies="part", remote=True, ge=0, le=1000, description="Most width to height.")


class ZoneLimits(Shape):
    """What an object must be to count in a zone."""

    score: float = key(
        0.0, applies="part", remote=True, ge=0, le=1, description="Least score of its track, smoothed over sightings."
    )


class Tracking(Part):
    """How objects are followed over frames."""

    enabled: bool = key(
        True, applies="part", remote=True, description="Follow objects; without it there are no zones and no events."
    )
    high_score: float | None = key(
        None,
        applies="part",
        remote=True,
        ge=0,
        le=1,
        description="Least score that begins a track; lower ones only keep it. Default: the lowest that is reported.",
    )
    match_iou: float = key(
        0.2,
        applies="part",
        remote=True,
        gt=0,
        le=1,
        description="Least overlap of a box with where its track is expected.",
    )
    min_hits: int = key(
        3, applies="part", remote=True, ge=2, le=100, description="Sightings before an object is believed in."
    )
    max_age_s: float = key(
        2.0, applies="part", remote=True, gt=0, le=3600, description="Time after which a track that is not seen ends."
    )
    stationary_s: float = key(
        5.0, applies="part", remote=True, gt=0, le=86_400, description="Time in one place that makes it stationary."
    )


Coordinate = Annotated[float, Field(ge=0, le=16384)]
Spot = Annotated[tuple[Coordinate, Coordinate], Field(strict=False)]
Label = Annotated[str, Field(min_length=1, max_length=128)]


class Zone(Part):
    """A part of a camera's picture, or a line across it."""

    camera: Name = key(applies="part", remote=True, description="Name of the camera it belongs to.")
    polygon: Annotated[tuple[Spot, ...], Field(min_length=3, max_length=64)] | None = key(
        None,
        applies="part",
        remote=True,
        strict=False,
        description="Its corners in order, [[x, y], …]: parts of the picture (0 to 1), or pixels if any exceeds 1.",
    )
    line: Annotated[tuple[Spot, ...], Field(min_length=2, max_length=2)] | None = key(
        None,
        applies="part",
        remote=True,
        strict=False,
        description="Two points [[x, y], [x, y]] in place of a polygon; in is from the left to the right of that way.",
    )
    ignore: bool = key(
        False, applies="part", remote=True, description="Report nothing of objects that stand in the polygon."
    )
    labels: Annotated[tuple[Label, ...], unique] | None = key(
        None,
        applies="part",
        remote=True,
        strict=False,
        max_length=1000,
        description="Labels that count here, as they are reported. Default: all.",
    )
    limits: dict[Label, ZoneLimits] = key(
        {}, applies="part", remote=True, max_length=1000, description="Label: what such an object must be here."
    )
    inertia: int = key(
        3,
        applies="part",
        remote=True,
        ge=1,
        le=100,
        description="Sightings in a row inside before an object is in, and outside before it is out.",
    )
    loiter_s: float | None = key(
        None,
        applies="part",
        remote=True,
        gt=0,
        le=86_400,
        description="Stay that is told as loitering. Default: none is.",
    )


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
    remap: dict[Label, Label] = key(
        {},
        applies="part",
        remote=True,
        max_length=1000,
        description="The model's label: label that is reported in its place, such as car: vehicle.",
    )
    scores: dict[Label, Annotated[float, Field(ge=0.1, le=1)]] = key(
        {},
        applies="part",
        remote=True,
        max_length=1000,
        description="Label: lowest score of it that is reported, in place of score.",
    )
    shapes: dict[Label, Shape] = key(
        {}, applies="part", remote=True, max_length=1000, description="Label: what the box of one must be."
    )
    tracking: Tracking = section(Tracking, applies="part", remote=True)
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
        description="Frames in the worker at a time; 2 or 3 keep it busy, 1 saves memory. One more than are computed "
        "at once (inference.concurrency) if that is more, unless it is 1.",
    )


class Capture(Part):
    """How cameras are read."""

    process: Literal["shared", "per_camera"] = key(
        "shared",
        applies="agent",
        remote=False,
        description="One process for all cameras, or one each: a camera that crashes its decoder then disturbs no "
        "other, for some 30 MB more a camera.",
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
        description="Threads of one model. 0: as tuning has shown, else so many that one core is free, at least 1.",
    )
    spin: bool | None = key(
        None,
        applies="part",
        remote=True,
        description="Let threads busy-wait for one another while a frame is computed (never between two): faster or "
        "slower, and never cooler. Null: as tuning has shown, else no.",
    )
    concurrency: int = key(
        0,
        applies="part",
        remote=True,
        ge=0,
        le=8,
        description="Frames that one model computes at once, which share its threads: more frames a second, each of "
        "them later. 0: as tuning has shown, else 1.",
    )
    tune: bool = key(
        True,
        applies="part",
        remote=True,
        description="At a model's first trial on this host, measure which threads and options run it best and remember "
        "that. What threads, spin and concurrency say is kept to.",
    )


class Registry(Part):
    """Where signed releases come from."""

    url: Annotated[str, Field(max_length=2048), registry_url] | None = key(
        None,
        applies="part",
        remote=True,
        description="The registry: http://, https:// or file:///folder. Not set: nothing new can be deployed. "
        "From afar only one that remote.registries allows.",
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


CREDENTIAL = "credential:"
"""How a key of ``mqtt`` that names a file begins where it names a credential of systemd instead."""


class Tls(Part):
    """TLS towards the broker."""

    ca_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="Certificates of the authorities to trust, PEM, or credential:NAME. Default: the system's.",
    )
    cert_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="This device's certificate, PEM, or credential:NAME; goes with key_file.",
    )
    key_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="This device's private key, PEM, unencrypted, or credential:NAME; goes with cert_file.",
    )


class Mqtt(Part):
    """The broker. Without a host the device runs and detects, and reports to nobody."""

    host: Annotated[str, Field(min_length=1, max_length=253), broker_host] | None = key(
        None,
        applies="part",
        remote=True,
        description="Name or address of the broker. From afar only one that remote.brokers allows.",
    )
    port: int = key(
        1883,
        applies="part",
        remote=True,
        ge=1,
        le=65535,
        description="Its port; 8883 is usual with TLS. From afar only as remote.brokers allows.",
    )
    protocol: Annotated[Literal["auto", "5", "3.1.1"], BeforeValidator(int_as_text)] = key(
        "auto", applies="part", remote=True, description="Version of MQTT; auto asks the broker."
    )
    username: Annotated[str, Field(min_length=1, max_length=1024), plain_text] | None = key(
        None, applies="part", remote=False, description="User name at the broker."
    )
    username_file: Path | None = key(
        None,
        applies="part",
        remote=False,
        description="File that holds the user name, or credential:NAME, where devices share one configuration.",
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
        description="File that holds the password, or credential:NAME, a credential of systemd (LoadCredential=).",
    )
    tls: Tls | None = key(
        None, applies="part", remote=False, description="TLS towards the broker; {} for the defaults."
    )
    prefix: Annotated[str, Field(min_length=1, max_length=128), topic_prefix] = key(
        "lookout", applies="agent", remote=False, description="First part of every topic."
    )
    keepalive_s: int = key(
        30,
        applies="part",
        remote=True,
        ge=5,
        le=3600,
        description="Longest silence towards the broker; it declares the device offline after 1.5 times that.",
    )
    reconnect_s: float = key(
        8.0,
        applies="part",
        remote=False,
        ge=0.1,
        le=300,
        description="After a lost connection the first delay is drawn from 0 to this; larger for larger fleets.",
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
    events: Annotated[tuple[Literal["track", "zone", "line"], ...], unique] = key(
        ("track", "zone", "line"),
        applies="part",
        remote=True,
        strict=False,
        max_length=3,
        description="Events that are told: of tracks, of their stays in zones, of crossings of lines.",
    )
    event_update_s: float = key(
        5.0,
        applies="part",
        remote=True,
        ge=0.1,
        le=86_400,
        description="Least time between two updates of a track that only moved or was seen better.",
    )
    best_pictures: int = key(
        32,
        applies="part",
        remote=True,
        ge=0,
        le=1000,
        description="Tracks whose best picture is kept in memory for camera/snapshot; 8 MB at most. 0: none is made.",
    )
    snapshots: bool = key(
        False,
        applies="part",
        remote=True,
        description="Publish the best picture of each track when it ends.",
    )
    telemetry_s: float = key(
        10.0, applies="live", remote=True, ge=1, le=3600, description="Time between telemetry messages."
    )
    wear_budget_mb_per_day: float | None = key(
        500.0,
        applies="live",
        remote=True,
        gt=0,
        le=10_000_000,
        description="Say that the device is degraded when its processes write more to the disk in 24 hours; a medium "
        "bears only so much. Null: never.",
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


class Remote(Part):
    """What an operator may do through the broker, and how a change of his proves itself. Never remote itself."""

    confirm_s: float = key(
        60.0,
        applies="live",
        remote=False,
        ge=1,
        le=3600,
        description="Time in which a change of broker, device, cameras, model or rate must prove good, or is undone.",
    )
    brokers: Annotated[tuple[Annotated[str, Field(max_length=261), broker_address], ...], unique] = key(
        (),
        applies="live",
        remote=False,
        strict=False,
        max_length=16,
        description="Brokers to which mqtt.host and mqtt.port may be set from afar, as host or host:port.",
    )
    registries: Annotated[tuple[Annotated[str, Field(max_length=2048), registry_url], ...], unique] = key(
        (),
        applies="live",
        remote=False,
        strict=False,
        max_length=16,
        description="Registries to which registry.url may be set from afar.",
    )
    restart: bool = key(True, applies="live", remote=False, description="Obey device/restart.")


class Outbox(Part):
    """What waits for the broker on disk: events and results of commands."""

    max_mb: float = key(
        64.0,
        applies="part",
        remote=True,
        ge=1,
        le=10_000,
        description="Most disk space for it. Beyond that the oldest events are dropped first, and counted.",
    )
    max_age_h: float = key(
        168.0, applies="part", remote=True, gt=0, le=8760, description="What is older is dropped, and counted."
    )
    flush_ms: int = key(
        1000,
        applies="part",
        remote=True,
        ge=10,
        le=60_000,
        description="How long after an event it is safe from a power cut; from a kill it is at once.",
    )
    drain_per_s: float = key(
        100.0,
        applies="part",
        remote=True,
        gt=0,
        le=10_000,
        description="Most messages a second that are sent of what waited through an outage.",
    )


class HomeAssistant(Part):
    """Discovery by Home Assistant."""

    enabled: bool = key(False, applies="part", remote=True, description="Announce the device to Home Assistant.")
    prefix: Annotated[str, Field(min_length=1, max_length=128), topic_prefix] = key(
        "homeassistant", applies="part", remote=True, description="Home Assistant's discovery prefix."
    )


class WebTls(Part):
    """TLS of the page."""

    certificate: Path = key(
        applies="agent",
        remote=False,
        description="The page's certificate with those between it and the authority, PEM, or credential:NAME.",
    )
    key: Path = key(
        applies="agent",
        remote=False,
        description="Its private key, PEM, unencrypted, or credential:NAME.",
    )


class Web(Part):
    """The device's own page: what its cameras see, and how it does."""

    enabled: bool = key(False, applies="agent", remote=False, description="Serve the page.")
    host: Annotated[str, Field(min_length=1, max_length=253), listening_host] = key(
        "127.0.0.1",
        applies="agent",
        remote=False,
        description="Address to serve at: 127.0.0.1 this device only, 0.0.0.0 or :: every network it is in. "
        "Anything but loopback needs token_file and tls.",
    )
    port: int = key(8088, applies="agent", remote=False, ge=1, le=65535, description="Port to serve at.")
    token: Annotated[SecretStr, page_token] | None = key(
        None,
        applies="agent",
        remote=False,
        description="What who looks must know, 16 characters at least; better in LOOKOUT__WEB__TOKEN or in token_file.",
    )
    token_file: Path | None = key(
        None,
        applies="agent",
        remote=False,
        description="File that holds the token, of 16 characters at least, or credential:NAME, a credential of "
        "systemd (LoadCredential=).",
    )
    tls: WebTls | None = key(None, applies="agent", remote=False, description="Certificate and key, to serve https.")
    insecure: bool = key(
        False,
        applies="agent",
        remote=False,
        description="Serve http on a network all the same: for a proxy in front of it that adds TLS.",
    )
    names: Annotated[tuple[Annotated[str, own_name], ...], unique] = key(
        (),
        applies="agent",
        remote=False,
        strict=False,
        max_length=16,
        description="Names under which the page is reached, beside the host's own name and addresses: those of a "
        "proxy or in DNS. A request for any other name is refused.",
    )
    allow_changes: bool = key(
        False,
        applies="agent",
        remote=False,
        description="Let who looks deploy models and change remote keys too. Default: only look.",
    )
    metrics: bool = key(
        False,
        applies="agent",
        remote=False,
        description="Serve /metrics for Prometheus, also where the page itself is off.",
    )


Level = Literal["debug", "info", "warning", "error"]


class Logs(Part):
    """What is logged."""

    level: Level = key("info", applies="live", remote=True, description="Least level that is logged.")
    parts: dict[Name, Level] = key(
        {}, applies="live", remote=True, max_length=64, description="Part of the agent: least level that it logs."
    )
    file: Path | None = key(
        None,
        applies="agent",
        remote=False,
        description="File to log to besides, for hosts without a journal; it is rotated.",
    )
    file_max_mb: float = key(
        10.0, applies="agent", remote=True, gt=0, le=10_000, description="Size at which the log file is rotated."
    )
    file_keep: int = key(3, applies="agent", remote=True, ge=0, le=100, description="Rotated log files that are kept.")
    fold_s: float = key(
        30.0,
        applies="live",
        remote=True,
        ge=0,
        le=3600,
        description="Identical messages within this time are logged once and counted. 0: each is logged.",
    )


Fps = Annotated[float, Field(gt=0, le=1000)]


class Governor(Part):
    """Lowers the frame rate of a device under strain in steps, and raises it again."""

    enabled: bool = key(True, applies="part", remote=True, description="Govern; without a sensor nothing happens.")
    temperature_c: float | None = key(
        80.0,
        applies="part",
        remote=True,
        ge=30,
        le=120,
        description="Temperature of the processor from which it works less. Null: it is not looked at.",
    )
    cool_c: float = key(
        5.0,
        applies="part",
        remote=True,
        gt=0,
        le=50,
        description="Degrees below temperature_c at which it has recovered.",
    )
    throttling: bool = key(
        True, applies="part", remote=True, description="Work less while the processor is throttled, where that is told."
    )
    load: float | None = key(
        None,
        applies="part",
        remote=True,
        gt=0,
        le=1000,
        description="Runnable tasks a core, mean of a minute, from which it works less. Default: not looked at.",
    )
    steps_fps: Annotated[tuple[Fps, ...], falling] = key(
        (10.0, 5.0, 2.0, 1.0),
        applies="part",
        remote=True,
        strict=False,
        min_length=1,
        max_length=8,
        description="Most frames a second of each camera after one, two, … steps down.",
    )
    settle_s: float = key(15.0, applies="part", remote=True, ge=1, le=3600, description="Time between two steps down.")
    recover_s: float = key(
        60.0, applies="part", remote=True, ge=1, le=86_400, description="Time without strain before a step up."
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
    capture: Capture = section(Capture, applies="agent", remote=False)
    zones: dict[Name, Zone] = key(
        {}, applies="part", remote=True, max_length=MAX_ZONES, description="Zones and lines, by name."
    )
    inference: Inference = section(Inference, applies="part", remote=True)
    registry: Registry = section(Registry, applies="part", remote=True)
    mqtt: Mqtt = section(Mqtt, applies="agent", remote=True)
    report: Report = section(Report, applies="part", remote=True)
    deploy: Deploy = section(Deploy, applies="agent", remote=True)
    logs: Logs = section(Logs, applies="agent", remote=True)
    outbox: Outbox = section(Outbox, applies="part", remote=True)
    home_assistant: HomeAssistant = section(HomeAssistant, applies="part", remote=True)
    remote: Remote = section(Remote, applies="live", remote=False)
    web: Web = section(Web, applies="agent", remote=False)
    governor: Governor = section(Governor, applies="part", remote=True)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Config:
        found = clashes(self.model_dump(by_alias=True))
        if found:
            raise wrong("; ".join(f"{dotted(clash.path)}: {clash.message}" for clash in found), kind="cross")
        return self


def inference_threads(inference: Inference, cores: int) -> int:
    """How many threads one model gets on a host with ``cores``: as configured, else so many that one core is free."""
    return inference.threads or max(1, cores - max(1, inference.concurrency))
