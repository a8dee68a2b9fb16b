"""One camera's tracks, zones and events, and how one release's classes are read. Pure; the pipeline's thread.

What :mod:`agent.loop.seeing` puts together for a pipeline. Time is the frame's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from agent.loop.results import RawAnswer, Reporting
from agent.loop.sights import Tally
from agent.types import CameraName, Detection, Event, EventKind
from agent.vision.events import KINDS, Events, Moment
from agent.vision.filters import Limits, Sieve, Vocabulary
from agent.vision.places import Sighting, ZoneSpec
from agent.vision.track import Tracked, Tracker, TrackSettings
from agent.vision.zones import Zones


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


class Remembered(msgspec.Struct, frozen=True):
    """What must not begin anew when a camera goes to another pipeline, or comes back: its next track's id, and lines.

    ``crossings``: line → how often it was crossed in and out.
    """

    next_track: int = 1
    crossings: dict[str, tuple[int, int]] = {}


NOTHING_SEEN = Remembered()


class Reader:
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

    def renamed(self, before: Reader) -> dict[int, int]:
        """Return the labels that are called otherwise than they were, number → number, where that is one way only."""
        found: dict[int, set[int]] = {}
        for old, new in zip(before.label_ids.tolist(), self.label_ids.tolist(), strict=True):
            if old >= 0 and new >= 0:
                found.setdefault(old, set()).add(new)
        return {old: min(new) for old, new in found.items() if len(new) == 1 and old not in new}

    def told_of(self, score: float, class_id: int) -> tuple[float, str, float]:
        """Return a box' score with its label and threshold."""
        return score, self.labels[class_id], float(self.thresholds[class_id])


class Eye:
    """One camera's tracks, zones and events."""

    def __init__(
        self,
        camera: CameraName,
        settings: SeeingSettings,
        vocabulary: Vocabulary,
        shapes: Sieve,
        next_id: Callable[[], str],
        remembered: Remembered = NOTHING_SEEN,
    ) -> None:
        specs = settings.zones.get(camera, ())
        self._camera = camera
        self._next_track = remembered.next_track
        self._vocabulary = vocabulary
        self._shapes = shapes
        self._settings = settings.tracking
        self._zones = Zones(specs, vocabulary, remembered.crossings)
        self._has_masks = any(spec.mask for spec in specs)
        self._tracker: Tracker | None = None
        self._follow()
        self._events = Events(
            camera, self._zones, vocabulary, next_id=next_id, update_s=settings.update_s, kinds=settings.kinds
        )
        self._reader: Reader | None = None
        self._moment: Moment | None = None
        self.tally = Tally()

    def _follow(self) -> None:
        """Follow objects, if that is wanted."""
        if self._settings.enabled and self._tracker is None:
            self._tracker = Tracker(self._settings, first_id=self._next_track)

    def remember(self) -> Remembered:
        """Return what must not begin anew elsewhere."""
        next_track = self._next_track if self._tracker is None else self._tracker.next_id
        return Remembered(next_track, dict(self._zones.crossings))

    def reconfigure(self, settings: SeeingSettings, shapes: Sieve) -> list[Event]:
        """Go by other settings; tracks go on. ``read_by`` follows where somebody was read already."""
        found: list[Event] = []
        self._shapes, self._settings = shapes, settings.tracking
        if self._tracker is not None and not self._settings.enabled:
            found = self.end_all()
            self._next_track, self._tracker = self._tracker.next_id, None
        self._follow()
        specs = settings.zones.get(self._camera, ())
        self._has_masks = any(spec.mask for spec in specs)
        return found + self._events.reconfigure(specs, self._moment, update_s=settings.update_s, kinds=settings.kinds)

    def rename(self, labels: Mapping[int, int]) -> None:
        """Call what is followed by other labels, number → number."""
        if self._tracker is not None and labels:
            self._tracker.relabel([labels.get(label, label) for label in range(len(self._vocabulary))])

    @property
    def events(self) -> Events | None:
        """What was told of; None where nothing is tracked."""
        return None if self._tracker is None else self._events

    def read_by(self, reader: Reader) -> None:
        """Another release answers from now on: what it reports may begin tracks."""
        self._reader = reader
        if self._tracker is not None:
            low = min(self._settings.low_score, reader.high_score)
            self._tracker.settings = msgspec.structs.replace(
                self._settings, high_score=reader.high_score, low_score=low
            )

    def see(self, answer: RawAnswer, rows: np.ndarray, reader: Reader) -> tuple[tuple[Detection, ...], list[Event]]:
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
        reader: Reader,
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
    rows: np.ndarray, class_ids: np.ndarray, reported: np.ndarray, reader: Reader, tracked: Tracked | None
) -> tuple[Detection, ...]:
    chosen = np.flatnonzero(reported)
    tracks = itertools.repeat(-1, len(chosen)) if tracked is None else tracked.ids[chosen].tolist()
    return tuple(
        Detection(class_id, reader.labels[class_id], score, (x1, y1, x2, y2), track if track >= 0 else None)
        for (x1, y1, x2, y2, score, _), class_id, track in zip(
            rows[chosen].tolist(), class_ids[chosen].tolist(), tracks, strict=True
        )
    )
