from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.vision.filters import Limits, Vocabulary
from agent.vision.places import Change, Outline, Sighting, ZoneSpec, cuts, in_pixels, is_right
from agent.vision.zones import Zones

SIZE = (100, 100)
LEFT = ZoneSpec("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), inertia=1)
DOWN = ZoneSpec("door", ((0.5, 0.2), (0.5, 0.8)), inertia=1)
"""A line that goes down the picture: its left is the picture's right."""

numbers = st.integers(-20, 20)
points = st.tuples(numbers, numbers)


class Walk:
    """Moves tracks about, one frame each tenth of a second."""

    def __init__(self, *specs: ZoneSpec) -> None:
        self.vocabulary = Vocabulary(["person", "car"])
        self.zones = Zones(specs, self.vocabulary)
        self.at_ns = 0

    def see(self, *places: tuple[float, float], first: int = 1, score: float = 0.9, label: str = "person", half=1.0):
        """Take one frame with a track at each place; return what changed."""
        self.at_ns += NS_PER_S // 10
        boxes = np.array([(x - half, y - 4, x + half, y) for x, y in places], float).reshape(-1, 4)
        ids = np.arange(first, first + len(places))
        labels = np.full(len(places), self.vocabulary.id_of(label))
        return self.zones.update(Sighting(ids, labels, np.full(len(places), score), boxes, SIZE, self.at_ns))

    def walk(self, way: Sequence[tuple[float, float]], **rest) -> list[Change]:
        return [change for place in way for change in self.see(place, **rest)]


# --- geometry --------------------------------------------------------------------------------------------------------


def winding(polygon: Sequence[tuple[float, float]], point: tuple[float, float]) -> int:
    """How often the polygon goes around the point, by adding up angles."""
    angles = [math.atan2(y - point[1], x - point[0]) for x, y in polygon]
    turns = [
        (after - before + math.pi) % (2 * math.pi) - math.pi
        for before, after in zip(angles, angles[1:] + angles[:1], strict=True)
    ]
    return round(sum(turns) / (2 * math.pi))


def touches(a, b, point) -> bool:
    cross = (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
    within = min(a[0], b[0]) <= point[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= point[1] <= max(a[1], b[1])
    return cross == 0 and within


@given(st.lists(points, min_size=3, max_size=8), st.lists(points, min_size=1, max_size=20))
def test_a_polygon_holds_what_it_goes_around_an_odd_number_of_times(polygon, asked):
    edges = list(zip(polygon, polygon[1:] + polygon[:1], strict=True))
    asked = [point for point in asked if not any(touches(a, b, point) for a, b in edges)]
    held = Outline(np.array(polygon, float)).holds(np.array(asked, float).reshape(-1, 2)).tolist()
    assert held == [winding(polygon, point) % 2 == 1 for point in asked]


@given(points)
def test_of_two_zones_side_by_side_exactly_one_holds_a_point_on_their_border(point):
    left = Outline(np.array([(-30, -30), (5, -30), (5, 30), (-30, 30)], float))
    right = Outline(np.array([(5, -30), (30, -30), (30, 30), (5, 30)], float))
    asked = np.array([point, (5, point[1])], float)
    assert (left.holds(asked) ^ right.holds(asked)).all()


@given(points, points, points, points)
def test_a_way_cuts_a_line_where_both_go_through_one_point(a, b, before, after):
    line = np.array([a, b], float)
    if a == b or is_right(line, np.array([before, after], float)).tolist() in ([True, True], [False, False]):
        return

    # The way is on both sides of the line's extension, so it meets that once: is it between the ends?
    (ax, ay), (bx, by) = a, b
    side = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in (before, after)]
    share = side[0] / (side[0] - side[1])
    at = before[0] + share * (after[0] - before[0]), before[1] + share * (after[1] - before[1])
    along = ((at[0] - ax) * (bx - ax) + (at[1] - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
    if abs(along) < 1e-9 or abs(along - 1) < 1e-9:
        return
    assert cuts(line, before, after) == (0 <= along <= 1)


def test_points_are_parts_of_the_picture_where_none_exceeds_one_else_pixels():
    assert in_pixels(((0, 0), (1, 0.5)), (640, 480)).tolist() == [[0, 0], [640, 240]]
    assert in_pixels(((0, 0), (320, 1)), (640, 480)).tolist() == [[0, 0], [320, 1]]


def test_parts_follow_a_picture_that_changes_its_size_and_pixels_do_not():
    parts, pixels = Walk(LEFT), Walk(ZoneSpec("left", ((0, 0), (50, 0), (50, 100), (0, 100)), inertia=1))
    box = np.array([(140.0, 10.0, 160.0, 60.0)])
    for walk, entered in ((parts, 1), (pixels, 0)):
        seen = Sighting(np.array([1]), np.array([0]), np.array([0.9]), box, (400, 400), 0)
        assert len(walk.zones.update(seen)) == entered


# --- stays -----------------------------------------------------------------------------------------------------------


def test_a_box_that_ends_at_the_pictures_edge_stands_in_a_zone_that_goes_up_to_there():
    walk = Walk(ZoneSpec("all", ((0, 0), (1, 0), (1, 1), (0, 1)), inertia=1))
    assert [change.type for change in walk.see((50, 100), (100, 100), (0, 0))] == ["new"] * 3


def test_a_track_enters_and_leaves_after_as_many_sightings_as_the_inertia():
    walk = Walk(ZoneSpec("left", LEFT.points, inertia=3))
    assert walk.walk([(10, 50)] * 2) == []
    assert walk.walk([(10, 50)]) == [Change(1, "left", "zone", "new", dwell_s=0.2)]
    assert walk.walk([(10, 50)] * 7) == []
    assert walk.zones.zones_of(1) == ("left",)
    assert walk.walk([(90, 50)] * 2) == []
    assert walk.zones.zones_of(1) == ("left",), "not out yet"
    assert walk.walk([(90, 50)]) == [Change(1, "left", "zone", "end", dwell_s=pytest.approx(0.9))]
    assert walk.zones.zones_of(1) == ()
    assert walk.zones.entered_by(1) == ("left",)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4))
def test_news_alternate_and_each_has_its_sightings_in_a_row(inside, inertia):
    walk = Walk(ZoneSpec("left", LEFT.points, inertia=inertia))
    state, run = False, 0
    for now in inside:
        changes = walk.see((10.0 if now else 90.0, 50.0))
        run = run + 1 if now != state else 0
        turned = run == inertia
        if turned:
            state, run = now, 0
        assert [change.type for change in changes] == ([("new" if state else "end")] if turned else [])
        assert walk.zones.zones_of(1) == (("left",) if state else ())


def test_a_track_that_ends_leaves_its_zones_with_the_time_that_it_was_seen_there():
    walk = Walk(LEFT)
    walk.walk([(10, 50)] * 6)
    assert walk.zones.forget(1) == [Change(1, "left", "zone", "end", dwell_s=pytest.approx(0.5))]
    assert walk.zones.entered_by(1) == ()
    assert walk.zones.forget(1) == []


def test_a_long_stay_is_told_as_loitering_once_also_where_frames_are_left_out():
    walk = Walk(ZoneSpec("left", LEFT.points, inertia=1, loiter_s=1.0))
    walk.walk([(10, 50)] * 5)
    assert walk.zones.tick(walk.at_ns + NS_PER_S // 2) == []
    (told,) = walk.zones.tick(walk.at_ns + NS_PER_S)
    assert (told.type, told.loitering, told.dwell_s) == ("update", True, pytest.approx(1.4))
    assert walk.zones.tick(walk.at_ns + 9 * NS_PER_S) == []
    (left,) = walk.see((90, 50))
    assert (left.type, left.loitering) == ("end", True)


def test_a_zone_counts_only_what_its_labels_and_limits_let_through():
    spec = ZoneSpec("left", LEFT.points, labels=frozenset({"person"}), limits={"person": Limits(score=0.5)}, inertia=1)
    walk = Walk(spec)
    assert walk.see((10, 50), label="car") == []
    assert walk.see((10, 50), score=0.4) == []
    assert [change.type for change in walk.see((10, 50))] == ["new"]


def test_a_mask_hides_and_is_no_zone():
    walk = Walk(ZoneSpec("tree", LEFT.points, mask=True, labels=frozenset({"person"})))
    assert walk.see((10, 50)) == []
    boxes = np.array([(9, 40, 11, 50), (89, 40, 91, 50), (9, 40, 11, 50)], float)
    seen = Sighting(np.zeros(3, int), np.array([0, 0, 1]), np.ones(3), boxes, SIZE, 0)
    assert walk.zones.masked(seen).tolist() == [True, False, False]
    assert walk.zones.inside() == {}


# --- crossings -------------------------------------------------------------------------------------------------------


def test_a_line_is_crossed_in_from_its_left_to_its_right_and_out_the_other_way():
    walk = Walk(DOWN)
    assert [c.direction for c in walk.walk([(60, 50), (40, 50)])] == ["in"], "down the picture, left is the east"
    assert [c.direction for c in walk.walk([(60, 50)])] == ["out"]
    assert walk.zones.crossings == {"door": (1, 1)}


def test_whoever_walks_around_the_end_of_a_line_does_not_cross_it():
    walk = Walk(DOWN)
    assert walk.walk([(60, 50), (60, 90), (40, 90), (40, 50)]) == []
    assert [c.direction for c in walk.walk([(60, 50)])] == ["out"], "and it knows where it is"


def test_who_jitters_on_a_line_crosses_it_once():
    walk = Walk(ZoneSpec("door", DOWN.points, inertia=3))
    way = [(70, 50), (49, 50), (51, 50), (49, 50), (51, 50), (48, 50), (47, 50), (46, 50), (45, 50)]
    assert [c.direction for c in walk.walk(way)] == ["in"]


def test_a_track_that_ends_just_behind_a_line_has_crossed_it():
    walk = Walk(ZoneSpec("door", DOWN.points, inertia=3))
    assert walk.walk([(60, 50), (55, 50), (45, 50)]) == []
    assert [c.direction for c in walk.zones.forget(1)] == ["in"]
    assert walk.zones.crossings == {"door": (1, 0)}


def test_a_line_counts_only_its_labels():
    walk = Walk(ZoneSpec("door", DOWN.points, inertia=1, labels=frozenset({"car"})))
    assert walk.walk([(60, 50), (40, 50)]) == []
    assert walk.zones.crossings == {"door": (0, 0)}


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=40))
def test_crossings_both_ways_never_differ_by_more_than_one_on_a_line_through_the_whole_picture(way):
    walk = Walk(ZoneSpec("door", ((0.5, 0), (0.5, 1)), inertia=1))
    found = [change.direction for change in walk.walk(way)]
    sides = [x <= 50 for x, _ in way]
    turns = [("in" if now else "out") for before, now in itertools.pairwise(sides) if before != now]
    assert found == turns
    crossed_in, crossed_out = walk.zones.crossings["door"]
    assert abs(crossed_in - crossed_out) <= 1
