"""What is known of each object that is being followed: one row each in arrays. Pure.

:class:`Book` holds confirmed and tentative tracks alike (``id`` 0: not confirmed yet) in the order in which they were
first seen, beside the motion model's state at the same positions. It knows nothing of how boxes are matched. What a
frame changes is written in place over all tracks at once, those that were not seen masked: with a few dozen tracks the
calls into numpy are what takes the time, not the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agent.errors import ProgrammingError
from agent.vision.motionmodel import Motion

MOST_CLASSES = 10_000
NS_PER_S = 1_000_000_000
SMOOTHING = 0.25
"""Share of the newest score in a track's smoothed one."""
FORGETTING = 0.95
"""What a sighting leaves of the votes before it."""
MAJORITY = 1.25
"""How many times the votes of the present label another needs."""
SETTLED = 0.15
"""An object that stays within this share of its size is settling down."""
UNSETTLED = 0.35
"""A stationary object moves again when it is further away than this share of its size."""
_LEASHES = np.array([SETTLED**2, UNSETTLED**2])


class Table:
    """One column a track; each name is a view of a row in one of two arrays, so write in place, never to the name.

    ``misses``: updates without it in a row; ``unseen_ns``: time that counts against it since it was seen; ``row``: its
    row in the newest update, -1 where it has none; ``stationary`` is 0 or 1. ``box`` is (4, n), ``anchor`` (2, n).
    """

    __slots__ = (
        "_real", "_whole", "anchor", "anchor_ns", "box", "class_id", "first_ns", "hits", "id", "last_ns", "misses",
        "row", "score", "stationary", "top_score", "unseen_ns",
    )  # fmt: skip

    def __init__(self, whole: np.ndarray, real: np.ndarray) -> None:
        self._whole, self._real = whole, real
        self.id, self.hits, self.misses, self.class_id, self.stationary, self.row = whole[:6]
        self.first_ns, self.last_ns, self.unseen_ns, self.anchor_ns = whole[6:]
        self.score, self.top_score = real[:2]
        self.box, self.anchor = real[2:6], real[6:]

    @classmethod
    def blank(cls, count: int) -> Table:
        """Return a table of so many tracks, all 0."""
        return cls(np.zeros((10, count), np.int64), np.zeros((8, count)))

    def __len__(self) -> int:
        return len(self.id)

    def at(self, which: np.ndarray) -> Table:
        """Return a copy of the columns ``which`` (positions), in that order."""
        return Table(self._whole.take(which, axis=1), self._real.take(which, axis=1))

    def followed_by(self, other: Table) -> Table:
        """Return a copy with ``other``'s columns behind."""
        return Table(
            np.concatenate((self._whole, other._whole), axis=1), np.concatenate((self._real, other._real), axis=1)
        )


class Book:
    """The tracks of one camera: their table, and their ``motion`` along with it. Found boxes are columns too."""

    def __init__(self) -> None:
        self.table = Table.blank(0)
        self.motion = Motion()
        self._votes = np.zeros((1, 0))

    def unseen(self, step_ns: int) -> None:
        """Begin an update ``step_ns`` after the one before: whom it sees will be told by :meth:`seen`."""
        table = self.table
        table.misses += 1
        table.unseen_ns += step_ns
        table.row.fill(-1)

    def seen(self, box_of: dict[int, int], found: np.ndarray, rows: np.ndarray, at_ns: int) -> None:
        """Note that tracks were seen, at least one: each of ``box_of`` as that column of ``found`` (6, m).

        ``rows`` (m,): where the boxes found were in the update.
        """
        table = self.table
        boxes_of = np.empty(len(table), dtype=np.int64)
        boxes_of.fill(-1)
        boxes_of[list(box_of)] = list(box_of.values())
        which = boxes_of >= 0
        mine = found.take(boxes_of, axis=1)  # -1 takes the last one, which the mask leaves without effect
        boxes, scores, classes = mine[:4], mine[4], mine[5].astype(np.int64)
        self.motion.correct(which, boxes)
        weight = which.astype(np.float64)
        given = scores * weight
        table.hits += which
        table.misses[which] = 0
        table.unseen_ns[which] = 0
        table.last_ns[which] = at_ns
        np.copyto(table.row, rows.take(boxes_of), where=which)
        table.score += SMOOTHING * weight * (scores - table.score)
        np.maximum(table.top_score, given, out=table.top_score)
        np.copyto(table.box, boxes, where=which)
        self._vote(which, classes, given)
        self._settle(which, at_ns)

    def begin(self, found: np.ndarray, rows: np.ndarray, at_ns: int) -> None:
        """Follow ``found`` (6, k) too, at least one, which were rows ``rows`` (k,); they are tentative."""
        count, known = len(rows), len(self.table)
        boxes, scores, classes = found[:4], found[4], found[5].astype(np.int64)
        new = Table.blank(count)
        new.hits[:] = 1
        new.class_id[:] = classes
        new.score[:] = new.top_score[:] = scores
        new.box[:] = boxes
        new.first_ns[:] = new.last_ns[:] = new.anchor_ns[:] = at_ns
        new.row[:] = rows
        self.motion.add(boxes)
        new.anchor[:] = self.motion.values[:2, known:]
        self.table = self.table.followed_by(new)
        self._grow(classes.max())
        votes = np.zeros((len(self._votes), count))
        votes[classes, np.arange(count)] = scores
        self._votes = np.concatenate((self._votes, votes), axis=1)

    def forget(self, which: Sequence[int]) -> None:
        """Forget these tracks; the others close ranks."""
        keep = np.ones(len(self.table), dtype=np.bool_)
        keep[which] = False
        self.table, self._votes = self.table.at(keep.nonzero()[0]), self._votes.compress(keep, axis=1)
        self.motion.keep(keep)

    def rest(self, at_ns: int, stationary_s: float) -> None:
        """Call stationary what was seen last time and has stayed where it was for ``stationary_s``."""
        table = self.table
        since_ns = at_ns - math.ceil(stationary_s * NS_PER_S)
        table.stationary[(table.anchor_ns <= since_ns) & (table.misses == 0)] = 1

    def relabel(self, new_ids: Sequence[int]) -> np.ndarray:
        """Give votes for class ``c`` to ``new_ids[c]``, to none where that is -1; return which tracks have any left."""
        new = np.asarray(new_ids, dtype=np.int64)
        if new.size and (new.min() < -1 or new.max() >= MOST_CLASSES):
            raise ProgrammingError(f"classes are -1 (none) or 0 to {MOST_CLASSES - 1}, not {new.min()} or {new.max()}")
        votes = np.zeros((max(1, int(new.max(initial=0)) + 1), len(self.table)))
        for old in range(min(len(new), len(self._votes))):
            if new[old] >= 0:
                votes[new[old]] += self._votes[old]
        self._votes = votes
        self.table.class_id[:] = votes.argmax(axis=0)
        return np.asarray(votes.max(axis=0) > 0)

    def _vote(self, which: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> None:
        """Take in a vote each. Only its class can come to outweigh the present label, since all others fade alike."""
        self._grow(classes[classes.argmax()])
        votes, now = self._votes, self.table.class_id
        votes *= np.where(which, FORGETTING, 1.0)
        flat, place = votes.reshape(-1), np.arange(len(which))  # one index is found far sooner than two
        mine = classes * len(which) + place
        flat[mine] += scores
        if np.count_nonzero((classes != now) & which):
            change = which & (flat[mine] > MAJORITY * flat[now * len(which) + place])
            np.copyto(now, classes, where=change)

    def _settle(self, which: np.ndarray, at_ns: int) -> None:
        """Move the anchor of what left its place; a stationary object has to go further than one that moves."""
        table, centres = self.table, self.motion.values[:2]
        off = centres - table.anchor
        off *= off
        leash = _LEASHES.take(table.stationary) * self.motion.areas()
        moved = which & (off[0] + off[1] > leash)
        if np.count_nonzero(moved):
            np.copyto(table.anchor, centres, where=moved)
            table.anchor_ns[moved] = at_ns
            table.stationary[moved] = 0

    def _grow(self, class_id: int) -> None:
        missing = class_id + 1 - len(self._votes)
        if missing > 0:
            self._votes = np.concatenate((self._votes, np.zeros((missing, self._votes.shape[1]))))
