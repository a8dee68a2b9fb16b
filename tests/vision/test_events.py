"""Rows go through a real tracker and real zones; what is told has to be whole and in order."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.types import CameraName, Digest, Event, ModelName, ReleaseId
from agent.vision.events import KINDS, Events, Moment
from agent.vision.filters import Vocabulary
from agent.vision.places import ZoneSpec
from agent.vision.track import Tracked, Tracker, TrackSettings
from agent.vision.zones import Zones
from tests.depth import examples

RELEASE = ReleaseId(ModelName("m"), "1.0.0", Digest("0"))
SIZE = (1000, 1000)
LEFT = ZoneSpec("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), inertia=2)
DOOR = ZoneSpec("door", ((0.5, 0), (0.5, 1)), inertia=2)
TREE = ZoneSpec("tree", ((0, 0), (0.1, 0), (0.1, 1), (0, 1)), mask=True)
STEP_NS = NS_PER_S // 10
THRESHOLD = 0.5


class Scene:
    """One camera at ten frames a second. A place is the left upper corner of an object of 100 by 200."""

    def __init__(self, *specs: ZoneSpec, min_hits: int = 3, **rest) -> None:
        self.vocabulary = Vocabulary(["person", "car"])
        self.zones = Zones(specs, self.vocabulary)
        numbers = itertools.count(1)
        self.events = Events(
            CameraName("front"), self.zones, self.vocabulary, next_id=lambda: f"7-{next(numbers)}", **rest
        )
        self.tracker = Tracker(TrackSettings(min_hits=min_hits, max_age_s=0.5))
        self.at_ns = 0
        self.told: list[Event] = []

    @property
    def moment(self) -> Moment:
        return Moment(self.at_ns, 1_000_000 + self.at_ns // 1_000_000, SIZE, RELEASE)

    def see(self, *places: tuple[float, float], score: float = 0.9, label: str = "person") -> list[Event]:
        self.at_ns += STEP_NS
        class_id = self.vocabulary.id_of(label)
        rows = np.array([(x, y, x + 100, y + 200, score, class_id) for x, y in places], np.float32).reshape(-1, 6)
        tracked = self.tracker.update(rows, self.at_ns)
        found = self.events.step(tracked, self._reported(tracked, rows), self.moment)
        self.told += found
        return found

    def gate(self) -> list[Event]:
        self.at_ns += STEP_NS
        found = self.events.gated(self.tracker.gated(self.at_ns), self.moment)
        self.told += found
        return found

    def end_all(self) -> list[Event]:
        found = self.events.end_all(self.tracker.end_all(), self.moment)
        self.told += found
        return found

    def stay(self, frames: int, *places: tuple[float, float], **rest) -> list[Event]:
        return [event for _ in range(frames) for event in self.see(*places, **rest)]

    @staticmethod
    def _reported(tracked: Tracked, rows: np.ndarray) -> np.ndarray:
        found = np.zeros(len(tracked.alive), bool)
        seen = tracked.alive.rows >= 0
        found[seen] = rows[tracked.alive.rows[seen], 4] >= THRESHOLD
        return found


def news(events: list[Event]) -> list[str]:
    return [f"{event.kind} {event.type}" for event in events]


def test_an_object_begins_and_ends_once():
    scene = Scene()
    assert news(scene.stay(10, (600, 100))) == ["track new"]
    assert news(scene.stay(10)) == ["track end"]
    new, end = scene.told
    assert (new.id, end.id) == ("7-1", "7-2")
    assert new.track.id == end.track.id
    assert new.track.label == "person"
    assert (new.camera, new.release, new.place) == ("front", RELEASE, None)
    assert end.track.last_seen_utc_ms == 1_000_000 + 1000, "when it was last seen, not when it was given up"
    assert end.at_utc_ms > end.track.last_seen_utc_ms


def test_a_ghost_of_a_frame_or_two_is_never_told():
    scene = Scene()
    for _ in range(5):
        scene.stay(2, (600, 100))
        scene.stay(10)
    assert scene.told == []


def test_an_object_that_never_reaches_its_threshold_is_never_told_and_one_that_did_once_stays():
    scene = Scene()
    scene.stay(10, (600, 100), score=0.45)
    assert scene.told == []
    assert news(scene.see((600, 100), score=0.6)) == ["track new"]
    scene.stay(10, (600, 100), score=0.2)
    assert scene.events.scene().counts == {"person": 1}
    assert news(scene.told) == ["track new"]


def test_a_stay_in_a_zone_begins_and_ends_between_the_tracks_new_and_end():
    scene = Scene(LEFT)
    scene.stay(10, (100, 100))
    scene.stay(20)
    told = [one for one in news(scene.told) if one != "track update"]
    assert told == ["track new", "zone new", "zone end", "track end"]
    stay = [event for event in scene.told if event.kind == "zone"]
    assert [event.place for event in stay] == ["left", "left"]
    assert [event.zones for event in stay] == [("left",), ()]
    assert [event.entered for event in scene.told] == [(), ("left",), ("left",), ("left",), ("left",)]
    assert stay[1].dwell_s == 0.7, "from its third sighting to its tenth"


def test_entering_a_zone_updates_the_track_at_once_and_standing_there_does_not():
    scene = Scene(LEFT, update_s=1.0)
    scene.stay(5, (100, 100))
    assert news(scene.told) == ["track new", "zone new", "track update"]
    assert scene.told[-1].zones == ("left",)
    before = len(scene.told)
    scene.stay(40, (100, 100))
    assert news(scene.told[before:]) == []


def test_what_moves_or_is_seen_better_is_updated_no_more_often_than_told():
    scene = Scene(update_s=1.0)
    for step in range(40):
        scene.see((100 + 10 * step, 100))
    assert news(scene.told) == ["track new", "track update", "track update", "track update"]
    scene = Scene(update_s=1.0)
    scene.stay(5, (100, 100), score=0.6)
    scene.stay(30, (100, 100), score=0.8)
    assert news(scene.told) == ["track new", "track update"]
    assert scene.told[-1].track.top_score > 0.79


def test_a_change_of_the_label_is_told_at_once():
    scene = Scene(update_s=1000.0)
    scene.stay(4, (100, 100))
    scene.stay(20, (100, 100), label="car")
    assert news(scene.told) == ["track new", "track update"]
    assert scene.told[-1].track.label == "car"


def test_a_crossing_is_told_once_with_its_direction():
    scene = Scene(DOOR)
    for x in range(700, 200, -20):
        scene.see((x, 100))
    (crossing,) = (event for event in scene.told if event.kind == "line")
    assert (crossing.type, crossing.place, crossing.direction) == ("new", "door", "in")
    assert scene.events.scene().lines == {"door": (1, 0)}


def test_who_stands_under_a_mask_is_not_told_and_not_counted():
    scene = Scene(TREE)
    scene.stay(10, (20, 100))
    assert scene.told == []
    assert scene.events.scene().counts == {}
    scene.stay(10, (400, 100))
    assert news(scene.told) == ["track new"]


def test_counts_do_not_flicker_where_an_object_is_missed_in_every_other_frame():
    scene = Scene(LEFT)
    scene.stay(6, (100, 100))
    counted = []
    for _ in range(10):
        scene.see()
        counted.append(scene.events.scene())
        scene.see((100, 100))
        counted.append(scene.events.scene())
    assert {(scene.counts["person"], scene.zones["left"]["person"]) for scene in counted} == {(1, 1)}
    assert "track end" not in news(scene.told)


def test_while_the_gate_is_closed_stays_go_on_and_nothing_ends_that_was_there():
    scene = Scene(ZoneSpec("left", LEFT.points, inertia=2, loiter_s=2.0))
    scene.stay(6, (100, 100))
    before = len(scene.told)
    for _ in range(40):
        scene.gate()
    (loitering,) = scene.told[before:]
    assert (loitering.kind, loitering.type, loitering.loitering) == ("zone", "update", True)
    assert scene.events.scene().counts == {"person": 1}


def test_a_camera_that_is_gone_ends_all_that_it_saw():
    scene = Scene(LEFT)
    scene.stay(6, (100, 100), (700, 100))
    before = len(scene.told)
    scene.end_all()
    assert sorted(news(scene.told[before:])) == ["track end", "track end", "zone end"]
    assert scene.events.scene().counts == {}
    assert scene.end_all() == []


def test_kinds_that_are_not_wanted_are_left_out():
    scene = Scene(LEFT, DOOR, kinds=frozenset({"zone"}))
    scene.stay(10, (100, 100))
    scene.stay(20)
    assert news(scene.told) == ["zone new", "zone end"]


places = st.tuples(st.integers(0, 9), st.just(2)).map(lambda place: (place[0] * 100.0, place[1] * 100.0))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.one_of(st.none(), st.lists(places, max_size=4, unique=True)), max_size=40), st.integers(1, 3))
def test_whatever_is_seen_each_track_is_told_whole_and_in_order(frames, inertia):
    scene = Scene(ZoneSpec("left", LEFT.points, inertia=inertia), ZoneSpec("door", DOOR.points, inertia=inertia), TREE)
    for frame in frames:
        scene.gate() if frame is None else scene.see(*frame)
    scene.end_all()
    assert [event.id for event in scene.told] == [f"7-{number}" for number in range(1, len(scene.told) + 1)]
    by_track = defaultdict(list)
    for event in scene.told:
        by_track[event.track.id].append(event)
    for events in by_track.values():
        assert news(events)[0] == "track new"
        assert news(events)[-1] == "track end"
        assert [event.type for event in events if event.kind == "track"].count("new") == 1
        assert [event.type for event in events if event.kind == "track"].count("end") == 1
        stays = [event.type for event in events if event.kind == "zone"]
        assert stays == ["new", "end"] * (len(stays) // 2)
        assert {event.kind for event in events} <= KINDS
