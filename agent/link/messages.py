"""Every JSON message of the link as a frozen struct, and the pure functions that build them.

Field names and values are constants of the wire: add, never rename. Every object carries ``"v": 1`` (but ``update``,
which holds Home Assistant's keys only). Floats are rounded when a message is built: boxes to 1 decimal, scores to 3,
milliseconds to 2. Times are RFC 3339 with milliseconds, UTC. Builders run on the producer's thread and encode
nothing: :func:`encode` is called by the publisher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agent.clock import rfc3339
from agent.deploy.records import DeploymentStatus
from agent.errors import LookoutError, Problem
from agent.process.messages import Condition
from agent.telemetry.rows import (
    CameraRow,
    Counters,
    GovernorRow,
    LinkRow,
    LoopRow,
    ModelRow,
    ProcessRow,
    QueueRow,
    row,
)
from agent.types import Event, Result, RunOptions

MAX_COMMAND_BYTES = 64 * 1024

_ENCODER = msgspec.json.Encoder()

_S = TypeVar("_S", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as JSON; a number that is not finite becomes ``null``. Raises ``TypeError``: a bug."""
    return _ENCODER.encode(message)


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """Root of the messages: ``v`` is the version of the message's form."""

    v: Literal[1] = 1


# --- what the device says of itself --------------------------------------------------------------------------------


class ModelInfo(msgspec.Struct, frozen=True):
    """The release that serves a pipeline; ``options``: how ONNX Runtime runs it on the CPU."""

    model: str
    version: str
    digest: str
    options: RunOptions | None = None


class Trust(msgspec.Struct, frozen=True):
    """How the device stands to its registry: ``ok``, ``not_provisioned``, ``metadata_expired``, …, and in words why."""

    state: str
    reason: str = ""


class Info(Versioned, frozen=True, kw_only=True):
    """``info``: what this device is. ``boot`` is the number of this start, ``session`` connections since then.

    ``instance`` is a random word of this start: two devices of one id are told apart by it.
    """

    device: str
    device_class: str | None = None
    groups: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    host: dict[str, str | int | float | None] = {}
    providers: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    models: dict[str, ModelInfo | None] = {}
    boot: int = 0
    session: int = 0
    instance: str = ""
    protocol: str = ""
    trust: Trust = Trust("unknown")
    warnings: tuple[str, ...] = ()


class ZoneState(msgspec.Struct, frozen=True):
    """A zone: how many of each label are in it."""

    counts: dict[str, int]
    occupancy: bool


class LineState(msgspec.Struct, frozen=True, rename={"in_": "in"}):
    """A line: how often it was crossed each way since the agent started."""

    in_: int
    out: int


class CameraState(Versioned, frozen=True, kw_only=True):
    """``state/<camera>``, on change: how many of each label are seen, and whether the camera is well.

    Counts are those of tracks, which do not flicker, or, where nothing is tracked, of one frame. ``conditions`` say
    what is wrong with the pictures of a camera that streams; ``changed_fps`` counts those that differ from the last.
    """

    counts: dict[str, int] = {}
    occupancy: bool = False
    health: str
    reason: str = ""
    fps: float = 0.0
    zones: dict[str, ZoneState] = {}
    lines: dict[str, LineState] = {}
    conditions: tuple[Condition, ...] = ()
    changed_fps: float | None = None


class Seen(msgspec.Struct, frozen=True):
    """A box of a frame, source pixels ``x1 y1 x2 y2``."""

    track: int | None
    class_id: int
    label: str
    score: float
    box: tuple[float, float, float, float]


class Class(msgspec.Struct, frozen=True):
    """A class of the whole frame."""

    class_id: int
    label: str
    score: float


class Detections(Versioned, frozen=True, kw_only=True):
    """``detections/<camera>``: one frame.

    ``frame`` counts the camera's frames; ``index`` is its place in a file or folder (wraps with the loop). ``model``
    is ``name:version``; ``config`` the revision in force. A detector's message has ``detections``, a classifier's
    ``classes``.
    """

    camera: str
    frame: int
    index: int
    at: str
    size: tuple[int, int]
    model: str
    digest: str
    config: int | None
    latency_ms: float
    detections: tuple[Seen, ...] | UnsetType = UNSET
    classes: tuple[Class, ...] | UnsetType = UNSET


class EventTrack(msgspec.Struct, frozen=True):
    """The track that an event is about, as it was last seen.

    ``zones`` are those it is in, ``entered`` all it was ever in; ``velocity`` is in pixels a second, right and down.
    """

    id: int
    label: str
    score: float
    top_score: float
    box: tuple[float, float, float, float]
    first_seen: str
    last_seen: str
    zones: tuple[str, ...]
    entered: tuple[str, ...]
    stationary: bool
    velocity: tuple[float, float]


class EventMessage(Versioned, frozen=True, kw_only=True):
    """``events/<camera>``: the beginning, a change or the end of a track, of its stay in a zone, or a crossing.

    ``id`` (``<boot counter>-<sequence>``) is this message's own: the same one may come twice. ``kind`` says what
    begins, changes or ends; ``place`` names the zone or line. A stay has ``dwell_s`` and ``loitering``; a crossing is
    told once, as ``new``, with its ``direction``.
    """

    id: str
    type: Literal["new", "update", "end"]
    kind: Literal["track", "zone", "line"]
    at: str
    camera: str
    model: str
    digest: str
    track: EventTrack
    place: str | UnsetType = UNSET
    direction: Literal["in", "out"] | UnsetType = UNSET
    dwell_s: float | UnsetType = UNSET
    loitering: bool | UnsetType = UNSET


class Telemetry(Versioned, frozen=True, kw_only=True):
    """``telemetry``: the host's rows by key, each pipeline, camera, model and process, the queues, the counters.

    A row of the host that this host cannot have is left out, one that could not be read just now is null. What each row
    says is in docs/telemetry.md. ``link`` says how the connection does. ``governor`` null: it is off, or this host has
    no sensor for it.
    """

    at: str
    uptime_s: Annotated[float, row("time since the agent started", "s", name="uptime")]
    host: dict[str, float | None]
    loop: dict[str, LoopRow]
    cameras: dict[str, CameraRow]
    models: dict[str, ModelRow]
    counters: Counters
    link: LinkRow
    governor: GovernorRow | None = None
    processes: dict[str, ProcessRow] = {}
    queues: QueueRow = QueueRow()


class Deploy(DeploymentStatus, frozen=True, kw_only=True):
    """``deploy/<pipeline>``: where a deployment stands, with its receipt."""

    v: Literal[1] = 1


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """``update/<pipeline>``: Home Assistant's keys, without ``v``; an unknown version is left out."""

    installed_version: str | UnsetType = UNSET
    latest_version: str | UnsetType = UNSET
    in_progress: bool | UnsetType = UNSET
    title: str | UnsetType = UNSET


# --- desired and reported -------------------------------------------------------------------------------------------


class Desired(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``desired``: the complete remote overlay that the operator wants, and the models by pipeline.

    Newer is what has the higher ``epoch``, or the same and the higher ``version``; anything else is ignored.
    """

    v: Literal[1]
    epoch: Annotated[int, Meta(ge=0, le=2**53)] = 0
    version: Annotated[int, Meta(ge=1, le=2**53)]
    config: dict[str, Any] = {}
    models: dict[str, str] = {}


class KeyProblem(msgspec.Struct, frozen=True):
    """What is wrong with one key: ``value`` as written (secrets hidden), ``message`` with what would be right."""

    path: str
    value: str | None
    message: str

    @classmethod
    def of(cls, problem: Problem) -> KeyProblem:
        """Say what the problem says."""
        hint = "" if problem.hint is None else f"; {problem.hint}"
        return cls(problem.path, problem.value, f"{problem.message}{hint}")

    @classmethod
    def all_of(cls, error: LookoutError) -> tuple[KeyProblem, ...]:
        """Say what the error says, key by key where it does; at least one."""
        return tuple(map(cls.of, error.problems)) or (cls(error.field or "", None, error.message),)


class Reported(Versioned, frozen=True, kw_only=True):
    """``reported``: what is applied, and what became of the last change.

    ``epoch`` and ``version`` are those of the last ``desired`` that was applied (0, 0: none); ``revision`` counts
    changes of what is in force; ``config`` is the remote overlay in force, without secrets, ``models`` the references
    wanted by ``desired``. ``state``: ``committed``; ``probation``: it undoes itself at ``until`` unless it proves good
    (``needs_confirm``: and unless ``config/confirm`` comes); ``reverted``: the last change did, for ``reason``.
    ``errors`` belong to the change that was refused last (``refused``: its epoch and version, where it was a
    ``desired``). ``restart_needed``: keys that hold from the next start on.
    """

    epoch: int = 0
    version: int = 0
    revision: int = 0
    state: Literal["committed", "probation", "reverted"] = "committed"
    reason: str = ""
    until: str | None = None
    needs_confirm: bool = False
    config: dict[str, Any] = {}
    models: dict[str, str] = {}
    errors: tuple[KeyProblem, ...] = ()
    refused: tuple[int, int] | None = None
    restart_needed: tuple[str, ...] = ()
    file: str = ""


class LogLine(Versioned, frozen=True, kw_only=True):
    """``logs``: one record, ``dropped`` of which were left out just before it because of the rate bound."""

    at: str
    level: str
    event: str
    part: str | None = None
    child: str | None = None
    dropped: int = 0
    fields: dict[str, Any] = {}


# --- commands ------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``cmd/<part>/<verb>``. With an ``id`` it runs once; after ``expires_at`` (RFC 3339 with zone) not at all.

    ``progress``: tell how far a long one is, see :class:`Progress`.
    """

    v: Literal[1]
    id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    args: dict[str, Any] = {}
    expires_at: Annotated[str, Meta(max_length=64)] | None = None
    progress: bool = False


class Failure(msgspec.Struct, frozen=True):
    """Why not: ``code`` is for programs, ``message`` for people, ``field`` the argument it speaks of.

    ``problems``: key by key, where a configuration is wrong.
    """

    code: str
    message: str
    field: str | None = None
    problems: tuple[KeyProblem, ...] | UnsetType = UNSET

    @classmethod
    def of(cls, error: LookoutError) -> Failure:
        """Say what the error says."""
        return cls(error.code, error.message, error.field, tuple(map(KeyProblem.of, error.problems)) or UNSET)


class Progress(Versioned, frozen=True, kw_only=True):
    """How far a long command is, sent where its result will go, if the command asked with ``"progress": true``.

    It has no ``ok``: the result still comes. ``done`` is 0..1, None where that is unknown.
    """

    id: str | None
    progress: str
    done: float | None = None


class CommandResult(Versioned, frozen=True, kw_only=True):
    """``result/<part>/<verb>``, or what goes to the response topic: ``result`` if ``ok``, else ``error``."""

    id: str | None
    ok: bool
    result: Any = UNSET
    error: Failure | UnsetType = UNSET


# --- builders ------------------------------------------------------------------------------------------------------


def rounded(record: _S, digits: int = 3) -> _S:
    """Return a copy with every float inside rounded, through nested structs, tuples and dicts."""
    changes = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        tidy = _rounded(value, digits)
        if tidy is not value:
            changes[name] = tidy
    return msgspec.structs.replace(record, **changes) if changes else record


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else value
    if isinstance(value, msgspec.Struct):
        return rounded(value, digits)
    if isinstance(value, tuple):
        return tuple(_rounded(item, digits) for item in value)
    if isinstance(value, dict):
        return {key: _rounded(item, digits) for key, item in value.items()}
    return value


def detections_message(result: Result, *, config: int | None = None) -> Detections:
    """Build the message of one answered frame."""
    frame, release = result.frame, result.release
    return Detections(
        camera=frame.camera,
        frame=frame.sequence,
        index=frame.source_index,
        at=rfc3339(frame.at_utc_ms),
        size=(frame.width, frame.height),
        model=f"{release.model}:{release.version}",
        digest=release.digest,
        config=config,
        latency_ms=round(result.latency_ms, 2),
        detections=UNSET
        if result.detections is None
        else tuple(Seen(d.track, d.class_id, d.label, round(d.score, 3), _tidy_box(d.box)) for d in result.detections),
        classes=UNSET
        if result.classes is None
        else tuple(Class(c.class_id, c.label, round(c.score, 3)) for c in result.classes),
    )


def event_message(event: Event) -> EventMessage:
    """Build the message of one event."""
    track, release = event.track, event.release
    return EventMessage(
        id=event.id,
        type=event.type,
        kind=event.kind,
        at=rfc3339(event.at_utc_ms),
        camera=event.camera,
        model=f"{release.model}:{release.version}",
        digest=release.digest,
        track=EventTrack(
            id=track.id,
            label=track.label,
            score=round(track.score, 3),
            top_score=round(track.top_score, 3),
            box=_tidy_box(track.box),
            first_seen=rfc3339(track.first_seen_utc_ms),
            last_seen=rfc3339(track.last_seen_utc_ms),
            zones=event.zones,
            entered=event.entered,
            stationary=track.stationary,
            velocity=(round(track.velocity[0], 1), round(track.velocity[1], 1)),
        ),
        place=UNSET if event.place is None else event.place,
        direction=UNSET if event.direction is None else event.direction,
        dwell_s=UNSET if event.dwell_s is None else round(event.dwell_s, 3),
        loitering=event.loitering if event.kind == "zone" else UNSET,
    )


def _tidy_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    return round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)


def deploy_message(status: DeploymentStatus) -> Deploy:
    """Build the message of a deployment's state."""
    tidy = rounded(status)
    return Deploy(**{name: getattr(tidy, name) for name in tidy.__struct_fields__})


def update_message(status: DeploymentStatus) -> Update:
    """Build what Home Assistant's update entity reads."""
    model = status.candidate or status.current
    return Update(
        installed_version=UNSET if status.current is None else status.current.version,
        latest_version=UNSET if status.latest is None else status.latest,
        in_progress=status.under_way,
        title=UNSET if model is None else model.model,
    )


def success(command_id: str | None, result: msgspec.Struct | Mapping[str, Any]) -> CommandResult:
    """Build the answer of a command that was done."""
    return CommandResult(
        id=command_id, ok=True, result=rounded(result) if isinstance(result, msgspec.Struct) else result
    )


def failure(command_id: str | None, error: LookoutError) -> CommandResult:
    """Build the answer of a command that was refused or failed."""
    return CommandResult(id=command_id, ok=False, error=Failure.of(error))
