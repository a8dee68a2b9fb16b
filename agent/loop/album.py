"""The best picture of each track, kept in memory for whoever asks: bounded in number and in bytes, the oldest go first.

:meth:`Album.due`, :meth:`~Album.choose`, :meth:`~Album.keep` and :meth:`~Album.failed` are called by
:class:`~agent.loop.pictures.Pictures` on the threads of the pipelines (a camera belongs to one of them); a picture may
be asked for by any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from agent.clock import NS_PER_S
from agent.errors import CameraError
from agent.loop.pictures import Picture, Portrait
from agent.types import CameraName, Result
from agent.vision.best import BestMoments, surroundings

EVERY_S = 0.5
"""Least time between two such pictures of one camera: what they may cost at most."""

MAX_BYTES = 8 * 1024 * 1024


class Kept(msgspec.Struct, frozen=True):
    """The best picture of a track so far."""

    portrait: Portrait
    picture: Picture


class Album:
    """See the module. ``limit`` pictures at most; 0: none is made."""

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._moments: dict[CameraName, BestMoments] = {}
        self._kept: OrderedDict[tuple[CameraName, int], Kept] = OrderedDict()
        self._bytes = 0

    def resize(self, limit: int) -> None:
        """Keep at most so many from now on; any thread."""
        with self._lock:
            self._limit = limit
            self._shrink()

    def due(self, camera: CameraName, at_ns: int) -> bool:
        """Tell whether a frame of this moment may become a picture."""
        return self._limit > 0 and self._moments_of(camera).due(at_ns)

    def choose(self, result: Result) -> Portrait | None:
        """Return what is worth a picture in a frame, None where nothing is."""
        frame = result.frame
        size = (frame.width, frame.height)
        seen = self._moments_of(frame.camera).choose(result.detections or (), size, frame.at_ns)
        if seen is None or seen.track is None:
            return None
        return Portrait(frame.camera, seen.track, seen, surroundings(seen.box, size))

    def keep(self, portrait: Portrait, picture: Picture) -> None:
        """Keep a picture instead of the track's former one."""
        key = (portrait.camera, portrait.track)
        with self._lock:
            former = self._kept.pop(key, None)
            self._bytes += len(picture.jpeg) - (len(former.picture.jpeg) if former else 0)
            self._kept[key] = Kept(portrait, picture)
            self._shrink()

    def failed(self, portrait: Portrait) -> None:
        """Take note that a picture could not be made."""
        self._moments_of(portrait.camera).failed(portrait.track)

    def best(self, camera: CameraName, track: int) -> Kept:
        """Return a track's best picture; any thread. Raises :class:`CameraError` where there is none."""
        with self._lock:
            kept, limit = self._kept.get((camera, track)), self._limit
        if kept is not None:
            return kept
        if limit == 0:
            raise CameraError(
                f"camera {camera}: no pictures of tracks are kept; set report.best_pictures to keep some",
                field="args.track",
            )
        raise CameraError(
            f"camera {camera}: there is no picture of track {track}: it was never reported, or the {limit} newest "
            "pictures are of other tracks (report.best_pictures)",
            field="args.track",
        )

    def _moments_of(self, camera: CameraName) -> BestMoments:
        moments = self._moments.get(camera)
        if moments is None:
            moments = self._moments[camera] = BestMoments(every_ns=round(EVERY_S * NS_PER_S))
        return moments

    def _shrink(self) -> None:
        while self._kept and (len(self._kept) > self._limit or self._bytes > MAX_BYTES):
            _, gone = self._kept.popitem(last=False)
            self._bytes -= len(gone.picture.jpeg)
