"""From tracks and zones to events: ``new``, ``update`` and ``end``, each once and in order. Pure; numpy only.

What holds for each track of a camera: ``new`` comes first, when the tracker has confirmed it (so never for a ghost of
one frame) *and* it was seen as something that is reported; then what it does in zones and at lines, and its updates;
``end`` comes last, after the ends of its stays. Nothing is told of a track that was never reported. An update comes at
once when the label, the zones or ``stationary`` change, and otherwise, where the best score or the place changed, not
before ``update_s`` have passed since the track was last told of. Owned by one thread: the pipeline's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import numpy as np

from agent.clock import NS_PER_MS, NS_PER_S
from agent.types import Box, CameraName, Event, EventKind, EventType, ReleaseId, Scene, Track
from agent.vision.filters import Vocabulary
from agent.vision.places import Change, Sighting, ZoneSpec
from agent.vision.track import Alive, Tracked
from agent.vision.zones import Zones

BETTER = 0.02
"""How much a best score must rise to be worth an update."""

MOVED = 0.1
"""How far a box' edges must move to be worth one, as part of its width and height."""

KINDS: frozenset[EventKind] = frozenset(("track", "zone", "line"))


class Moment(msgspec.Struct, frozen=True):
    """The frame that is looked at: its time on both clocks, its size, and which release answered."""

    at_ns: int
    at_utc_ms: int
    size: tuple[int, int]
    release: ReleaseId

    def later(self, at_ns: int) -> Moment:
        """Return a moment at ``at_ns``, with all else as it is now."""
        passed_ms = (at_ns - self.at_ns) // NS_PER_MS
        return Moment(at_ns, self.at_utc_ms + passed_ms, self.size, self.release)


class _Told:
    """What was last told of a track."""

    __slots__ = ("at_ns", "box", "label_id", "stationary", "top_score", "zones")

    def __init__(self) -> None:
        self.at_ns = 0
        self.label_id = -1
        self.stationary = False
        self.zones: tuple[str, ...] = ()
        self.top_score = 0.0
        self.box: Box = (0.0, 0.0, 0.0, 0.0)


class Events:
    """One camera's events. ``next_id`` gives each its id; ``kinds`` says which are wanted at all."""

    def __init__(
        self,
        camera: CameraName,
        zones: Zones,
        vocabulary: Vocabulary,
        *,
        next_id: Callable[[], str],
        update_s: float = 5.0,
        kinds: frozenset[EventKind] = KINDS,
    ) -> None:
        self._camera = camera
        self._zones = zones
        self._vocabulary = vocabulary
        self._next_id = next_id
        self._update_ns = round(update_s * NS_PER_S)
        self._kinds = kinds
        self._told: dict[int, _Told] = {}
        self._alive: Alive | None = None
        self._hidden = np.zeros(0, bool)

    def step(self, tracked: Tracked, reported: np.ndarray, moment: Moment) -> list[Event]:
        """Take one frame's tracks. ``reported`` bool (len(alive),): seen in it as something that is reported."""
        found: list[Event] = []
        for track in tracked.ended:
            found += self._end(track, moment)
        alive = self._alive = tracked.alive
        seen = alive.rows >= 0
        self._hidden = self._zones.masked(self._sighting(np.arange(len(alive)), moment))
        places = {track: place for place, track in enumerate(alive.ids.tolist())}
        for place in np.flatnonzero(reported & ~self._hidden).tolist():
            found += self._begin(place, moment)
        told = np.array([track in self._told for track in places], bool)
        changes = self._zones.update(self._sighting(np.flatnonzero(seen & told), moment))
        found += self._tell(changes, places, moment)
        changed = {change.track for change in changes}
        for place in np.flatnonzero(told).tolist():
            found += self._update(place, moment, changed)
        return found

    def gated(self, tracked: Tracked, moment: Moment) -> list[Event]:
        """Take a frame that the motion gate left out: tracks may end, and stays go on."""
        found: list[Event] = []
        for track in tracked.ended:
            found += self._end(track, moment)
        alive = self._alive = tracked.alive
        self._hidden = self._zones.masked(self._sighting(np.arange(len(alive)), moment))
        places = {track: place for place, track in enumerate(alive.ids.tolist())}
        return found + list(self._tell(self._zones.tick(moment.at_ns), places, moment))

    def reconfigure(
        self, specs: Sequence[ZoneSpec], moment: Moment | None, *, update_s: float, kinds: frozenset[EventKind]
    ) -> list[Event]:
        """Go by other zones and wishes from now on; ``moment``: of the last frame, None before the first.

        Stays in places that are gone end. What goes on and was not told of until now begins, for whoever listens.
        """
        self._update_ns = round(update_s * NS_PER_S)
        changes = self._zones.redraw(specs)
        found: list[Event] = []
        if moment is not None and self._alive is not None:
            places = {track: place for place, track in enumerate(self._alive.ids.tolist())}
            found += self._tell(changes, places, moment)
            self._kinds, fresh = kinds, kinds - self._kinds
            if "track" in fresh:
                for track in sorted(self._told):
                    found += self._event("new", "track", places[track], moment)
            if "zone" in fresh:
                found += self._tell(self._zones.present(), places, moment)
            for track in sorted({change.track for change in changes}):
                found += self._update(places[track], moment, {track})
            self._hidden = self._zones.masked(self._sighting(np.arange(len(self._alive)), moment))
        self._kinds = kinds
        return found

    def end_all(self, tracks: Iterable[int], moment: Moment) -> list[Event]:
        """End these tracks: the camera is gone."""
        found = [event for track in tracks for event in self._end(track, moment)]
        self._alive = None
        return found

    def scene(self) -> Scene:
        """Return what is there: the tracks that were told of and have not ended, but those under masks."""
        labels: dict[int, str] = {}
        if self._alive is not None:
            names = self._vocabulary.labels
            rows = zip(self._alive.ids.tolist(), self._alive.class_ids.tolist(), self._hidden.tolist(), strict=True)
            labels = {track: names[label] for track, label, hidden in rows if not hidden and track in self._told}
        zones = {
            name: dict(Counter(labels[track] for track in tracks if track in labels))
            for name, tracks in self._zones.inside().items()
        }
        return Scene(dict(Counter(labels.values())), zones, dict(self._zones.crossings))

    # --- the life of a track -----------------------------------------------------------------------------------------

    def _begin(self, place: int, moment: Moment) -> Iterator[Event]:
        assert self._alive is not None
        track = int(self._alive.ids[place])
        if track not in self._told:
            self._told[track] = _Told()
            self._note(place, moment.at_ns)
            yield from self._event("new", "track", place, moment)

    def _update(self, place: int, moment: Moment, changed: set[int]) -> Iterator[Event]:
        assert self._alive is not None
        alive, track = self._alive, int(self._alive.ids[place])
        told = self._told[track]
        at_once = bool(alive.class_ids[place] != told.label_id or alive.stationary[place] != told.stationary)
        if track in changed:
            at_once = at_once or self._zones.zones_of(track) != told.zones
        if not at_once:
            if moment.at_ns - told.at_ns < self._update_ns:
                return
            if alive.top_scores[place] < told.top_score + BETTER and not _moved(alive.boxes[place].tolist(), told.box):
                return
        self._note(place, moment.at_ns)
        yield from self._event("update", "track", place, moment)

    def _end(self, track: int, moment: Moment) -> Iterator[Event]:
        """End a track of the frame before, and first what it was doing."""
        if track not in self._told:
            self._zones.forget(track)
            return
        assert self._alive is not None, "a track ended that was never alive"
        place = int(np.searchsorted(self._alive.ids, track))
        entered = self._zones.entered_by(track)
        for change in self._zones.forget(track):
            yield from self._change(change, place, moment, entered)
        del self._told[track]
        yield from self._event("end", "track", place, moment, entered=entered)

    def _tell(self, changes: Iterable[Change], places: dict[int, int], moment: Moment) -> Iterator[Event]:
        for change in changes:
            yield from self._change(change, places[change.track], moment, self._zones.entered_by(change.track))

    def _change(self, change: Change, place: int, moment: Moment, entered: tuple[str, ...]) -> Iterator[Event]:
        yield from self._event(change.type, change.kind, place, moment, entered=entered, change=change)

    def _event(
        self,
        kind_of_news: EventType,
        kind: EventKind,
        place: int,
        moment: Moment,
        *,
        entered: tuple[str, ...] | None = None,
        change: Change | None = None,
    ) -> Iterator[Event]:
        if kind not in self._kinds:
            return
        track = self._track(place, moment)
        yield Event(
            id=self._next_id(),
            type=kind_of_news,
            at_utc_ms=moment.at_utc_ms,
            camera=self._camera,
            release=moment.release,
            track=track,
            zones=self._zones.zones_of(track.id),
            entered=self._zones.entered_by(track.id) if entered is None else entered,
            kind=kind,
            place=change.place if change else None,
            direction=change.direction if change else None,
            dwell_s=change.dwell_s if change else None,
            loitering=change.loitering if change else False,
        )

    def _track(self, place: int, moment: Moment) -> Track:
        assert self._alive is not None
        return self._alive.track(place, self._vocabulary.labels, moment.at_ns, moment.at_utc_ms)

    def _note(self, place: int, at_ns: int) -> None:
        assert self._alive is not None
        alive, track = self._alive, int(self._alive.ids[place])
        told = self._told[track]
        told.at_ns = at_ns
        told.label_id = int(alive.class_ids[place])
        told.stationary = bool(alive.stationary[place])
        told.zones = self._zones.zones_of(track)
        told.top_score = float(alive.top_scores[place])
        x1, y1, x2, y2 = alive.boxes[place].tolist()
        told.box = (x1, y1, x2, y2)

    def _sighting(self, places: np.ndarray, moment: Moment) -> Sighting:
        assert self._alive is not None
        alive = self._alive
        return Sighting(
            alive.ids[places],
            alive.class_ids[places],
            alive.scores[places],
            alive.boxes[places],
            moment.size,
            moment.at_ns,
        )


def _moved(now: list[float], before: Box) -> bool:
    across, down = MOVED * (before[2] - before[0]), MOVED * (before[3] - before[1])
    return (
        max(abs(now[0] - before[0]), abs(now[2] - before[2])) > across
        or max(abs(now[1] - before[1]), abs(now[3] - before[3])) > down
    )
