"""The rows of telemetry that are told of each camera, pipeline, model, process and queue. Pure.

A row is a field of one of the structs below, with what is to be known of it beside it (:func:`row`): the MQTT message
has it under its name, Prometheus as a metric (:mod:`agent.telemetry.prometheus`), Home Assistant where it is shown,
the reference in ``docs/telemetry.md``. To add one is to add a field. Rows of the host are in
:mod:`agent.telemetry.host`, since those can be had or not.

Names are constants of the wire: add, never rename.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agent.telemetry.histogram import Snapshot

Kind = Literal["gauge", "counter", "state", "window"]
"""``counter``: it only grows while the agent runs. ``state``: a word, or some. ``window``: of the time since the last
message, and so for those who read messages."""


@dataclass(frozen=True)
class Column:
    """What is to be known of a row. ``path`` leads to its value, from the struct on; ``key`` is the last of it.

    ``device_class`` is Home Assistant's word where it has one, ``name`` a person's short word for the row; ``shown``:
    worth a place where only the most telling rows are listed.
    """

    description: str
    unit: str = ""
    kind: Kind = "gauge"
    device_class: str | None = None
    name: str = ""
    shown: bool = False
    key: str = ""
    path: tuple[str, ...] = ()

    def value(self, of: msgspec.Struct) -> Any:
        """Return what ``of`` has there."""
        found: Any = of
        for name in self.path:
            found = getattr(found, name)
        return found


def row(
    description: str,
    unit: str = "",
    kind: Kind = "gauge",
    *,
    device_class: str | None = None,
    name: str = "",
    shown: bool = False,
) -> Meta:
    """Return what a field is annotated with; see :class:`Column`."""
    return Meta(description=description, extra={"column": Column(description, unit, kind, device_class, name, shown)})


def columns(struct: type[msgspec.Struct]) -> tuple[Column, ...]:
    """Return the rows of a struct, those of structs within it too."""
    return tuple(_columns(struct, ()))


def _columns(struct: type[msgspec.Struct], above: tuple[str, ...]) -> Iterator[Column]:
    for name, kind in typing.get_type_hints(struct, include_extras=True).items():
        column = next((meta.extra["column"] for meta in _metas(kind) if meta.extra), None)
        if column is not None:
            yield replace(column, key=name, path=(*above, name))
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _columns(kind, (*above, name))


def _metas(kind: Any) -> Iterator[Meta]:
    return (meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, Meta))


# --- frames ----------------------------------------------------------------------------------------------------------


class Counters(msgspec.Struct, frozen=True):
    """Frames since the agent started.

    ``lost``: taken for inference and never answered; ``skipped``: a live frame that a newer one replaced; ``gated``:
    left out by the motion gate.
    """

    captured: Annotated[int, row("frames that capture handed over", "frames", "counter")] = 0
    answered: Annotated[int, row("frames that a model answered", "frames", "counter")] = 0
    lost: Annotated[int, row("frames that were taken for inference and never answered", "frames", "counter")] = 0
    skipped: Annotated[int, row("live frames that a newer one replaced", "frames", "counter")] = 0
    gated: Annotated[int, row("frames that the motion gate left out", "frames", "counter")] = 0


class LatencyRow(msgspec.Struct, frozen=True):
    """A distribution over the time since the last telemetry, milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def latency_row(samples: Snapshot) -> LatencyRow:
    """Sum a distribution up."""
    return LatencyRow(
        count=samples.count,
        mean_ms=round(samples.mean_ms, 2),
        p50_ms=round(samples.p50_ms, 2),
        p95_ms=round(samples.p95_ms, 2),
        p99_ms=round(samples.p99_ms, 2),
        max_ms=round(samples.max_ms, 2),
    )


# --- what there is one of for each of something -----------------------------------------------------------------------


class CameraRow(msgspec.Struct, frozen=True):
    """One camera."""

    health: Annotated[str, row("how the camera does", kind="state")]
    fps: Annotated[float, row("frames that were answered, a second", "fps", name="frame rate")]
    counters: Counters


class LoopRow(msgspec.Struct, frozen=True):
    """One pipeline: ``stages`` by name, ``model`` as ``name:version`` of who serves."""

    fps: Annotated[float, row("frames that were answered, a second", "fps", name="frame rate", shown=True)]
    in_flight: Annotated[int, row("frames that a worker has and has not answered yet", "frames")]
    model: Annotated[str | None, row("the release that serves", kind="state")]
    digest: str | None
    counters: Counters
    stages: dict[str, LatencyRow]
    latency_p95_ms: Annotated[
        float | None,
        row("camera to answer, 95 % of frames", "ms", "window", device_class="duration", name="latency", shown=True),
    ] = None
    failed: Annotated[int, row("frames that a model answered with what is no number", "frames", "counter")] = 0
    resent: Annotated[int, row("frames that went to another worker, since theirs died", "frames", "counter")] = 0
    swaps: Annotated[int, row("times that another worker began to serve", "swaps", "counter")] = 0
    workers_lost: Annotated[int, row("times that the serving worker died or hung", "workers", "counter")] = 0


class ModelRow(LatencyRow, frozen=True, kw_only=True):
    """One release that serves: its ``run`` stage, and what it needs. ``memory_mb`` null: it has no worker just now."""

    frames: Annotated[int, row("frames that it answered since it serves", "frames", "counter")] = 0
    memory_mb: Annotated[float | None, row("memory of the processes that it runs in", "MB")] = None
    providers: Annotated[tuple[str, ...], row("what it really runs on", kind="state")] = ()


class ProcessRow(msgspec.Struct, frozen=True):
    """One of the agent's processes: ``agent``, ``capture``, ``worker-…``. Memory is PSS: shared parts by share."""

    memory_mb: Annotated[float, row("memory of the process, shared parts by share", "MB")]
    cpu_percent: Annotated[float | None, row("processor time of the process, of one core", "%")]


class QueueRow(msgspec.Struct, frozen=True):
    """What waits in the agent's queues just now."""

    publisher: Annotated[int, row("messages that are not encoded yet", "messages")] = 0
    outbox: Annotated[int, row("messages that wait for the broker", "messages")] = 0
    unacknowledged: Annotated[int, row("messages that the broker has not confirmed yet", "messages")] = 0
    commands: Annotated[int, row("commands that wait for those before them", "commands")] = 0


class LinkRow(msgspec.Struct, frozen=True):
    """How the connection to the broker does; numbers but those of what waits are since the agent started."""

    connected: Annotated[int, row("1 while connected to the broker", name="connected")] = 0
    published: Annotated[int, row("messages that parts gave to be sent", "messages", "counter")] = 0
    sent: Annotated[int, row("messages that were sent", "messages", "counter")] = 0
    acknowledged: Annotated[int, row("messages that the broker confirmed", "messages", "counter")] = 0
    waiting: int = 0
    unacknowledged: int = 0
    expired: Annotated[int, row("messages that grew too old to be worth sending", "messages", "counter")] = 0
    dropped: Annotated[int, row("messages that were dropped for want of room, or too old", "messages", "counter")] = 0
    dropped_durable: Annotated[int, row("of them events and results, for want of room", "messages", "counter")] = 0
    dropped_aged: Annotated[int, row("of them events and results, too old", "messages", "counter")] = 0
    unsaved: Annotated[int, row("events and results in memory only, since the disk is full or broken", "messages")] = 0
    flushes: Annotated[int, row("times that the outbox was synced to the disk", "flushes", "counter")] = 0
    sessions: Annotated[int, row("connections that were made", "sessions", "counter")] = 0
    failures: Annotated[int, row("connections that failed or broke", "failures", "counter")] = 0


class GovernorRow(msgspec.Struct, frozen=True):
    """How far the device works less: ``level`` 0 not at all, else the steps down, why, and a camera's frame rate."""

    level: Annotated[int, row("steps that the device works less: 0 is none")]
    reason: str
    max_fps: Annotated[float | None, row("frame rate that a camera is held to", "fps")]


SCOPES: dict[str, type[msgspec.Struct]] = {
    "camera": CameraRow,
    "pipeline": LoopRow,
    "model": ModelRow,
    "process": ProcessRow,
    "queue": QueueRow,
    "link": LinkRow,
    "governor": GovernorRow,
}
"""What each struct is told of."""

PLACES = {
    "host": "host",
    "camera": "cameras.<camera>",
    "pipeline": "loop.<pipeline>",
    "model": "models.<model>",
    "process": "processes.<process>",
    "queue": "queues",
    "link": "link",
    "governor": "governor",
}
"""Where each is in the message."""
