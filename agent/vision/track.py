"""Follows objects over one camera's frames, after ByteTrack: sure boxes first, unsure ones keep what is known. Pure.

One :class:`Tracker` a camera, called from one thread (the pipeline's), time comes in. Frames may be any time apart: all
that ends or fades does so after seconds, not frames. A box may take a track of another class only where both overlap
well, since a label is a vote over sightings and a person on a bicycle is two objects. Rules that callers rely on:

- An id is given when a track is confirmed, after ``min_hits`` sightings of at least ``high_score`` (never to a
  one-frame ghost), and never twice. A tentative track that was missed more often than seen is dropped.
- In one update no two rows have the same id, and the answer does not depend on the order of the rows.
- A track that is not seen is kept ``max_age_s`` (time in which the motion gate was closed does not count against what
  was standing there), then named once in ``ended``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from agent.errors import ProgrammingError
from agent.types import Track
from agent.vision.assign import Pairs, pairs
from agent.vision.overlap import overlaps, widened
from agent.vision.trackbook import MOST_CLASSES, NS_PER_S, Book

OTHER_CLASS_IOU = 0.6
"""Overlap from which a box of another class may continue a track, at :data:`OTHER_CLASS_WORTH` of its overlap."""
OTHER_CLASS_WORTH = 0.7
LOW_IOU = 0.4
"""Overlap that a low-score box needs to keep a track."""
SAME_IOU = 0.8
"""A box that overlaps a tracked one this much is the same object seen twice, and begins no track."""
NEAR_SHARE = 0.15, 0.5, 0.6
"""How far boxes are widened in the second look: share of their size at once, more a second, at most."""
NEAR_MISSES = 2
"""Updates that a track may have been missing to be looked for in the widened way."""
LONGEST_GAP_S = 10.0
"""However rarely frames come, a track may miss one of them; after a gap this long it is another object."""
HELD_MISSES, HELD_MISSES_STATIONARY = 1, 3
"""A closed motion gate keeps what was missing no oftener than this."""


class TrackSettings(msgspec.Struct, frozen=True):
    """How tracks begin, live and end.

    Boxes from ``high_score`` on begin tracks, those from ``low_score`` on keep them. ``match_iou``: the least overlap
    of a box with where its track is expected. ``min_hits`` sightings confirm a track; one unseen for ``max_age_s``
    ends. ``stationary_s``: after that time in one place an object is stationary.
    """

    enabled: bool = True
    high_score: float = 0.4
    low_score: float = 0.1
    match_iou: float = 0.2
    min_hits: int = 3
    max_age_s: float = 2.0
    stationary_s: float = 5.0


class Alive:
    """The confirmed tracks after an update, one position each in every array, ids ascending. Copies: keep them freely.

    ``ids`` int64 (n,); ``boxes`` float64 (n, 4), as each was last seen; ``class_ids`` int64 (n,), voted; ``scores``
    (smoothed), ``top_scores`` float64 (n,); ``first_ns``, ``last_ns`` int64 (n,); ``velocities`` float64 (n, 2),
    pixels a second; ``stationary`` bool (n,); ``rows`` int64 (n,): its row in this update, -1 where it was not seen.
    """

    __slots__ = (
        "boxes", "class_ids", "first_ns", "ids", "last_ns", "rows", "scores", "stationary", "top_scores", "velocities",
    )  # fmt: skip

    def __init__(self, book: np.ndarray, speeds: np.ndarray) -> None:
        self.ids: np.ndarray = book["id"]
        self.boxes: np.ndarray = book["box"]
        self.class_ids: np.ndarray = book["class_id"]
        self.scores: np.ndarray = book["score"]
        self.top_scores: np.ndarray = book["top_score"]
        self.first_ns: np.ndarray = book["first_ns"]
        self.last_ns: np.ndarray = book["last_ns"]
        self.stationary: np.ndarray = book["stationary"]
        self.rows: np.ndarray = book["row"]
        self.velocities: np.ndarray = speeds[:, :2]

    def __len__(self) -> int:
        return len(self.ids)

    def track(self, position: int, labels: Sequence[str], at_ns: int, at_utc_ms: int) -> Track:
        """Return the record at ``position``; ``at_ns`` and ``at_utc_ms``: one moment (the frame's) on both clocks."""
        first_ns, last_ns = int(self.first_ns[position]), int(self.last_ns[position])
        x1, y1, x2, y2 = self.boxes[position].tolist()
        across, down = self.velocities[position].tolist()
        return Track(
            id=int(self.ids[position]),
            label=labels[int(self.class_ids[position])],
            score=float(self.scores[position]),
            top_score=float(self.top_scores[position]),
            box=(x1, y1, x2, y2),
            first_seen_ns=first_ns,
            last_seen_ns=last_ns,
            first_seen_utc_ms=at_utc_ms - (at_ns - first_ns) // 1_000_000,
            last_seen_utc_ms=at_utc_ms - (at_ns - last_ns) // 1_000_000,
            stationary=bool(self.stationary[position]),
            velocity=(across, down),
        )


class Tracked(msgspec.Struct, frozen=True):
    """What one update found.

    ``ids`` int64 (n,): the track of each row given, -1 where it has none (yet). ``began``: confirmed in this update,
    they are in ``alive``. ``ended``: gone for good, they were in the ``alive`` before.
    """

    ids: np.ndarray
    began: tuple[int, ...]
    ended: tuple[int, ...]
    alive: Alive


class Tracker:
    """One camera's tracks. ``first_id`` is where ids begin: the ``next_id`` of the tracker whose place it takes."""

    def __init__(self, settings: TrackSettings, *, first_id: int = 1) -> None:
        if first_id < 1:
            raise ProgrammingError(f"ids of tracks begin at 1, not at {first_id}")
        self.settings = settings
        self._next_id = first_id
        self._book = Book()
        self._at_ns: int | None = None

    @property
    def next_id(self) -> int:
        """The id that the next confirmed track gets."""
        return self._next_id

    def update(self, rows: np.ndarray, at_ns: int) -> Tracked:
        """Take in a frame's rows ``x1 y1 x2 y2 score class_id`` (n, 6), finite, in any order, from the worker's floor.

        Raises :class:`ProgrammingError` for another shape or a class that cannot be.
        """
        found, places = self._sorted(rows)
        step_ns = self._pass_time(at_ns)
        book = self._book
        book.rows["row"] = -1
        book.motion.advance(step_ns / NS_PER_S)
        taken = self._match(found, step_ns)
        known = np.array([track for track, _ in taken], dtype=np.int64)
        boxes = np.array([box for _, box in taken], dtype=np.int64)
        missed = np.ones(len(book.rows), dtype=bool)
        missed[known] = False
        book.rows["misses"][missed] += 1
        book.rows["unseen_ns"][missed] += step_ns
        if len(known):
            book.seen(known, found[boxes], places[boxes], at_ns)
        new = self._unknown(found, boxes)
        if len(new):
            book.begin(found[new], places[new], at_ns)
        book.rest(at_ns, self.settings.stationary_s)
        return self._answer(len(rows))

    def gated(self, at_ns: int) -> Tracked:
        """Hear that the motion gate left a frame out: nothing moves.

        What was just seen does not age; what has been missing for longer does, and may end.
        """
        step_ns = self._pass_time(at_ns)
        book = self._book
        rows = book.rows
        rows["row"] = -1
        held = rows["misses"] <= np.where(rows["stationary"], HELD_MISSES_STATIONARY, HELD_MISSES)
        rows["unseen_ns"][~held] += step_ns
        book.motion.halt(held)
        book.rest(at_ns, self.settings.stationary_s)
        return self._answer(0)

    def relabel(self, new_ids: Sequence[int]) -> tuple[int, ...]:
        """Another model takes over: its class for the old one's ``c`` is ``new_ids[c]``, -1 where it has none.

        Tracks of classes that it lacks end; their ids are returned.
        """
        known = self._book.relabel(new_ids)
        ids = self._book.rows["id"][~known]
        self._book.keep(known)
        return tuple(ids[ids > 0].tolist())

    def end_all(self) -> tuple[int, ...]:
        """End every track (the camera closes, tracking is switched off); return the ids that had begun."""
        ids = self._book.rows["id"]
        self._book = Book()
        return tuple(ids[ids > 0].tolist())

    def _sorted(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows worth a look, best first (then by position: order cannot matter), and where they were."""
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise ProgrammingError(f"a frame's rows are (n, 6), not {rows.shape}")
        places = np.flatnonzero(rows[:, 4] >= self.settings.low_score)
        found = rows[places].astype(np.float64)
        if len(found) and (found[:, 5].min() < 0 or found[:, 5].max() >= MOST_CLASSES):
            raise ProgrammingError(f"classes of rows are 0 to {MOST_CLASSES - 1}: check them before tracking")
        order = np.lexsort((found[:, 3], found[:, 2], found[:, 1], found[:, 0], found[:, 5], -found[:, 4]))
        return found[order], places[order]

    def _pass_time(self, at_ns: int) -> int:
        step_ns = 0 if self._at_ns is None else max(0, at_ns - self._at_ns)
        self._at_ns = at_ns
        return step_ns

    def _match(self, found: np.ndarray, step_ns: int) -> list[tuple[int, int]]:
        """Return which track was seen as which box, in four looks, each at what the ones before left over."""
        rows = self._book.rows
        if not len(rows) or not len(found):
            return []
        age_ns = rows["unseen_ns"] + step_ns
        fresh = (rows["misses"] <= 1) & (age_ns <= LONGEST_GAP_S * NS_PER_S)
        may = fresh | (age_ns <= self.settings.max_age_s * NS_PER_S)
        sure, begun = found[:, 4] >= self.settings.high_score, rows["id"] > 0
        expected = self._book.motion.boxes()
        same = rows["class_id"][:, None] == found[None, :, 5]
        close = _likeness(expected, found, same)
        look = _Look(may, np.ones(len(found), dtype=bool))
        look.at(close, begun, sure, self.settings.match_iou)
        look.at(close, begun & (rows["misses"] <= NEAR_MISSES), ~sure, LOW_IOU)
        look.at(close, ~begun, sure, self.settings.match_iou)
        look.tracks &= rows["misses"] <= NEAR_MISSES
        look.boxes &= sure
        some, others = look.left()
        if len(some) and len(others):
            at_once, a_second, most = NEAR_SHARE
            share = min(at_once + a_second * step_ns / NS_PER_S, most)
            near = overlaps(widened(expected[some], share), widened(found[others, :4], share))
            near *= same[some[:, None], others]
            look.take(pairs(near, self.settings.match_iou), some, others)
        return look.taken

    def _unknown(self, found: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """Return which boxes are objects that were not known: sure, and not a tracked or better one seen twice."""
        left = found[:, 4] >= self.settings.high_score
        left[taken] = False
        new = np.flatnonzero(left)
        if not len(new):
            return new
        first = np.concatenate((taken, new))
        twice = overlaps(found[new, :4], found[first, :4]) >= SAME_IOU
        chosen: list[int] = []
        for place in range(len(new)):
            earlier = [len(taken) + other for other in chosen]
            if not twice[place, : len(taken)].any() and not twice[place, earlier].any():
                chosen.append(place)
        return np.asarray(new[chosen])

    def _answer(self, count: int) -> Tracked:
        """Confirm, end and drop what is due, and tell."""
        book, settings = self._book, self.settings
        rows = book.rows
        ripe = (rows["id"] == 0) & (rows["hits"] >= settings.min_hits) & (rows["misses"] == 0)
        began = range(self._next_id, self._next_id + int(ripe.sum()))
        if began:
            rows["id"][ripe] = began
        self._next_id = began.stop
        begun = rows["id"] > 0
        unseen_s = rows["unseen_ns"] / NS_PER_S
        over = (unseen_s > settings.max_age_s) & ((rows["misses"] > 1) | (unseen_s > LONGEST_GAP_S))
        ended = tuple(rows["id"][begun & over].tolist())
        book.keep(~over & (begun | (rows["misses"] <= rows["hits"])))
        begun = book.rows["id"] > 0
        alive = Alive(*_by_id(book.rows[begun], book.motion.speeds[begun]))
        ids = np.full(count, -1, dtype=np.int64)
        seen = alive.rows >= 0
        ids[alive.rows[seen]] = alive.ids[seen]
        return Tracked(ids, tuple(began), ended, alive)


class _Look:
    """What is still to be matched: ``tracks`` and ``boxes`` are masks, ``taken`` grows."""

    def __init__(self, tracks: np.ndarray, boxes: np.ndarray) -> None:
        self.tracks = tracks.copy()
        self.boxes = boxes
        self.taken: list[tuple[int, int]] = []

    def at(self, likeness: np.ndarray, tracks: np.ndarray, boxes: np.ndarray, floor: float) -> None:
        """Match those ``tracks`` and ``boxes`` (masks) that are left."""
        some, others = (self.tracks & tracks).nonzero()[0], (self.boxes & boxes).nonzero()[0]
        if len(some) and len(others):
            self.take(pairs(likeness[some[:, None], others], floor), some, others)

    def left(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the tracks and boxes that are left."""
        return self.tracks.nonzero()[0], self.boxes.nonzero()[0]

    def take(self, chosen: Pairs, some: np.ndarray, others: np.ndarray) -> None:
        """Note pairs, counted within ``some`` tracks and ``others`` (boxes)."""
        for row, column in chosen:
            track, box = int(some[row]), int(others[column])
            self.tracks[track] = self.boxes[box] = False
            self.taken.append((track, box))


def _likeness(expected: np.ndarray, found: np.ndarray, same: np.ndarray) -> np.ndarray:
    overlap = overlaps(expected, found[:, :4])
    other = np.where(overlap >= OTHER_CLASS_IOU, OTHER_CLASS_WORTH * overlap, 0.0)
    return np.where(same, overlap, other)


def _by_id(book: np.ndarray, speeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(book["id"], kind="stable")
    return book[order], speeds[order]
