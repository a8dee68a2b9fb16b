"""From a worker's rows to a result: remap, tracks, thresholds, filters, masks, zones, events. The pipeline's thread.

The chain, camera by camera, in the order of the frames: classes become labels (remapped, numbered in a vocabulary that
outlives a swap, so that tracks go on where labels agree), unwanted labels go; the tracker takes all that is left, low
scores too; *then* thresholds, shapes and masks decide what is reported; tracks that are reported go through zones and
lines and become events. Nothing here blocks, serialises or reads a clock: time is the frame's. An answer of a
classifier passes untouched.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from agent.loop.eye import NOTHING_SEEN, Eye, Reader, Remembered, SeeingSettings
from agent.loop.results import RawAnswer, Reporting
from agent.types import CameraName, Detection, Event, Result
from agent.vision.filters import Sieve, Vocabulary
from agent.vision.trackbook import MOST_CLASSES
from agent.vision.whynot import Sights

__all__ = ["EventSink", "Seeing", "SeeingSettings"]

EventSink = Callable[[Event], None]
"""Takes each event, in order; called on the pipeline's thread, must not block or serialise."""


class Seeing:
    """One pipeline's chain; see the module. ``next_id`` gives ids of events, ``tell`` takes the events."""

    def __init__(
        self,
        settings: SeeingSettings | None = None,
        *,
        next_id: Callable[[], str] | None = None,
        tell: EventSink = lambda _event: None,
    ) -> None:
        self._settings = settings or SeeingSettings()
        own_ids = itertools.count(1)
        self._next_id = next_id or (lambda: f"0-{next(own_ids)}")
        self._tell = tell
        self._vocabulary = Vocabulary()
        self._shapes = Sieve(limits=self._settings.shapes)
        self._eyes: dict[CameraName, Eye] = {}
        self._reader: Reader | None = None
        self._remembered: dict[CameraName, Remembered] = {}

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def reconfigure(self, settings: SeeingSettings) -> None:
        """Go by other settings from the next frame on. Tracks go on, under new labels where those were remapped."""
        if settings == self._settings:
            return
        if settings.shapes != self._settings.shapes:
            self._shapes = Sieve(limits=settings.shapes)
        self._settings = settings
        for eye in self._eyes.values():
            self._told(eye.reconfigure(settings, self._shapes))
        before = self._reader
        if before is None:
            return
        self._reader = self._read_as(before.reporting)
        renamed = self._reader.renamed(before)
        for eye in self._eyes.values():
            eye.rename(renamed)

    def expect(self, camera: CameraName, remembered: Remembered) -> None:
        """Go on, when the camera's first frame comes, where whoever had it before stopped."""
        if camera not in self._eyes:
            self._remembered[camera] = remembered

    def forget(self, camera: CameraName) -> Remembered:
        """End what is seen of a camera that was removed, and return what whoever has it next should know."""
        eye = self._eyes.pop(camera, None)
        expected = self._remembered.pop(camera, NOTHING_SEEN)
        if eye is None:
            return expected
        self._told(eye.end_all())
        return eye.remember()

    # --- frame by frame -----------------------------------------------------------------------------------------------

    def see(self, answer: RawAnswer, reporting: Reporting) -> Result:
        """Return the result of one camera's next frame, and tell what happened in it."""
        eye = self._eye(answer.frame.camera)
        if answer.rows is None:
            eye.tally.add(answer.frame.at_ns, boxes=len(answer.classes or ()))
            self._told(eye.end_all())
            return _result(answer, None)
        reader = self._reader
        if reader is None or reader.reporting is not reporting:
            reader = self._reader = self._read_as(reporting)
        detections, events = eye.see(answer, answer.rows, reader)
        self._told(events)
        return _result(answer, detections, eye)

    def gated(self, camera: CameraName, at_ns: int) -> None:
        """Take note of a frame that the motion gate left out: nothing moves, stays go on."""
        self._told(self._eye(camera).gated(at_ns))

    def camera_gone(self, camera: CameraName) -> None:
        """End what is seen of a camera that failed or came to its end."""
        eye = self._eyes.get(camera)
        if eye is not None:
            self._told(eye.end_all())

    def close(self) -> None:
        """End what is seen of every camera: nothing is looked at any more."""
        for camera in tuple(self._eyes):
            self.camera_gone(camera)

    def sights(self, camera: CameraName, now_ns: int) -> Sights | None:
        """Return what became of a camera's boxes of late; None before its first frame."""
        eye = self._eyes.get(camera)
        return None if eye is None else eye.tally.sights(now_ns)

    def _told(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tell(event)

    def _eye(self, camera: CameraName) -> Eye:
        eye = self._eyes.get(camera)
        if eye is None:
            remembered = self._remembered.pop(camera, NOTHING_SEEN)
            eye = self._eyes[camera] = Eye(
                camera, self._settings, self._vocabulary, self._shapes, self._next_id, remembered
            )
        return eye

    def _read_as(self, reporting: Reporting) -> Reader:
        """Another release answers: number its labels, forgetting those of long ago where there are too many."""
        reader = Reader(reporting, self._settings, self._vocabulary)
        if len(self._vocabulary) > MOST_CLASSES:
            for eye in self._eyes.values():
                self._told(eye.end_all())
            self._vocabulary.clear()
            reader = Reader(reporting, self._settings, self._vocabulary)
        for eye in self._eyes.values():
            eye.read_by(reader)
        return reader


def _result(answer: RawAnswer, detections: tuple[Detection, ...] | None, eye: Eye | None = None) -> Result:
    events = None if eye is None else eye.events
    return Result(
        frame=answer.frame,
        release=answer.release,
        detections=detections,
        classes=answer.classes,
        timings=answer.timings,
        latency_ms=answer.latency_ms,
        scene=None if events is None else events.scene(),
    )
