"""Names and frozen records that cross parts, threads and processes.

Records are frozen msgspec structs, so that the same object is shared between threads without a lock and travels
over a channel without a second definition. Boxes are ``xyxy`` in pixels of the source frame, floats, origin
top-left. Times are monotonic nanoseconds (``_ns``) or UTC milliseconds since the epoch (``utc_ms``). Scores are
0..1. A ``NewType`` is proof that the value was validated where it came in.
"""

from __future__ import annotations

from typing import Any, Literal, NewType

import msgspec

DeviceId = NewType("DeviceId", str)
CameraName = NewType("CameraName", str)
PipelineName = NewType("PipelineName", str)
ModelName = NewType("ModelName", str)
Digest = NewType("Digest", str)
"""Lower-case hex SHA-256. A release's digest is that of its ``manifest.json``'s bytes."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""What names of devices, cameras, pipelines, groups, models and zones look like."""

MB = 1_000_000
"""Bytes in the megabyte that figures and settings are given in."""

Box = tuple[float, float, float, float]

Task = Literal["detect", "classify"]
Role = Literal["serve", "trial", "shadow"]


class FrameRef(msgspec.Struct, frozen=True):
    """A frame that lies in a slot of its camera's ring.

    ``sequence`` counts the frames that capture handed over since the camera was opened; ``source_index`` is the
    index in a file or folder (it wraps with the loop), equal to ``sequence`` for live sources.
    """

    camera: CameraName
    generation: int
    slot: int
    sequence: int
    source_index: int
    at_ns: int
    at_utc_ms: int
    width: int
    height: int


class Detection(msgspec.Struct, frozen=True):
    """A box with class and score in one frame. ``track`` is filled in by the tracker."""

    class_id: int
    label: str
    score: float
    box: Box
    track: int | None = None


class Track(msgspec.Struct, frozen=True):
    """An object followed over frames, as it was last seen. A camera uses an ``id`` once within a start of the agent.

    ``label`` is voted over all sightings, ``score`` smoothed over them, ``top_score`` the best one. ``velocity`` is
    that of the box' centre, pixels of the source frame a second. ``stationary``: it has not moved for a while.
    """

    id: int
    label: str
    score: float
    top_score: float
    box: Box
    first_seen_ns: int
    last_seen_ns: int
    first_seen_utc_ms: int
    last_seen_utc_ms: int
    stationary: bool = False
    velocity: tuple[float, float] = (0.0, 0.0)


class Classification(msgspec.Struct, frozen=True):
    """A class of the whole frame, best first in a result."""

    class_id: int
    label: str
    score: float


class Timings(msgspec.Struct, frozen=True):
    """What one frame cost inside its worker, milliseconds a stage. ``wait_ms``: spent between stages."""

    wait_ms: float
    preprocess_ms: float
    run_ms: float
    postprocess_ms: float


class ReleaseId(msgspec.Struct, frozen=True):
    """Which release answered."""

    model: ModelName
    version: str
    digest: Digest

    def __str__(self) -> str:
        return f"{self.model}:{self.version}"


class Scene(msgspec.Struct, frozen=True):
    """What tracks say a camera sees: how many of each label, the same in each zone, ``in`` and ``out`` of each line.

    Tracks outlast frames in which their object was missed, so these counts do not flicker. Crossings are counted since
    the agent started.
    """

    counts: dict[str, int] = {}
    zones: dict[str, dict[str, int]] = {}
    lines: dict[str, tuple[int, int]] = {}


class Result(msgspec.Struct, frozen=True):
    """The answer for one frame: ``detections`` for a detector, ``classes`` for a classifier, the other is None.

    ``latency_ms`` is from capture to the moment the agent had the answer. ``scene`` is None where nothing is tracked.
    """

    frame: FrameRef
    release: ReleaseId
    detections: tuple[Detection, ...] | None
    classes: tuple[Classification, ...] | None
    timings: Timings
    latency_ms: float
    scene: Scene | None = None


EventType = Literal["new", "update", "end"]
EventKind = Literal["track", "zone", "line"]


class Event(msgspec.Struct, frozen=True):
    """``new``, ``update`` or ``end`` of a track (kind ``track``), of its stay in a zone, or its crossing of a line.

    ``id`` is ``<boot counter>-<sequence>``; ``zones`` are those the track is in now, ``entered`` all it was ever in.
    ``place`` names the zone or line that a ``zone`` or ``line`` event is about; ``direction`` says which way a line
    was crossed. ``dwell_s``: how long the stay in the zone has lasted; ``loitering``: as long as the zone calls so.
    """

    id: str
    type: EventType
    at_utc_ms: int
    camera: CameraName
    release: ReleaseId
    track: Track
    zones: tuple[str, ...] = ()
    entered: tuple[str, ...] = ()
    kind: EventKind = "track"
    place: str | None = None
    direction: Literal["in", "out"] | None = None
    dwell_s: float | None = None
    loitering: bool = False


# --- what a model wants and gives: the part of a manifest that inference needs -------------------------------------


class InputSpec(msgspec.Struct, frozen=True):
    """How a frame becomes the model's input: ``x = (pixel * scale - mean) / std``, per channel, in ``color``'s order.

    ``shape`` is in ``layout``'s order, batch 1. ``letterbox`` keeps the aspect ratio and fills with ``pad``.
    """

    name: str
    shape: tuple[int, int, int, int]
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    color: Literal["BGR", "RGB"] = "BGR"
    resize: Literal["letterbox", "stretch"] = "letterbox"
    anchor: Literal["top-left", "center"] = "top-left"
    pad: int = 114
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def height(self) -> int:
        """Input height in pixels."""
        return self.shape[2] if self.layout == "NCHW" else self.shape[1]

    @property
    def width(self) -> int:
        """Input width in pixels."""
        return self.shape[3] if self.layout == "NCHW" else self.shape[2]


class DecoderSpec(msgspec.Struct, frozen=True):
    """The family that reads the outputs, and its parameters (strides, reg_max, …)."""

    kind: str
    params: dict[str, Any] = {}


class ModelSpec(msgspec.Struct, frozen=True):
    """All that a worker must know of one variant of a release, beside its file."""

    release: ReleaseId
    task: Task
    input: InputSpec
    decoder: DecoderSpec
    num_classes: int
    nms_iou: float = 0.5
    max_detections: int = 100


class TensorInfo(msgspec.Struct, frozen=True):
    """An input or output as ONNX Runtime reports it; a dimension without a size is ``-1``."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class RunOptions(msgspec.Struct, frozen=True):
    """How ONNX Runtime runs a model on the CPU: threads of one operator, and how memory is had.

    ``spin`` lets its threads busy-wait for one another while a frame is computed, and never between two frames.
    ``concurrency``: frames that are computed at once, through one session whose threads they share.
    """

    threads: int
    spin: bool = False
    arena: bool = True
    concurrency: int = 1


class RunCost(msgspec.Struct, frozen=True):
    """What a model costs under ``options`` on this host: time and processor time of a run, milliseconds."""

    options: RunOptions
    run_ms: float
    cpu_ms: float
    runs: int

    @property
    def interval_ms(self) -> float:
        """Time between two results, where as many frames as may be are computed at once."""
        return self.run_ms / self.options.concurrency


# --- what leaves the device ----------------------------------------------------------------------------------------


class Correlation(msgspec.Struct, frozen=True):
    """Where a command's answer goes: MQTT 5 response topic and correlation data."""

    response_topic: str
    data: bytes | None = None


class Outgoing(msgspec.Struct, frozen=True):
    """One message for the broker; everything that leaves the device over MQTT is one of these.

    ``topic`` is below ``<prefix>/<device>/`` unless ``correlation`` names a response topic. ``payload`` is bytes, or a
    msgspec struct that the publisher encodes as JSON (never the producer's thread). ``stream``: order is kept within
    one stream. A higher ``priority`` goes first; ``durable`` must survive a restart until acknowledged; after
    ``expires_at_ns`` (monotonic) it is worth nothing. A newer message of one ``replaces`` key takes the older's place,
    unless the older is ``final``: how something ended is sent before what came next.
    """

    topic: str
    payload: bytes | msgspec.Struct
    qos: Literal[0, 1] = 0
    retain: bool = False
    stream: str = ""
    priority: int = 0
    durable: bool = False
    expires_at_ns: int | None = None
    replaces: str | None = None
    correlation: Correlation | None = None
    final: bool = False
