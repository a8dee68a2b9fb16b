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


class Result(msgspec.Struct, frozen=True):
    """The answer for one frame: ``detections`` for a detector, ``classes`` for a classifier, the other is None.

    ``latency_ms`` is from capture to the moment the agent had the answer.
    """

    frame: FrameRef
    release: ReleaseId
    detections: tuple[Detection, ...] | None
    classes: tuple[Classification, ...] | None
    timings: Timings
    latency_ms: float


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
