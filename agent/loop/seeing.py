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

import msgspec
import numpy as np

from agent.loop.results import RawAnswer, Reporting
from agent.loop.sights import Tally
from agent.types import CameraName, Detection, Event, EventKind, Result
from agent.vision.events import KINDS, Events, Moment
from agent.vision.filters import Limits, Sieve, Vocabulary
from agent.vision.track import Tracked, Tracker, TrackSettings
from agent.vision.trackbook import MOST_CLASSES
from agent.vision.whynot import Sights
from agent.vision.zones import Sighting, Zones, ZoneSpec

EventSink = Callable[[Event], None]
"""Takes each event, in order; called on the pipeline's thread, must not block or serialise."""


class SeeingSettings(msgspec.Struct, frozen=True):
    """What the configuration says of one pipeline's seeing. Labels are those that are reported, after ``remap``.

    ``high_score`` is the least score that begins a track, None: the lowest that is reported. ``scores`` (label → least
    score) goes before the model's threshold; ``shapes`` bounds area and ratio. ``zones``: by camera. ``update_s``: see
    :mod:`agent.vision.events`; ``kinds``: the events that are told.
    """

    tracking: TrackSettings = TrackSettings()
    high_score: float | None = None
    remap: dict[str, str] = {}
    scores: dict[str, float] = {}
    shapes: dict[str, Limits] = {}
    zones: dict[CameraName, tuple[ZoneSpec, ...]] = {}
    update_s: float = 5.0
    kinds: frozenset[EventKind] = KINDS


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
        self._eyes: dict[CameraName, _Eye] = {}
        self._reader: _Reader | None = None

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

    def sights(self, camera: CameraName, now_ns: int) -> Sights | None:
        """Return what became of a camera's boxes of late; None before its first frame."""
        eye = self._eyes.get(camera)
        return None if eye is None else eye.tally.sights(now_ns)

    def _told(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tell(event)

    def _eye(self, camera: CameraName) -> _Eye:
        eye = self._eyes.get(camera)
        if eye is None:
            eye = self._eyes[camera] = _Eye(camera, self._settings, self._vocabulary, self._shapes, self._next_id)
        return eye

    def _read_as(self, reporting: Reporting) -> _Reader:
        """Another release answers: number its labels, forgetting those of long ago where there are too many."""
        reader = _Reader(reporting, self._settings, self._vocabulary)
        if len(self._vocabulary) > MOST_CLASSES:
            for eye in self._eyes.values():
                self._told(eye.end_all())
            self._vocabulary.clear()
            reader = _Reader(reporting, self._settings, self._vocabulary)
        for eye in self._eyes.values():
            eye.read_by(reader)
        return reader


class _Reader:
    """How one release's classes are read: the labels' numbers (-1: unwanted) and thresholds, by class id."""

    def __init__(self, reporting: Reporting, settings: SeeingSettings, vocabulary: Vocabulary) -> None:
        self.reporting = reporting
        self.labels = [settings.remap.get(label, label) for label in reporting.labels]
        wanted = [reporting.only is None or label in reporting.only for label in self.labels]
        known = zip(self.labels, wanted, strict=True)
        self.label_ids = np.array([vocabulary.id_of(label) if want else -1 for label, want in known], np.int64)
        thresholds = [settings.scores.get(label, reporting.score) for label in self.labels]
        self.thresholds = np.array(thresholds, float)
        least = min(itertools.compress(thresholds, wanted), default=reporting.score)
        self.high_score = least if settings.high_score is None else settings.high_score

    def told_of(self, score: float, class_id: int) -> tuple[float, str, float]:
        """Return a box' score with its label and threshold."""
        return score, self.labels[class_id], float(self.thresholds[class_id])


class _Eye:
    """One camera's tracks, zones and events."""

    def __init__(
        self,
        camera: CameraName,
        settings: SeeingSettings,
        vocabulary: Vocabulary,
        shapes: Sieve,
        next_id: Callable[[], str],
    ) -> None:
        specs = settings.zones.get(camera, ())
        self._vocabulary = vocabulary
        self._shapes = shapes
        self._settings = settings.tracking
        self._zones = Zones(specs, vocabulary)
        self._has_masks = any(spec.mask for spec in specs)
        self._tracker = Tracker(settings.tracking) if settings.tracking.enabled else None
        self._events = Events(
            camera, self._zones, vocabulary, next_id=next_id, update_s=settings.update_s, kinds=settings.kinds
        )
        self._reader: _Reader | None = None
        self._moment: Moment | None = None
        self.tally = Tally()

    @property
    def events(self) -> Events | None:
        """What was told of; None where nothing is tracked."""
        return None if self._tracker is None else self._events

    def read_by(self, reader: _Reader) -> None:
        """Another release answers from now on: what it reports may begin tracks."""
        self._reader = reader
        if self._tracker is not None:
            low = min(self._settings.low_score, reader.high_score)
            self._tracker.settings = msgspec.structs.replace(
                self._settings, high_score=reader.high_score, low_score=low
            )

    def see(self, answer: RawAnswer, rows: np.ndarray, reader: _Reader) -> tuple[tuple[Detection, ...], list[Event]]:
        """Take one frame's rows."""
        if self._reader is not reader:
            self.read_by(reader)
        frame = answer.frame
        moment = self._moment = Moment(frame.at_ns, frame.at_utc_ms, (frame.width, frame.height), answer.release)
        class_ids = rows[:, 5].astype(np.int64)
        label_ids = reader.label_ids[class_ids]
        wanted = label_ids >= 0
        rows, class_ids, label_ids = rows[wanted], class_ids[wanted], label_ids[wanted]
        reported = self._reported(rows, class_ids, label_ids, reader, moment, unwanted=len(wanted) - len(rows))
        if self._tracker is None:
            return _detections(rows, class_ids, reported, reader, None), []
        numbered = rows.copy()
        numbered[:, 5] = label_ids
        tracked = self._tracker.update(numbered, moment.at_ns)
        events = self._events.step(tracked, _of_tracks(tracked, reported), moment)
        return _detections(rows, class_ids, reported, reader, tracked), events

    def gated(self, at_ns: int) -> list[Event]:
        """Take note of a frame that was left out."""
        self.tally.gated(at_ns)
        if self._tracker is None or self._moment is None:
            return []
        self._moment = self._moment.later(at_ns)
        return self._events.gated(self._tracker.gated(at_ns), self._moment)

    def end_all(self) -> list[Event]:
        """End every track."""
        if self._tracker is None or self._moment is None:
            return []
        return self._events.end_all(self._tracker.end_all(), self._moment)

    def _reported(
        self,
        rows: np.ndarray,
        class_ids: np.ndarray,
        label_ids: np.ndarray,
        reader: _Reader,
        moment: Moment,
        *,
        unwanted: int,
    ) -> np.ndarray:
        """Return which rows are reported, and take note of why the others are not."""
        boxes, scores = rows[:, :4].astype(float), rows[:, 4].astype(float)
        loud = scores >= reader.thresholds[class_ids]
        area = float(moment.size[0] * moment.size[1])
        shaped = self._shapes.passes(self._vocabulary, label_ids, scores, boxes, area)
        masked = np.zeros(len(rows), bool)
        if self._has_masks and len(rows):
            masked = self._zones.masked(Sighting(label_ids, label_ids, scores, boxes, moment.size, moment.at_ns))
        best = int(scores.argmax()) if len(scores) else None
        self.tally.add(
            moment.at_ns,
            boxes=len(rows) + unwanted,
            unwanted=unwanted,
            below=int(np.count_nonzero(~loud)),
            misshapen=int(np.count_nonzero(loud & ~shaped)),
            masked=int(np.count_nonzero(loud & shaped & masked)),
            best=None if best is None else reader.told_of(float(scores[best]), int(class_ids[best])),
        )
        return np.asarray(loud & shaped & ~masked)


def _of_tracks(tracked: Tracked, reported: np.ndarray) -> np.ndarray:
    """Return which of the tracks alive were seen as something that is reported."""
    found = np.zeros(len(tracked.alive), bool)
    seen = tracked.alive.rows >= 0
    found[seen] = reported[tracked.alive.rows[seen]]
    return found


def _detections(
    rows: np.ndarray, class_ids: np.ndarray, reported: np.ndarray, reader: _Reader, tracked: Tracked | None
) -> tuple[Detection, ...]:
    chosen = np.flatnonzero(reported)
    tracks = itertools.repeat(-1, len(chosen)) if tracked is None else tracked.ids[chosen].tolist()
    return tuple(
        Detection(class_id, reader.labels[class_id], score, (x1, y1, x2, y2), track if track >= 0 else None)
        for (x1, y1, x2, y2, score, _), class_id, track in zip(
            rows[chosen].tolist(), class_ids[chosen].tolist(), tracks, strict=True
        )
    )


def _result(answer: RawAnswer, detections: tuple[Detection, ...] | None, eye: _Eye | None = None) -> Result:
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
