"""Polygons and lines in a picture: who is in them and who crosses them. Pure; numpy only.

A track stands where the middle of its box' lower edge is (its *anchor*). It is *in* a zone once its anchor was there
``inertia`` sightings in a row, and out again after as many outside; the time before counts, so that a stay lasts from
the first of those sightings to the last one inside. A line is crossed when the anchor's way from one sighting to the
next cuts it and the anchor then stays on the other side for ``inertia`` sightings, or until the track ends; whoever
walks around its end crosses nothing. Looking along a line from its first point to the second as it lies in the
picture, ``in`` is from its left to its right, ``out`` the other way.

Points are parts of the picture's size where no number exceeds 1, else pixels. Owned by one thread: the pipeline's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np

from agent.clock import NS_PER_S
from agent.vision.filters import Limits, Sieve, Vocabulary

Point = tuple[float, float]
Direction = Literal["in", "out"]

INSIDE = 1e-3
"""Pixels by which an anchor stays clear of the picture's right and lower edge, so that polygons up to there hold it."""


class ZoneSpec(msgspec.Struct, frozen=True):
    """A polygon (three points or more), a line (two), or with ``mask`` a polygon whose objects are ignored.

    ``labels`` None: all. ``limits``: what else is asked of objects of some labels. ``loiter_s``: a stay that lasts so
    long is told as loitering.
    """

    name: str
    points: tuple[Point, ...]
    mask: bool = False
    labels: frozenset[str] | None = None
    limits: dict[str, Limits] = {}
    inertia: int = 3
    loiter_s: float | None = None

    @property
    def is_line(self) -> bool:
        """Whether it is crossed, not stayed in."""
        return len(self.points) == 2


class Sighting(msgspec.Struct, frozen=True):
    """Tracks that were seen in one frame: ``ids``, ``label_ids``, ``scores`` (n,), ``boxes`` (n, 4) in pixels."""

    ids: np.ndarray
    label_ids: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    size: tuple[int, int]
    at_ns: int

    @property
    def anchors(self) -> np.ndarray:
        """Where they stand, (n, 2), within the picture."""
        return anchors(self.boxes, self.size)


class Change(msgspec.Struct, frozen=True):
    """What became of a track at a place: ``new`` it is in, ``update`` it loiters, ``end`` it is out; or it crossed."""

    track: int
    place: str
    kind: Literal["zone", "line"]
    type: Literal["new", "update", "end"]
    dwell_s: float | None = None
    loitering: bool = False
    direction: Direction | None = None


def anchors(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the middle of each box' lower edge, (n, 4) → (n, 2), within a picture of this size."""
    found: np.ndarray = boxes[:, 2:].copy()
    found[:, 0] += boxes[:, 0]
    found[:, 0] /= 2
    np.minimum(found, (size[0] - INSIDE, size[1] - INSIDE), out=found)
    return found


def in_pixels(points: Sequence[Point], size: tuple[int, int]) -> np.ndarray:
    """Return points (k, 2) in pixels of a picture of this size; see the module for what they are before."""
    found: np.ndarray = np.array(points, float).reshape(-1, 2)
    if found.size and found.max() <= 1.0:
        found *= size
    return found


class Outline:
    """A polygon (k, 2) that can say which points it holds, by the even-odd rule.

    Of its border, the parts to the left and above belong to it: neighbours share no point.
    """

    def __init__(self, points: np.ndarray) -> None:
        following = np.concatenate((points[1:], points[:1]))
        level = following[:, 1] == points[:, 1]
        begin, end = points[~level], following[~level]  # a level edge is never crossed by a level ray
        self._x, self._y, self._end_y = begin[:, 0], begin[:, 1], end[:, 1]
        self._slope = (end[:, 0] - begin[:, 0]) / (end[:, 1] - begin[:, 1])

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Return which of the points (n, 2) are inside: bool (n,)."""
        x, y = points[:, :1], points[:, 1:]
        straddles = (self._y > y) != (self._end_y > y)
        to_the_left = x < self._x + (y - self._y) * self._slope
        return np.asarray(np.bitwise_xor.reduce(straddles & to_the_left, axis=1))


def is_right(line: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points (n, 2) lie to the right of the line (2, 2), seen along it in the picture; on it is right."""
    (ax, ay), (bx, by) = line
    return np.asarray((bx - ax) * (points[:, 1] - ay) - (by - ay) * (points[:, 0] - ax) >= 0.0)


def cuts(line: np.ndarray, before: Point, after: Point) -> bool:
    """Tell whether the way from ``before`` to ``after``, which lie on two sides, cuts the line between its ends."""
    ax, ay, bx, by = map(float, line.ravel())
    dx, dy = after[0] - before[0], after[1] - before[1]
    side_a = dx * (ay - before[1]) - dy * (ax - before[0])
    side_b = dx * (by - before[1]) - dy * (bx - before[0])
    return side_a * side_b <= 0.0 and (side_a != 0.0 or side_b != 0.0)


class Place(Protocol):
    """What polygons and lines have in common."""

    def resize(self, size: tuple[int, int]) -> None:
        """Frames are of this size from now on."""

    def update(self, vocabulary: Vocabulary, seen: Sighting, points: np.ndarray) -> Iterable[Change]:
        """Take the tracks of one frame, whose anchors are ``points``."""

    def forget(self, track: int) -> Iterable[Change]:
        """End a track."""


class _Stay:
    """One track at one polygon."""

    __slots__ = ("inside", "last_ns", "loitering", "run", "since_ns")

    def __init__(self, at_ns: int) -> None:
        self.inside = False
        self.run = 0  # sightings in a row that speak for the other state
        self.since_ns = self.last_ns = at_ns
        self.loitering = False

    @property
    def dwell_s(self) -> float:
        return (self.last_ns - self.since_ns) / NS_PER_S


class Polygon:
    """A zone and who is in it."""

    def __init__(self, spec: ZoneSpec, stays: dict[int, _Stay] | None = None) -> None:
        self.spec = spec
        self._sieve = Sieve(spec.labels, spec.limits)
        self._stays: dict[int, _Stay] = {} if stays is None else stays
        self._outline = Outline(np.zeros((0, 2)))

    def resize(self, size: tuple[int, int]) -> None:
        """Frames are of this size from now on."""
        self._outline = Outline(in_pixels(self.spec.points, size))

    def holds(self, vocabulary: Vocabulary, seen: Sighting, points: np.ndarray) -> np.ndarray:
        """Return whom the polygon holds and the limits let through: bool (n,)."""
        inside = self._outline.holds(points)
        if inside.any():
            area = float(seen.size[0] * seen.size[1])
            inside &= self._sieve.passes(vocabulary, seen.label_ids, seen.scores, seen.boxes, area)
        return inside

    def update(self, vocabulary: Vocabulary, seen: Sighting, points: np.ndarray) -> Iterable[Change]:
        """Return who came and who went."""
        found: list[Change] = []
        stays, at_ns = self._stays, seen.at_ns
        for track, inside in zip(seen.ids.tolist(), self.holds(vocabulary, seen, points).tolist(), strict=True):
            stay = stays.get(track)
            if stay is None:
                if not inside:
                    continue
                stay = stays[track] = _Stay(at_ns)
            if inside:
                stay.last_ns = at_ns
            if inside != stay.inside:
                found += self._turn(track, stay)
            elif inside:
                stay.run = 0
            else:
                del stays[track]  # a false start
        return found

    def _turn(self, track: int, stay: _Stay) -> tuple[Change, ...]:
        """Count a sighting that speaks for the other state."""
        stay.run += 1
        if stay.run < self.spec.inertia:
            return ()
        if stay.inside:
            return (self._end(track),)
        stay.inside, stay.run = True, 0
        return (Change(track, self.spec.name, "zone", "new", dwell_s=stay.dwell_s),)

    def tick(self, at_ns: int) -> Iterable[Change]:
        """Tell who has stayed so long by now that it is loitering, whether it was seen just now or not."""
        if self.spec.loiter_s is None:
            return
        for track, stay in self._stays.items():
            if stay.inside and not stay.loitering and at_ns - stay.since_ns >= self.spec.loiter_s * NS_PER_S:
                stay.loitering = True
                dwell_s = (at_ns - stay.since_ns) / NS_PER_S
                yield Change(track, self.spec.name, "zone", "update", dwell_s=dwell_s, loitering=True)

    def forget(self, track: int) -> Iterable[Change]:
        """End a track, and its stay with it."""
        stay = self._stays.get(track)
        if stay is not None and stay.inside:
            return (self._end(track),)
        self._stays.pop(track, None)
        return ()

    def _end(self, track: int) -> Change:
        stay = self._stays.pop(track)
        return Change(track, self.spec.name, "zone", "end", dwell_s=stay.dwell_s, loitering=stay.loitering)

    def redrawn(self, spec: ZoneSpec) -> Polygon:
        """Return the polygon under another spec; where it stays in its place, so does who is in it."""
        return Polygon(spec, self._stays if spec.points == self.spec.points else None)

    def close(self) -> list[Change]:
        """End every stay."""
        return [change for track in tuple(self._stays) for change in self.forget(track)]

    def present(self) -> list[Change]:
        """Return the stays that go on, told as if they began."""
        return [
            Change(track, self.spec.name, "zone", "new", dwell_s=stay.dwell_s, loitering=stay.loitering)
            for track, stay in self._stays.items()
            if stay.inside
        ]

    def inside(self) -> Iterable[int]:
        """Return the tracks that are in it."""
        return (track for track, stay in self._stays.items() if stay.inside)

    def has(self, track: int) -> bool:
        """Return whether a track is in it."""
        stay = self._stays.get(track)
        return stay is not None and stay.inside


class _Passage:
    """One track at one line: the side where it settled, and since when it is on the other one."""

    __slots__ = ("at", "crossed", "right", "run")

    def __init__(self, right: bool, at: Point) -> None:
        self.right = right
        self.at = at
        self.run = 0
        self.crossed = False  # it came over between the line's ends, not around them


class Line:
    """A line and how often it was crossed."""

    def __init__(self, spec: ZoneSpec, counted: tuple[int, int] = (0, 0)) -> None:
        self.spec = spec
        self.counts: dict[Direction, int] = {"in": counted[0], "out": counted[1]}
        self._sieve = Sieve(spec.labels, spec.limits)
        self._passages: dict[int, _Passage] = {}
        self._points = np.zeros((2, 2))

    def resize(self, size: tuple[int, int]) -> None:
        """Frames are of this size from now on; who is on its way across is forgotten."""
        self._points = in_pixels(self.spec.points, size)
        self._passages.clear()

    def update(self, vocabulary: Vocabulary, seen: Sighting, points: np.ndarray) -> Iterable[Change]:
        """Return who crossed it, and count them."""
        area = float(seen.size[0] * seen.size[1])
        fits = self._sieve.passes(vocabulary, seen.label_ids, seen.scores, seen.boxes, area).tolist()
        found: list[Change] = []
        sides = is_right(self._points, points).tolist()
        for track, at, right, fit in zip(seen.ids.tolist(), points.tolist(), sides, fits, strict=True):
            passage = self._passages.get(track)
            if passage is None:
                self._passages[track] = _Passage(right, at)
                continue
            if right == passage.right:
                passage.run, passage.crossed = 0, False
            else:
                if passage.run == 0:
                    passage.crossed = cuts(self._points, passage.at, at)
                passage.run += 1
                if passage.run >= self.spec.inertia:
                    found += self._settle(track, passage, fit)
            passage.at = at
        return found

    def _settle(self, track: int, passage: _Passage, fit: bool) -> tuple[Change, ...]:
        crossed, passage.crossed = passage.crossed and fit, False
        passage.right, passage.run = not passage.right, 0
        if not crossed:
            return ()
        direction: Direction = "in" if passage.right else "out"
        self.counts[direction] += 1
        return (Change(track, self.spec.name, "line", "new", direction=direction),)

    def forget(self, track: int) -> Iterable[Change]:
        """End a track; one that was on the other side has crossed: it left the picture just behind the line."""
        passage = self._passages.pop(track, None)
        return () if passage is None or passage.run == 0 else self._settle(track, passage, fit=True)
