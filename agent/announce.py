"""What the device tells of its own accord: detections, each camera's state, deployments, and what it is.

Producers hand over and go on; messages are built on one thread, ``lookout-announcer``, and go out through ``publish``.
Retained ones carry a ``replaces`` key, so that the broker always ends with the newest. How a deployment ended is told
even where the next one has begun before it could be sent: whoever ordered it and watches the topic sees its end.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from agent.config.schema import Report
from agent.deploy.machine import TERMINAL, State
from agent.deploy.records import DeploymentStatus
from agent.link.client import SessionStatistics
from agent.link.messages import (
    CameraState,
    Info,
    LineState,
    ZoneState,
    deploy_message,
    detections_message,
    event_message,
)
from agent.link.topics import relative
from agent.loop.ports import HealthSink, Sink
from agent.loop.sinks import CameraSummary, HandOver, Reports, States
from agent.types import Event, Outgoing, Result

Item = Result | CameraSummary | DeploymentStatus | None
"""What is handed over; None: tell anew what the device is."""

LIMIT = 256

EVENT_PRIORITY = 5
"""Above detections and telemetry, below what is retained and what answers a person."""


class Announcer:
    """See the module. ``sinks`` and ``health_sinks`` are for pipelines, the other methods for any thread."""

    def __init__(self, publish: Callable[[Outgoing], None], report: Report) -> None:
        self._publish = publish
        self._info: Callable[[], Info] | None = None
        self._models: dict[str, str | None] = {}
        self._ends: dict[str, tuple[State, str | None, str]] = {}
        self._sessions = 0
        self._queue: HandOver[Item] = HandOver("announcer", self._tell, limit=LIMIT)
        self._reports = Reports(self._queue.put, hz=report.detections_hz, all_frames=report.all)
        self._states = States(self._queue.put)

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """What takes results, on a pipeline's thread."""
        return (self._reports, self._states)

    @property
    def health_sinks(self) -> tuple[HealthSink, ...]:
        """What takes changes of cameras, on a pipeline's thread."""
        return (self._states.health,)

    def start(self, info: Callable[[], Info]) -> None:
        """Begin; ``info`` is asked on the announcer's thread."""
        self._info = info
        self._queue.start()

    def close(self) -> None:
        """Tell what is left, and end."""
        self._queue.close()

    def deployment(self, status: DeploymentStatus) -> None:
        """Tell where a deployment stands, and what serves where that changed."""
        topic = relative("deploy", status.pipeline)
        self._publish(_retained(topic, deploy_message(status), final=self._is_an_end(status)))
        serving = status.serving.digest if status.serving else None
        if self._models.get(status.pipeline, "") != serving:
            self._models[status.pipeline] = serving
            self._queue.put(None)

    def _is_an_end(self, status: DeploymentStatus) -> bool:
        """Return whether this is the first that is told of a deployment's end; later changes of it are not."""
        end = (status.state, status.reference, status.at)
        told, self._ends[status.pipeline] = self._ends.get(status.pipeline), end
        return status.state in TERMINAL and status.state is not State.IDLE and told != end

    def session(self, statistics: SessionStatistics) -> None:
        """Tell what the device is at each new connection."""
        if statistics.state == "connected" and statistics.session != self._sessions:
            self._sessions = statistics.session
            self._queue.put(None)

    def changed(self) -> None:
        """Tell anew what the device is."""
        self._queue.put(None)

    def event(self, event: Event) -> None:
        """Tell an event, on a pipeline's thread: not handed over, since that may drop, and no event may be."""
        topic = relative("events", event.camera)
        self._publish(Outgoing(topic, event_message(event), qos=1, stream=topic, priority=EVENT_PRIORITY, durable=True))

    def _tell(self, item: Item) -> None:
        if isinstance(item, Result):
            topic = relative("detections", item.frame.camera)
            self._publish(Outgoing(topic, detections_message(item), stream=topic))
        elif isinstance(item, CameraSummary):
            state = CameraState(
                counts=item.counts,
                occupancy=bool(item.counts),
                health=item.health,
                reason=item.reason,
                fps=item.fps,
                zones={name: ZoneState(counts, bool(counts)) for name, counts in item.zones.items()},
                conditions=item.conditions,
                changed_fps=item.changed_fps,
                lines={name: LineState(*crossed) for name, crossed in item.lines.items()},
            )
            self._publish(_retained(relative("state", item.camera), state))
        elif self._info is not None:
            self._publish(_retained("info", self._info()))


def _retained(topic: str, payload: msgspec.Struct, *, final: bool = False) -> Outgoing:
    """Return a message that stands at the broker until a newer one of its topic replaces it."""
    return Outgoing(topic, payload, qos=1, retain=True, stream=topic, priority=10, replaces=topic, final=final)
