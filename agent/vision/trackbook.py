"""What is known of each object that is being followed: one row each in arrays. Pure.

:class:`Book` holds confirmed and tentative tracks alike (``id`` 0: not confirmed yet) in the order in which they were
first seen, beside the motion model's state at the same positions. It knows nothing of how boxes are matched.
"""

from __future__ import annotations

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

ROW = np.dtype(
    [
        ("id", np.int64),
        ("hits", np.int64),
        ("misses", np.int64),
        ("class_id", np.int64),
        ("score", np.float64),
        ("top_score", np.float64),
        ("box", np.float64, (4,)),
        ("first_ns", np.int64),
        ("last_ns", np.int64),
        ("unseen_ns", np.int64),
        ("anchor", np.float64, (2,)),
        ("anchor_ns", np.int64),
        ("stationary", np.bool_),
        ("row", np.int64),
    ]
)
"""``misses``: updates without it in a row; ``unseen_ns``: time that counts against it since it was seen; ``row``: its
row in the newest update, -1 where it has none."""


class Book:
    """The tracks of one camera; ``rows`` is a structured array of :data:`ROW`, ``motion`` goes along with it."""

    def __init__(self) -> None:
        self.rows = np.zeros(0, ROW)
        self.motion = Motion()
        self._votes = np.zeros((0, 1))

    def seen(self, which: np.ndarray, found: np.ndarray, rows: np.ndarray, at_ns: int) -> None:
        """Note that tracks ``which`` (k,) were seen as ``found`` (k, 6), rows ``rows`` (k,) of the update."""
        self.motion.correct(which, found[:, :4])
        book = self.rows
        scores = found[:, 4]
        book["hits"][which] += 1
        book["misses"][which] = 0
        book["unseen_ns"][which] = 0
        book["score"][which] += SMOOTHING * (scores - book["score"][which])
        book["top_score"][which] = np.maximum(book["top_score"][which], scores)
        book["box"][which] = found[:, :4]
        book["last_ns"][which] = at_ns
        book["row"][which] = rows
        self._vote(which, found[:, 5].astype(np.int64), scores)
        self._settle(which, at_ns)

    def begin(self, found: np.ndarray, rows: np.ndarray, at_ns: int) -> None:
        """Follow ``found`` (k, 6) too, at least one, which were rows ``rows`` (k,); they are tentative."""
        new = np.zeros(len(found), ROW)
        new["hits"] = 1
        new["class_id"] = found[:, 5]
        new["score"] = new["top_score"] = found[:, 4]
        new["box"] = found[:, :4]
        new["first_ns"] = new["last_ns"] = new["anchor_ns"] = at_ns
        new["row"] = rows
        self.motion.add(found[:, :4])
        new["anchor"] = self.motion.values[len(self.rows) :, :2]
        self.rows = np.concatenate((self.rows, new))
        self._grow(int(new["class_id"].max()))
        votes = np.zeros((len(new), self._votes.shape[1]))
        votes[np.arange(len(new)), new["class_id"]] = found[:, 4]
        self._votes = np.concatenate((self._votes, votes))

    def keep(self, mask: np.ndarray) -> None:
        """Forget the tracks where ``mask`` is False."""
        if not mask.all():
            self.rows, self._votes = self.rows[mask], self._votes[mask]
            self.motion.keep(mask)

    def rest(self, at_ns: int, stationary_s: float) -> None:
        """Call stationary what was seen last time and has stayed where it was for ``stationary_s``."""
        book = self.rows
        book["stationary"] |= (book["misses"] == 0) & (at_ns - book["anchor_ns"] >= stationary_s * NS_PER_S)

    def relabel(self, new_ids: Sequence[int]) -> np.ndarray:
        """Give votes for class ``c`` to ``new_ids[c]``, to none where that is -1; return which tracks have any left."""
        new = np.asarray(new_ids, dtype=np.int64)
        if new.size and (new.min() < -1 or new.max() >= MOST_CLASSES):
            raise ProgrammingError(f"classes are -1 (none) or 0 to {MOST_CLASSES - 1}, not {new.min()} or {new.max()}")
        votes = np.zeros((len(self.rows), max(1, int(new.max(initial=0)) + 1)))
        for old in range(min(len(new), self._votes.shape[1])):
            if new[old] >= 0:
                votes[:, new[old]] += self._votes[:, old]
        self._votes = votes
        self.rows["class_id"] = votes.argmax(axis=1)
        return np.asarray(votes.max(axis=1) > 0)

    def _vote(self, which: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> None:
        self._grow(int(classes.max()))
        votes = self._votes[which] * FORGETTING
        place = np.arange(len(which))
        votes[place, classes] += scores
        self._votes[which] = votes
        best = votes.argmax(axis=1)
        now = self.rows["class_id"][which]
        change = votes[place, best] > MAJORITY * votes[place, now]
        self.rows["class_id"][which] = np.where(change, best, now)

    def _settle(self, which: np.ndarray, at_ns: int) -> None:
        """Move the anchor of what left its place; a stationary object has to go further than one that moves."""
        book = self.rows
        centres = self.motion.values[which, :2]
        off = np.hypot(*(centres - book["anchor"][which]).T) / self.motion.sizes()[which]
        moved = which[off > np.where(book["stationary"][which], UNSETTLED, SETTLED)]
        if len(moved):
            book["anchor"][moved] = self.motion.values[moved, :2]
            book["anchor_ns"][moved] = at_ns
            book["stationary"][moved] = False

    def _grow(self, class_id: int) -> None:
        if class_id >= self._votes.shape[1]:
            wider = np.zeros((len(self._votes), class_id + 1 - self._votes.shape[1]))
            self._votes = np.concatenate((self._votes, wider), axis=1)
