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
from agent.vision.assign import Cells, Pairs, alike, pairs
from agent.vision.overlap import overlaps, widened
from agent.vision.trackbook import MOST_CLASSES, NS_PER_S, Book, Table

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

    def __init__(self, table: Table, speeds: np.ndarray, which: np.ndarray) -> None:
        self.ids: np.ndarray = table.id.take(which)
        self.boxes: np.ndarray = table.box.take(which, axis=1).T
        self.class_ids: np.ndarray = table.class_id.take(which)
        self.scores: np.ndarray = table.score.take(which)
        self.top_scores: np.ndarray = table.top_score.take(which)
        self.first_ns: np.ndarray = table.first_ns.take(which)
        self.last_ns: np.ndarray = table.last_ns.take(which)
        self.stationary: np.ndarray = table.stationary.take(which).astype(np.bool_)
        self.rows: np.ndarray = table.row.take(which)
        self.velocities: np.ndarray = speeds[:2].take(which, axis=1).T

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
        frame = _Frame(found, int(np.count_nonzero(found[4] >= self.settings.high_score)), step_ns)
        book = self._book
        book.motion.advance(step_ns / NS_PER_S)
        box_of = self._match(frame)
        book.unseen(step_ns)
        if box_of:
            book.seen(box_of, found, places, at_ns)
        new = self._unknown(frame, list(box_of.values()))
        if new:
            book.begin(found[:, new], places[new], at_ns)
        book.rest(at_ns, self.settings.stationary_s)
        return self._answer(len(rows))

    def gated(self, at_ns: int) -> Tracked:
        """Hear that the motion gate left a frame out: nothing moves.

        What was just seen does not age; what has been missing for longer does, and may end.
        """
        step_ns = self._pass_time(at_ns)
        book = self._book
        table = book.table
        table.row.fill(-1)
        held = table.misses <= np.where(table.stationary, HELD_MISSES_STATIONARY, HELD_MISSES)
        table.unseen_ns[~held] += step_ns
        book.motion.halt(held)
        book.rest(at_ns, self.settings.stationary_s)
        return self._answer(0)

    def relabel(self, new_ids: Sequence[int]) -> tuple[int, ...]:
        """Another model takes over: its class for the old one's ``c`` is ``new_ids[c]``, -1 where it has none.

        Tracks of classes that it lacks end; their ids are returned.
        """
        known = self._book.relabel(new_ids)
        ids = self._book.table.id[~known]
        self._book.forget((~known).nonzero()[0].tolist())
        return tuple(ids[ids > 0].tolist())

    def end_all(self) -> tuple[int, ...]:
        """End every track (the camera closes, tracking is switched off); return the ids that had begun."""
        ids = self._book.table.id
        self._book = Book()
        return tuple(ids[ids > 0].tolist())

    def _sorted(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows worth a look as columns, best first, and where they were.

        Equal scores are told apart by class and position: the order of rows cannot matter.
        """
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise ProgrammingError(f"a frame's rows are (n, 6), not {rows.shape}")
        table = np.array(rows.T, dtype=np.float64, order="C")
        order = (-table[4]).argsort(kind="stable")[: np.count_nonzero(table[4] >= self.settings.low_score)]
        found = table.take(order, axis=1)
        scores, labels = found[4], found[5].tolist()
        if labels and (min(labels) < 0 or max(labels) >= MOST_CLASSES):
            raise ProgrammingError(f"classes of rows are 0 to {MOST_CLASSES - 1}: check them before tracking")
        if np.count_nonzero(scores[1:] == scores[:-1]):
            again = np.lexsort((found[3], found[2], found[1], found[0], found[5], -scores))
            return found.take(again, axis=1), order[again]
        return found, order

    def _pass_time(self, at_ns: int) -> int:
        step_ns = 0 if self._at_ns is None else max(0, at_ns - self._at_ns)
        self._at_ns = at_ns
        return step_ns

    def _match(self, frame: _Frame) -> dict[int, int]:
        """Return as which box each track was seen, in four looks, each at what the ones before left over."""
        if not len(self._book.table) or not frame.found.shape[1]:
            return {}
        findable = self._findable(frame.step_ns)
        begun, kept, tentative = self._looks(frame, findable)
        box_of = dict(pairs(begun))
        if kept:
            box_of.update(pairs({cell: worth for cell, worth in kept.items() if cell[0] not in box_of}))
        if tentative:
            taken = set(box_of.values())
            box_of.update(pairs({cell: worth for cell, worth in tentative.items() if cell[1] not in taken}))
        others = sorted(set(range(frame.sure)).difference(box_of.values()))
        if others:
            some = [track for track, here in enumerate(findable) if here and track not in box_of]
            box_of.update(self._near(frame, some, others))
        return box_of

    def _findable(self, step_ns: int) -> list[bool]:
        """Return of each track whether it may still be seen: unseen for not too long, or but once."""
        table = self._book.table
        oldest, oldest_fresh = self.settings.max_age_s * NS_PER_S - step_ns, LONGEST_GAP_S * NS_PER_S - step_ns
        ages = table.unseen_ns.tolist()
        if max(ages) <= oldest:
            return [True] * len(ages)
        misses = table.misses.tolist()
        return [
            age <= oldest or (missed <= 1 and age <= oldest_fresh) for age, missed in zip(ages, misses, strict=True)
        ]

    def _looks(self, frame: _Frame, findable: list[bool]) -> tuple[Cells, Cells, Cells]:
        """Return what is alike for three looks: begun tracks and sure boxes, begun and unsure, tentative and sure."""
        table, floor, sure = self._book.table, self.settings.match_iou, frame.sure
        overlap = overlaps(self._book.motion.boxes().T, frame.found[:4].T)
        ids, misses, class_of = table.id.tolist(), table.misses.tolist(), table.class_id.tolist()
        labels = frame.found[5].tolist()
        begun: Cells = {}
        kept: Cells = {}
        tentative: Cells = {}
        for cell, worth in alike(overlap, min(floor, LOW_IOU)).items():
            track, box = cell
            if class_of[track] != labels[box]:
                worth = OTHER_CLASS_WORTH * worth if worth >= OTHER_CLASS_IOU else 0.0
            if not findable[track] or not worth:
                continue
            if box < sure:
                if worth >= floor:
                    (begun if ids[track] else tentative)[cell] = worth
            elif worth >= LOW_IOU and ids[track] and misses[track] <= NEAR_MISSES:
                kept[cell] = worth
        return begun, kept, tentative

    def _near(self, frame: _Frame, some: list[int], others: list[int]) -> Pairs:
        """Look around for those of ``some`` tracks seen lately, among the ``others``: boxes of their class."""
        table, found = self._book.table, frame.found[:, others]
        misses = table.misses.tolist()
        some = [track for track in some if misses[track] <= NEAR_MISSES]
        if not some:
            return []
        at_once, a_second, most = NEAR_SHARE
        share = min(at_once + a_second * frame.step_ns / NS_PER_S, most)
        around = overlaps(widened(self._book.motion.boxes()[:, some].T, share), widened(found[:4].T, share))
        around *= table.class_id[some, None] == found[5]
        return [(some[row], others[column]) for row, column in pairs(alike(around, self.settings.match_iou))]

    def _unknown(self, frame: _Frame, taken: list[int]) -> list[int]:
        """Return which boxes are objects that were not known: sure, and not a tracked or better one seen twice."""
        found, new = frame.found, sorted(set(range(frame.sure)).difference(taken))
        if not new:
            return new
        first = taken + new
        twice = overlaps(found[:4, new].T, found[:4, first].T) >= SAME_IOU
        chosen: list[int] = []
        others = list(range(len(taken)))
        for place, same in enumerate(twice.tolist(), start=len(taken)):
            if not any(same[other] for other in others):
                others.append(place)
                chosen.append(first[place])
        return chosen

    def _answer(self, count: int) -> Tracked:
        """Confirm, end and drop what is due, and tell."""
        table = self._book.table
        ids, hits, misses = table.id.tolist(), table.hits.tolist(), table.misses.tolist()
        began = self._confirm(ids, hits, misses) if 0 in ids else ()
        ended = self._forget(ids, hits, misses) if any(misses) else ()
        table = self._book.table
        order = table.id.argsort(kind="stable")[len(table) - np.count_nonzero(table.id) :]
        alive = Alive(table, self._book.motion.speeds, order)
        rows = np.empty(count + 1, dtype=np.int64)
        rows.fill(-1)
        rows[alive.rows] = alive.ids  # what has no row (-1) writes to the place behind the last
        return Tracked(rows[:count], began, ended, alive)

    def _confirm(self, ids: list[int], hits: list[int], misses: list[int]) -> tuple[int, ...]:
        """Give ids to the tracks that were seen often enough, in ``ids`` too."""
        first = self._next_id
        for track, given in enumerate(ids):
            if not given and hits[track] >= self.settings.min_hits and not misses[track]:
                self._book.table.id[track] = ids[track] = self._next_id
                self._next_id += 1
        return tuple(range(first, self._next_id))

    def _forget(self, ids: list[int], hits: list[int], misses: list[int]) -> tuple[int, ...]:
        """Let go of what has been missing for too long; return the ids among it."""
        book, over, ghosts = self._book, [], []
        unseen = book.table.unseen_ns.tolist()
        oldest, oldest_missed_once = self.settings.max_age_s * NS_PER_S, LONGEST_GAP_S * NS_PER_S
        for track in [track for track, missed in enumerate(misses) if missed]:
            if unseen[track] > oldest and (misses[track] > 1 or unseen[track] > oldest_missed_once):
                over.append(track)
            elif not ids[track] and misses[track] > hits[track]:
                ghosts.append(track)
        if over or ghosts:
            book.forget(over + ghosts)
        return tuple(ids[track] for track in over if ids[track])


class _Frame(msgspec.Struct, frozen=True):
    """What an update was given: ``found`` (6, m), best first, the first ``sure`` of them sure; the time since."""

    found: np.ndarray
    sure: int
    step_ns: int
