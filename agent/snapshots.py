"""Pictures on command: ``camera/snapshot`` has one made and published as ``snapshots/<camera>``.

The command is answered when the picture was handed to the publisher. Not more than :data:`PER_SECOND` pictures a second
and camera are made, whoever asks; each is bounded in size. The best picture of a track comes from the album, where it
lies ready; it is also published by itself when the track ends, if ``report.snapshots`` says so. Privacy masks are
capture's business, and always in it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from agent.clock import monotonic_ns, rfc3339
from agent.errors import CameraError, CommandError, LookoutError
from agent.link.forms import CameraSnapshot
from agent.link.topics import relative
from agent.link.verbs import Deferred
from agent.loop.album import Album, Kept
from agent.loop.pictures import Picture, Wish
from agent.loop.sinks import RateLimiter
from agent.process.messages import OverlayZone
from agent.types import CameraName, Event, Outgoing

PER_SECOND = 1.0
MAX_BYTES = 512 * 1024
PRIORITY = 2


class Pictured(Protocol):
    """The pipeline that watches a camera."""

    def picture(self, wish: Wish) -> None:
        """Have a picture made; ``wish.take`` gets it, from another thread."""
        ...


class SnapshotTaken(msgspec.Struct, frozen=True):
    """Answer of ``camera/snapshot``: where the picture was published, when it was taken, and how large it is.

    ``label`` and ``score`` are those of the track in that picture, where it is one of a track.
    """

    camera: str
    topic: str
    at: str
    size: tuple[int, int]
    bytes: int
    boxes: int
    track: int | None = None
    label: str | None = None
    score: float | None = None


class Snapshots:
    """See the module. ``pipelines`` by camera; ``zones`` by camera, drawn into each picture with boxes.

    ``at_end``: publish the best picture of each track when it ends.
    """

    def __init__(
        self,
        pipelines: Mapping[CameraName, Pictured],
        publish: Callable[[Outgoing], None],
        *,
        zones: Mapping[CameraName, tuple[OverlayZone, ...]] | None = None,
        album: Album | None = None,
        at_end: bool = False,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._pipelines = pipelines
        self._publish = publish
        self._zones = zones or {}
        self._album = album or Album(0)
        self._at_end = at_end
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._limiter = RateLimiter(PER_SECOND)

    def reconfigure(
        self,
        pipelines: Mapping[CameraName, Pictured],
        zones: Mapping[CameraName, tuple[OverlayZone, ...]],
    ) -> None:
        """Know these cameras and zones from now on; any thread."""
        with self._lock:
            self._pipelines, self._zones = pipelines, zones

    def keep(self, best: int, *, at_end: bool) -> None:
        """Keep the best pictures of so many tracks from now on, and publish each at its track's end, or not."""
        self._album.resize(best)
        self._at_end = at_end

    def take(self, args: CameraSnapshot) -> SnapshotTaken | Deferred:
        """Do what ``camera/snapshot`` asks. Raises :class:`CommandError`, :class:`CameraError`."""
        if args.track is None:
            return self.newest(args)
        with self._lock:
            camera = _chosen(args.camera, tuple(self._pipelines))
        return self._tell_best(self._album.best(camera, args.track))

    def newest(self, args: CameraSnapshot) -> Deferred:
        """Have a picture of a camera's newest frame made. Raises :class:`CommandError`, :class:`CameraError`."""
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

    def event(self, event: Event) -> None:
        """Publish the best picture of a track that ended, if that is asked for. A pipeline's thread; does not block."""
        if self._at_end and (event.kind, event.type) == ("track", "end"):
            with contextlib.suppress(CameraError):  # none was made: the track was short, or its camera went away
                self._tell_best(self._album.best(event.camera, event.track.id))

    def _tell_best(self, kept: Kept) -> SnapshotTaken:
        seen = kept.portrait.seen
        return msgspec.structs.replace(
            self.tell(kept.picture), track=kept.portrait.track, label=seen.label, score=round(seen.score, 3)
        )

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
