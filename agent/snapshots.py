"""Pictures on command: ``camera/snapshot`` has one made and published as ``snapshots/<camera>``.

The command is answered when the picture was handed to the publisher. Not more than :data:`PER_SECOND` pictures a second
and camera are made, whoever asks; each is bounded in size. Privacy masks are capture's business, and always in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from agent.clock import monotonic_ns, rfc3339
from agent.errors import CameraError, CommandError, LookoutError
from agent.link.forms import CameraSnapshot
from agent.link.topics import relative
from agent.link.verbs import Deferred
from agent.loop.pictures import Picture, Wish
from agent.loop.sinks import RateLimiter
from agent.process.messages import OverlayZone
from agent.types import CameraName, Outgoing

PER_SECOND = 1.0
MAX_BYTES = 512 * 1024
PRIORITY = 2


class Pictured(Protocol):
    """The pipeline that watches a camera."""

    def picture(self, wish: Wish) -> None:
        """Have a picture made; ``wish.take`` gets it, from another thread."""
        ...


class SnapshotTaken(msgspec.Struct, frozen=True):
    """Answer of ``camera/snapshot``: where the picture was published, when it was taken, and how large it is."""

    camera: str
    topic: str
    at: str
    size: tuple[int, int]
    bytes: int
    boxes: int


class Snapshots:
    """See the module. ``pipelines`` by camera; ``zones`` by camera, drawn into each picture with boxes."""

    def __init__(
        self,
        pipelines: Mapping[CameraName, Pictured],
        publish: Callable[[Outgoing], None],
        *,
        zones: Mapping[CameraName, tuple[OverlayZone, ...]] | None = None,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._pipelines = pipelines
        self._publish = publish
        self._zones = zones or {}
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._limiter = RateLimiter(PER_SECOND)

    def reconfigure(
        self, pipelines: Mapping[CameraName, Pictured], zones: Mapping[CameraName, tuple[OverlayZone, ...]]
    ) -> None:
        """Know these cameras and zones from now on; any thread."""
        with self._lock:
            self._pipelines, self._zones = pipelines, zones

    def take(self, args: CameraSnapshot) -> Deferred:
        """Do what ``camera/snapshot`` asks. Raises :class:`CommandError`, :class:`CameraError`."""
        with self._lock:
            pipelines, zones = self._pipelines, self._zones
        camera = _chosen(args.camera, tuple(pipelines))
        with self._lock:
            allowed = self._limiter.allows(camera, self._now_ns())
        if not allowed:
            raise CameraError(f"camera {camera}: at most {PER_SECOND:g} picture a second is made; ask again later")
        answer = Deferred()

        def taken(outcome: Picture | LookoutError) -> None:
            if isinstance(outcome, LookoutError):
                answer.fail(outcome)
            else:
                answer.answer(self.tell(outcome))

        drawn = zones.get(camera, ()) if args.boxes else ()
        pipelines[camera].picture(
            Wish(camera, taken, boxes=args.boxes, zones=drawn, max_width=args.max_width, max_bytes=MAX_BYTES)
        )
        return answer

    def tell(self, picture: Picture) -> SnapshotTaken:
        """Publish a picture, and return what is said of it. Any thread; does not block."""
        frame = picture.frame
        topic = relative("snapshots", frame.camera)
        self._publish(Outgoing(topic, picture.jpeg, stream=topic, priority=PRIORITY))
        size = (picture.width, picture.height)
        at = rfc3339(frame.at_utc_ms)
        return SnapshotTaken(frame.camera, topic, at, size, len(picture.jpeg), picture.boxes)


def _chosen(name: str | None, cameras: Sequence[CameraName]) -> CameraName:
    if name is None and len(cameras) == 1:
        return cameras[0]
    found = next((camera for camera in cameras if camera == name), None)
    if found is None:
        what = "is missing and this device has several" if name is None else f"{name!r} is no camera of this device"
        raise CommandError(f"args.camera: {what}; it has {', '.join(cameras)}", field="args.camera")
    return found
