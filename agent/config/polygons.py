"""What is wrong with a polygon or a line that somebody wrote, in words. Pure.

Works on raw values: anything that is not a list of pairs of numbers is passed over, because the schema complains of it.
Coordinates are parts of the picture's size where none exceeds 1, else pixels (as :mod:`agent.vision.zones` reads them);
one that mixes both was meant to be one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Point = tuple[float, float]
Complaint = tuple[int | None, str, str]
"""Index of the point (None: all of them), message, hint."""

LEAST_PIXELS = 4.0
"""Area of a polygon, or length of a line, in pixels below which it was hardly meant."""
LEAST_PART = 1e-6


def points_of(value: Any) -> tuple[Point, ...]:
    """Return the points, or none where ``value`` is of another shape."""
    if not isinstance(value, list | tuple):
        return ()
    found = [item for item in value if isinstance(item, list | tuple) and len(item) == 2 and all(map(_is_number, item))]
    return tuple((float(x), float(y)) for x, y in found) if len(found) == len(value) else ()


def complaints(value: Any, *, closed: bool) -> Iterator[Complaint]:
    """Say what is wrong with a polygon (``closed``) or a line."""
    points = points_of(value)
    if len(points) < (3 if closed else 2) or any(number < 0 for point in points for number in point):
        return
    mixed = _mixed(points)
    if mixed is not None:
        yield mixed
        return
    least = LEAST_PIXELS if max(map(max, points)) > 1 else LEAST_PART
    if not closed:
        (ax, ay), (bx, by) = points[0], points[-1]
        if abs(ax - bx) + abs(ay - by) < least:
            yield None, "has both ends in one place", "give two points apart: [[x, y], [x, y]]"
        return
    crossing = _crossing(points)
    if crossing is not None:
        first, second = crossing
        message = f"crosses itself: the edge from point {first} cuts the edge from point {second}"
        yield None, message, "give the corners in their order around the area"
    elif abs(_area(points)) < least:
        yield None, "holds no area", "give corners that are apart; parts of the picture are 0 to 1, all else is pixels"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9  # also not NaN


def _mixed(points: Sequence[Point]) -> Complaint | None:
    """Find a number above 1 beside one that can only be a part."""
    parts = any(0 < number < 1 for point in points for number in point)
    outside = next((index for index, point in enumerate(points) if max(point) > 1), None)
    if not parts or outside is None:
        return None
    x, y = points[outside]
    message = f"[{x:g}, {y:g}] lies outside the picture: the others are parts of its width and height"
    return outside, message, "write parts from 0 to 1, or pixels for all of them"


def _crossing(points: Sequence[Point]) -> tuple[int, int] | None:
    """Return the first two edges that are no neighbours and meet, by the number of the point they begin at."""
    count = len(points)
    edges = [(points[index], points[(index + 1) % count]) for index in range(count)]
    for first in range(count):
        for second in range(first + 2, count):
            if (second + 1) % count != first and _meet(*edges[first], *edges[second]):
                return first, second
    return None


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    sides = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    on = ((sides[0], a, b, c), (sides[1], a, b, d), (sides[2], c, d, a), (sides[3], c, d, b))
    return any(side == 0 and _between(p, q, r) for side, p, q, r in on)


def _side(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _between(a: Point, b: Point, c: Point) -> bool:
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _area(points: Sequence[Point]) -> float:
    pairs = zip(points, (*points[1:], points[0]), strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs) / 2
