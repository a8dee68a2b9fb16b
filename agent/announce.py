"""What the device tells of its own accord: detections, each camera's state, deployments, and what it is.

Producers hand over and go on; messages are built on one thread, ``lookout-announcer``, and go out through ``publish``.
Retained ones carry a ``replaces`` key, so that the broker always ends with the newest. How a deployment ended is told
even where the next one has begun before it could be sent: whoever ordered it and watches the topic sees its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Set

import msgspec

from agent.config.schema import Report
from agent.deploy.machine import TERMINAL, State
from agent.deploy.records import DeploymentStatus
from agent.link.messages import (
    CameraState,
    Info,
    LineState,
    Update,
    ZoneState,
    deploy_message,
    detections_message,
    event_message,
    update_message,
)
from agent.link.standing import SessionStatistics
from agent.link.topics import relative
from agent.loop.ports import HealthSink, Sink
from agent.loop.sinks import CameraSummary, HandOver, Reports, States
from agent.types import CameraName, Event, Outgoing, Result

Item = Result | CameraSummary | DeploymentStatus | None
"""What is handed over; None: tell anew what the device is."""

LIMIT = 256

_OF_CAMERAS, _OF_PIPELINES = ("state",), ("deploy", "update")
"""Retained topics, one for each camera and pipeline."""

EVENT_PRIORITY = 5
"""Above detections and telemetry, below what is retained and what answers a person."""


class Announcer:
    """See the module. ``sinks`` and ``health_sinks`` are for pipelines, the other methods for any thread."""

    def __init__(
        self,
        publish: Callable[[Outgoing], None],
        report: Report,
        *,
        revision: Callable[[], int | None] = lambda: None,
    ) -> None:
        """``revision`` returns that of the configuration in force."""
        self._publish = publish
        self._revision = revision
        self._lock = threading.Lock()
        self._standing: frozenset[str] | None = None
        """Topics that may stand at the broker; None: all may."""
        self._info: Callable[[], Info] | None = None
        self._models: dict[str, str | None] = {}
        self._ends: dict[str, tuple[State, str | None, str]] = {}
        self._updates: dict[str, Update] = {}
        self._session = (0, False, "")
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

    def reconfigure(self, report: Report) -> None:
        """Tell as much as ``report`` says from now on; any thread."""
        self._reports.reconfigure(hz=report.detections_hz, all_frames=report.all)

    def expect(self, topics: Set[str], *, before: Set[str] = frozenset()) -> None:
        """Tell on these of :func:`standing_topics` only from now on, and take back what stands on others; any thread.

        ``before``: what may stand at the broker from a former start. Nothing of what goes is under way any more.
        """
        with self._lock:
            gone = ((self._standing or frozenset()) | before) - topics
            self._standing = frozenset(topics)
            for topic in sorted(gone):
                self._publish(_retained(topic, b""))
                self._forget(*topic.split("/"))

    def _forget(self, kind: str, name: str) -> None:
        if kind in _OF_CAMERAS:
            self._states.forget(CameraName(name))
            return
        for table in (self._models, self._ends, self._updates):
            table.pop(name, None)

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
        with self._lock:
            if not self._may_stand(topic):
                return
            self._publish(_retained(topic, deploy_message(status), final=self._is_an_end(status)))
            update = update_message(status)
            if self._updates.get(status.pipeline) != update:
                self._updates[status.pipeline] = update
                self._publish(_retained(relative("update", status.pipeline), update))
            serving = status.serving.digest if status.serving else None
            if self._models.get(status.pipeline, "") == serving:
                return
            self._models[status.pipeline] = serving
        self._queue.put(None)

    def _may_stand(self, topic: str) -> bool:
        """Return whether a topic is told of; under the lock, so that nothing is told after it was taken back."""
        return self._standing is None or topic in self._standing

    def _is_an_end(self, status: DeploymentStatus) -> bool:
        """Return whether this is the first that is told of a deployment's end; later changes of it are not."""
        end = (status.state, status.reference, status.at)
        told, self._ends[status.pipeline] = self._ends.get(status.pipeline), end
        return status.state in TERMINAL and status.state is not State.IDLE and told != end

    def session(self, statistics: SessionStatistics) -> None:
        """Tell what the device is at each new connection, and when something is wrong with one or no longer is."""
        found = (statistics.session, statistics.duplicate_device_id, statistics.credentials_problem)
        if statistics.state == "connected" and found != self._session:
            self._session = found
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
            self._publish(Outgoing(topic, detections_message(item, config=self._revision()), stream=topic))
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
            topic = relative("state", item.camera)
            with self._lock:
                if self._may_stand(topic):
                    self._publish(_retained(topic, state))
        elif self._info is not None:
            self._publish(_retained("info", self._info()))


def standing_topics(cameras: Iterable[str], pipelines: Iterable[str]) -> frozenset[str]:
    """Return the topics on which something stands at the broker for each camera and pipeline."""
    named = ((_OF_CAMERAS, cameras), (_OF_PIPELINES, pipelines))
    return frozenset(relative(kind, name) for kinds, names in named for name in names for kind in kinds)


def _retained(topic: str, payload: msgspec.Struct | bytes, *, final: bool = False) -> Outgoing:
    """Return a message that stands at the broker until a newer one of its topic replaces it."""
    return Outgoing(topic, payload, qos=1, retain=True, stream=topic, priority=10, replaces=topic, final=final)
