"""What the agent and its children say to one another.

Each message is a frozen msgspec struct, tagged by name and sent as msgpack, at most :data:`MAX_BYTES`; anything
larger travels in a memfd whose descriptor rides along. ``Hello`` opens every conversation and carries
:data:`PROTOCOL`: a child of another version is refused by the agent, never guessed at. Only the agent grants slots.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from agent.errors import LookoutError
from agent.types import Box, CameraName, ModelSpec, Role, RunCost, RunOptions, TensorInfo, Timings

PROTOCOL = 1
MAX_BYTES = 64 * 1024
MAX_ERROR_CHARS = 12_000
"""At most 4 bytes each in UTF-8: an error fits one packet."""


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """Root of all messages; a subclass' name is its tag on the wire."""


# --- both kinds of child ---------------------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """A child's first message. ``process``: worker, capture, fetch or inspect; ``versions`` names its libraries."""

    process: str
    pid: int
    protocol: int = PROTOCOL
    versions: dict[str, str] = {}
    providers: tuple[str, ...] = ()


class Stop(Message, frozen=True):
    """Agent to child: finish what is in flight and end."""


class LogLevel(Message, frozen=True):
    """Agent to child: log at this level and above from now on; :mod:`agent.process.lifeline` sees to it."""

    level: str


class Error(Message, frozen=True):
    """Child to agent: a request failed. ``code`` is that of the LookoutError; the child goes on unless it then ends."""

    code: str
    message: str
    field: str | None = None
    request: int | None = None
    camera: CameraName | None = None

    @classmethod
    def of(cls, error: LookoutError, *, request: int | None = None, camera: CameraName | None = None) -> Error:
        """Tell what ``error`` says, cut to what fits one packet."""
        return cls(error.code, error.message[:MAX_ERROR_CHARS], error.field, request, camera)


class AttachRing(Message, frozen=True):
    """Agent to child, with the memfd's descriptor: frames of this camera and generation lie here, BGR uint8."""

    camera: CameraName
    generation: int
    width: int
    height: int
    slots: int


class DetachRing(Message, frozen=True):
    """Agent to child: forget this generation; nothing of it will be asked for again."""

    camera: CameraName
    generation: int


# --- worker ----------------------------------------------------------------------------------------------------------


class Load(Message, frozen=True):
    """Agent to worker, once: build the session and warm it up.

    ``score_floor`` is the lowest score worth answering. ``options``: how ONNX Runtime is to run it. ``optimized``: the
    same model, optimised on this host before; ``optimize_to``: where to leave that for the next time (empty: no).
    ``data_limit_bytes``: what loading and the first run may allocate (0: no limit); it is lifted at ``Ready``.
    """

    spec: ModelSpec
    path: str
    providers: tuple[str, ...]
    options: RunOptions
    score_floor: float
    optimized: str = ""
    optimize_to: str = ""
    data_limit_bytes: int = 0


class Ready(Message, frozen=True):
    """Worker to agent: loaded and warm. ``warnings`` says in words which wished-for provider was missing."""

    providers: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    load_ms: float
    first_run_ms: float
    warnings: tuple[str, ...] = ()


class Infer(Message, frozen=True):
    """Agent to worker: answer the frame in this slot. Answers come in the order of the requests."""

    request: int
    camera: CameraName
    generation: int
    slot: int
    role: Role


class InferFile(Message, frozen=True):
    """Agent to worker: answer the picture in this file (a golden image)."""

    request: int
    path: str
    role: Role = "trial"


class Output(Message, frozen=True):
    """Worker to agent: one answer, or with ``Error(request=…)`` the reason why there is none.

    ``detections``: float32 rows ``x1 y1 x2 y2 score class_id`` in pixels of the source frame, best first.
    ``classes``: float32 rows ``score class_id``, best first. Exactly one is not None.
    """

    request: int
    role: Role
    width: int
    height: int
    timings: Timings
    detections: bytes | None = None
    classes: bytes | None = None


# --- tuning ----------------------------------------------------------------------------------------------------------


class Tune(Message, frozen=True):
    """Agent to tuning: time the model of ``load`` on the picture under each of ``options``, for ``seconds`` in all.

    The options that ``load`` itself names are of no matter. Each has at least one timed run, unless the time is over.
    """

    load: Load
    picture: str
    options: tuple[RunOptions, ...]
    seconds: float


class Tuned(Message, frozen=True):
    """Tuning to agent: what was measured, in the order asked for; those for which no time was left are missing."""

    costs: tuple[RunCost, ...]


# --- capture ---------------------------------------------------------------------------------------------------------


Points = tuple[tuple[float, float], ...]
"""Corners of a polygon, x and y. Where no number exceeds 1 they are parts of the frame's size, else pixels."""


class View(msgspec.Struct, frozen=True):
    """What is made of a source's picture before anybody sees it: turned clockwise by ``rotate``, then cut.

    ``crop`` is ``x1 y1 x2 y2`` of the turned picture, pixels or (all within 0..1) parts of it. ``masks`` are polygons
    on the result: black in every picture that leaves the device, and for the model too with ``mask_inference``.
    """

    rotate: Literal[0, 90, 180, 270] = 0
    crop: tuple[float, float, float, float] | None = None
    masks: tuple[Points, ...] = ()
    mask_inference: bool = False


class MotionSpec(msgspec.Struct, frozen=True):
    """How motion is measured: from ``contrast`` grey levels on.

    Inside ``include`` (empty: everywhere) and outside ``exclude``, polygons on the picture as ``view`` makes it.
    """

    contrast: float = 6.0
    include: tuple[Points, ...] = ()
    exclude: tuple[Points, ...] = ()


class SourceSpec(msgspec.Struct, frozen=True):
    """Where a camera's frames come from: a path, folder, URL, device, GStreamer pipeline or picamera2's index.

    ``pace`` ``lossless`` waits for a free slot instead of dropping (file, images and pattern only); ``realtime``
    follows ``fps`` (the file's own where None). ``width``, ``height``, ``fps``, ``fourcc`` are asked of devices and
    are what a pattern has. ``transport`` is RTSP's, ``seed`` a pattern's. ``motion`` None: it is not measured.
    """

    kind: Literal["file", "images", "url", "device", "gstreamer", "picamera2", "pattern"]
    location: str
    pace: Literal["realtime", "lossless"] = "realtime"
    loop: bool = False
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    fourcc: str | None = None
    open_timeout_ms: int = 3000
    read_timeout_ms: int = 2000
    transport: Literal["tcp", "udp"] = "tcp"
    seed: int = 0
    view: View = View()
    motion: MotionSpec | None = None


class Open(Message, frozen=True):
    """Agent to capture: open this camera, and keep it open (reconnecting) until ``Close``.

    ``start_index`` and ``start_sequence`` let a file or folder go on where a capture process that died had come to;
    ``start_skipped`` is what it had counted.
    """

    camera: CameraName
    source: SourceSpec
    start_index: int = 0
    start_sequence: int = 0
    start_skipped: int = 0


class Close(Message, frozen=True):
    """Agent to capture: stop this camera."""

    camera: CameraName


class Closed(Message, frozen=True):
    """Capture to agent: the camera of a ``Close`` says nothing more; what comes now is about one opened later."""

    camera: CameraName


class NeedRing(Message, frozen=True):
    """Capture to agent: the camera delivers frames of this size; nothing flows until ``AttachRing`` and a ``Grant``."""

    camera: CameraName
    width: int
    height: int


class Grant(Message, frozen=True):
    """Agent to capture: this slot is yours to write."""

    camera: CameraName
    generation: int
    slot: int


class Frame(Message, frozen=True):
    """Capture to agent: the slot holds a whole frame; the grant is used up.

    ``skipped``: frames that this camera dropped for want of a granted slot, since it was opened. ``motion``: the share
    (0..1) of the watched area that differs from the background, 1 where that is not measured or not known yet.
    """

    camera: CameraName
    generation: int
    slot: int
    sequence: int
    source_index: int
    at_ns: int
    at_utc_ms: int
    skipped: int
    motion: float = 1.0


Condition = Literal["stale", "frozen", "dark", "overexposed", "blurred", "moved"]
"""What may be wrong with the pictures of a camera that streams."""


class Health(Message, frozen=True):
    """Capture to agent, on every change of state and of conditions: ``reason`` is in words, without credentials.

    ``ended``: a source without loop gave its last frame, and every frame before it was handed over. ``fps`` is the
    rate that the source declares, ``changed_fps`` that of pictures which differ from the one before (None: not
    measured yet). ``conditions`` say what is wrong with the pictures while the camera streams.
    """

    camera: CameraName
    state: Literal["opening", "streaming", "stalled", "failed", "ended"]
    reason: str = ""
    fps: float = 0.0
    conditions: tuple[Condition, ...] = ()
    changed_fps: float | None = None


class OverlayBox(msgspec.Struct, frozen=True):
    """A box to draw, pixels of the frame, with its text; ``hue`` (any number) chooses its colour."""

    box: Box
    text: str = ""
    hue: int = 0


class OverlayZone(msgspec.Struct, frozen=True):
    """A polygon (or, of two points, a line) to draw, pixels or parts of the frame, with its name."""

    points: Points
    text: str = ""


class Overlay(msgspec.Struct, frozen=True):
    """What is drawn into a picture. Privacy masks are not here: capture puts them over everything, always."""

    boxes: tuple[OverlayBox, ...] = ()
    zones: tuple[OverlayZone, ...] = ()


class Render(Message, frozen=True):
    """Agent to capture: make a JPEG of the frame in this slot, which the agent has leased for it.

    At most ``max_width`` pixels wide and ``max_bytes`` large. ``crop``: only this part of the frame, pixels.
    """

    request: int
    camera: CameraName
    generation: int
    slot: int
    overlay: Overlay = Overlay()
    max_width: int = 1280
    quality: int = 80
    max_bytes: int = 512 * 1024
    crop: Box | None = None


class Rendered(Message, frozen=True):
    """Capture to agent: the JPEG, ``size_bytes`` long, in the memfd that comes along. ``problem``: why there is none.

    Either way the slot of ``request`` is not read any more.
    """

    request: int
    camera: CameraName
    width: int = 0
    height: int = 0
    size_bytes: int = 0
    problem: str = ""


class Alive(Message, frozen=True):
    """Capture to agent, once a second: the process runs, whatever its cameras do."""


# --- fetch -----------------------------------------------------------------------------------------------------------


class RegistryAccess(msgspec.Struct, frozen=True):
    """How to reach a registry and where its trusted metadata and the store lie on this device.

    ``seen_versions`` (role → version) is what the journal has seen of the registry whose first root has the SHA-256
    ``seen_anchor``. ``min_versions`` (model → version): nothing below it is resolved. Files, not secrets, are named:
    the fetch process reads the token itself. ``proxy`` may hold credentials. ``rate_limit_bytes_s``: 0 is none.
    """

    url: str
    metadata_dir: str
    store_dir: str
    total_timeout_s: float = 900.0
    min_rate_bytes_s: int = 1024
    max_file_bytes: int = 512 * 1024 * 1024
    free_floor_bytes: int = 64 * 1024 * 1024
    seen_versions: dict[str, int] = {}
    seen_anchor: str = ""
    min_versions: dict[str, str] = {}
    token_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    proxy: str | None = None
    rate_limit_bytes_s: int = 0


class Survey(Message, frozen=True):
    """Agent to fetch, in place of a ``Fetch``: say what these references mean now, and what was yanked.

    ``releases`` (``model:version``) are those of which it matters whether they were yanked. Nothing is downloaded but
    signed metadata and indexes.
    """

    access: RegistryAccess
    references: tuple[str, ...]
    releases: tuple[str, ...]


class Fetch(Message, frozen=True):
    """Agent to fetch: bring the release that this reference means into the store."""

    access: RegistryAccess
    reference: str


class Progress(Message, frozen=True):
    """Fetch to agent, at most a few times a second: ``stage`` is ``resolving`` or ``fetching``."""

    stage: Literal["resolving", "fetching"]
    done_bytes: int = 0
    total_bytes: int = 0


class Refreshed(Message, frozen=True):
    """Fetch to agent: the signed metadata is up to date and on the disk. ``anchor``: SHA-256 of the first root.

    ``begun_anew``: roles whose versions may be lower than before, because a newer root gave them new keys.
    ``judged_at_ms``: the time by which it was found unexpired; the clock may have jumped since.
    """

    metadata_versions: dict[str, int]
    anchor: str
    judged_at_ms: int
    begun_anew: tuple[str, ...] = ()


class Resolved(msgspec.Struct, frozen=True):
    """What a reference means now; ``problem`` says in words why it means nothing."""

    version: str = ""
    digest: str = ""
    problem: str | None = None


class Surveyed(Message, frozen=True):
    """Fetch to agent: reference → what it means; release that was yanked (``model:version``) → reason."""

    resolved: dict[str, Resolved]
    yanked: dict[str, str]


class Fetched(Message, frozen=True):
    """Fetch to agent: the release is whole in the store. ``metadata_versions``: role → version, for the journal."""

    model: str
    version: str
    digest: str
    metadata_versions: dict[str, int] = {}


# --- inspection ------------------------------------------------------------------------------------------------------


class Inspect(Message, frozen=True):
    """Agent to inspection: look at this model file. ``name`` is what people call it (in the store it is a digest).

    ``memory_bytes`` bounds what a tensor may declare and what the inspection itself may need.
    """

    path: str
    name: str
    providers: tuple[str, ...]
    memory_bytes: int


class Inspected(Message, frozen=True):
    """Inspection to agent: nothing speaks against loading it. ``notes`` say in words what is worth knowing."""

    ir_version: int
    opset: int
    nodes: int
    weights_bytes: int
    notes: tuple[str, ...] = ()


AnyMessage = (
    Hello | Stop | LogLevel | Error | AttachRing | DetachRing
    | Load | Ready | Infer | InferFile | Output
    | Tune | Tuned
    | Open | Close | Closed | NeedRing | Grant | Frame | Health | Alive | Render | Rendered
    | Fetch | Survey | Refreshed | Progress | Surveyed | Fetched
    | Inspect | Inspected
)  # fmt: skip
