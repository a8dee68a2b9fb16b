"""The chain from rows to results and events, camera by camera."""

from __future__ import annotations

import struct

import pytest

from agent.clock import NS_PER_S
from agent.loop.results import Reporting, read
from agent.loop.seeing import Seeing, SeeingSettings
from agent.process.messages import Health, Output
from agent.types import CameraName, Digest, Event, FrameRef, ModelName, ReleaseId, Result
from agent.vision.filters import Limits
from agent.vision.places import ZoneSpec
from agent.vision.track import TrackSettings
from tests.loop.fakes import LABELS, TIMINGS, Bench, FakeWorker, rows

FRONT = CameraName("front")
SIZE = (640, 480)
PERSON, CAR, DOG = range(3)
ONE = ReleaseId(ModelName("one"), "1.0.0", Digest("1"))
LEFT = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))

Row = tuple[float, float, float, float, float, float]


def at(x: float, class_id: int = PERSON, score: float = 0.9) -> Row:
    return (x, 100, x + 60, 220, score, class_id)


class Watch:
    """One pipeline's seeing at ten frames a second."""

    def __init__(self, reporting: Reporting | None = None, **settings) -> None:
        self.told: list[Event] = []
        self.reporting = reporting or Reporting(LABELS, 0.35)
        self.seeing = Seeing(SeeingSettings(**settings), tell=self.told.append)
        self.sequence = 0

    def see(self, *boxes: Row, camera: str = "front", release: ReleaseId = ONE) -> Result:
        self.sequence += 1
        at_ns = self.sequence * NS_PER_S // 10
        frame = FrameRef(CameraName(camera), 1, 0, self.sequence, self.sequence, at_ns, at_ns // 1_000_000, *SIZE)
        output = Output(1, "serve", *SIZE, TIMINGS, detections=rows(*boxes))
        return self.seeing.see(read(output, frame, release, self.reporting, at_ns), self.reporting)

    def stay(self, frames: int, *boxes: Row, **rest) -> Result:
        for _ in range(frames):
            result = self.see(*boxes, **rest)
        return result

    @property
    def news(self) -> list[str]:
        return [f"{event.kind} {event.type}" for event in self.told]

    def sights(self):
        return self.seeing.sights(FRONT, self.sequence * NS_PER_S // 10)


def test_a_detection_carries_its_track_once_that_is_believed_in():
    watch = Watch()
    found = [watch.see(at(10)).detections[0].track for _ in range(5)]
    assert found == [None, None, 1, 1, 1]
    assert watch.news == ["track new"]


def test_low_scores_keep_a_track_and_are_not_reported():
    watch = Watch()
    watch.stay(5, at(10))
    low = watch.stay(30, at(10, score=0.15))
    assert low.detections == ()
    assert low.scene.counts == {"person": 1}
    assert watch.see(at(10)).detections[0].track == 1
    assert watch.news == ["track new"]


def test_what_scores_as_low_as_is_reported_may_begin_a_track():
    watch = Watch(Reporting(LABELS, 0.2))
    assert watch.stay(5, at(10, score=0.25)).detections[0].track == 1
    watch = Watch(Reporting(LABELS, 0.2), high_score=0.5)
    assert watch.stay(5, at(10, score=0.25)).detections[0].track is None


def test_labels_have_thresholds_of_their_own():
    watch = Watch(scores={"person": 0.8, "dog": 0.1})
    found = watch.see(at(10, PERSON, 0.7), at(200, CAR, 0.4), at(400, DOG, 0.15)).detections
    assert sorted(one.label for one in found) == ["car", "dog"]


def test_a_remapped_label_is_what_everything_speaks_of():
    watch = Watch(
        Reporting(LABELS, 0.35, frozenset({"animal"})),
        remap={"dog": "animal", "person": "animal"},
        scores={"animal": 0.6},
    )
    result = watch.stay(5, at(10, DOG, 0.7), at(200, CAR), at(400, PERSON, 0.5))
    (found,) = result.detections
    assert (found.label, found.class_id) == ("animal", DOG)
    assert result.scene.counts == {"animal": 1}
    assert {event.track.label for event in watch.told} == {"animal"}


def test_classes_that_become_one_label_are_one_track_whichever_the_model_says():
    watch = Watch(remap={"car": "vehicle", "dog": "vehicle"})
    for frame in range(12):
        result = watch.see(at(10, CAR if frame % 2 else DOG))
    assert result.scene.counts == {"vehicle": 1}
    assert watch.news == ["track new"]


def test_a_box_of_the_wrong_shape_is_not_reported():
    watch = Watch(shapes={"person": Limits(max_ratio=1.0)})
    wide = (10, 100, 210, 200, 0.9, PERSON)
    assert [one.label for one in watch.stay(5, wide, at(300)).detections] == ["person"]
    assert watch.sights().misshapen == 5
    assert watch.news == ["track new"]


def test_what_stands_in_an_ignored_zone_is_not_reported():
    watch = Watch(zones={FRONT: (ZoneSpec("tree", LEFT, mask=True),)})
    result = watch.stay(5, at(10), at(400))
    assert [one.box[0] for one in result.detections] == [400]
    assert result.scene.counts == {"person": 1}
    assert watch.sights().masked == 5


def test_a_camera_has_zones_and_tracks_of_its_own():
    watch = Watch(zones={FRONT: (ZoneSpec("left", LEFT, inertia=1),)})
    front, back = watch.stay(5, at(10)), watch.stay(5, at(10), camera="back")
    assert (front.scene.zones, back.scene.zones) == ({"left": {"person": 1}}, {})
    assert {event.camera for event in watch.told if event.kind == "zone"} == {"front"}


def test_after_a_swap_tracks_go_on_where_labels_agree():
    watch = Watch()
    watch.stay(5, at(10), at(300, CAR))
    other = ReleaseId(ModelName("two"), "1.0.0", Digest("2"))
    watch.reporting = Reporting(("cat", "person"), 0.35)
    result = watch.stay(5, at(10, 1), release=other)
    assert [(one.label, one.track) for one in result.detections] == [("person", 1)]
    watch.stay(30, at(10, 1), release=other)
    assert watch.news == ["track new", "track new", "track end"]
    assert (watch.told[-1].track.label, watch.told[-1].release) == ("car", other)


def test_models_with_many_labels_one_after_the_other_are_too_many_once_and_nothing_breaks():
    watch = Watch()
    for model in range(4):
        watch.reporting = Reporting(tuple(f"{model}-{label}" for label in range(4000)), 0.35)
        result = watch.stay(30, at(10, 3999))
        assert [one.label for one in result.detections] == [f"{model}-3999"]
        assert watch.told[-1].track.label == f"{model}-3999"
    assert watch.news.count("track new") == 2, "the third one's labels were too many: all began anew"


def test_a_classifiers_answer_passes_untouched_and_ends_what_a_detector_saw():
    watch = Watch()
    watch.stay(5, at(10))
    frame = FrameRef(FRONT, 1, 0, 9, 9, NS_PER_S, 1000, *SIZE)
    output = Output(1, "serve", *SIZE, TIMINGS, classes=struct.pack("=4f", 0.75, 1, 0.1, 0))
    result = watch.seeing.see(read(output, frame, ONE, watch.reporting, NS_PER_S), watch.reporting)
    assert [(one.label, one.score) for one in result.classes] == [("car", 0.75)]
    assert (result.detections, result.scene) == (None, None)
    assert watch.news == ["track new", "track end"]


def test_without_tracking_there_are_detections_and_no_tracks_and_ignored_zones_still_hide():
    watch = Watch(tracking=TrackSettings(enabled=False), zones={FRONT: (ZoneSpec("tree", LEFT, mask=True),)})
    result = watch.stay(5, at(10), at(400))
    assert [(one.box[0], one.track) for one in result.detections] == [(400, None)]
    assert result.scene is None
    assert watch.told == []


def test_the_sights_of_late_say_why_nothing_is_reported_and_fade():
    watch = Watch(Reporting(LABELS, 0.5, frozenset({"person"})))
    watch.stay(3, at(10, PERSON, 0.3), at(300, CAR))
    seen = watch.sights()
    assert (seen.frames, seen.boxes, seen.unwanted, seen.below, seen.reported) == (3, 6, 3, 3, 0)
    assert (seen.best_label, round(seen.best_score, 2), seen.threshold) == ("person", 0.3, 0.5)
    assert watch.seeing.sights(FRONT, 60 * NS_PER_S).frames == 0
    assert watch.seeing.sights(CameraName("other"), 0) is None


@pytest.mark.parametrize("state", ["failed", "ended"])
def test_a_camera_that_is_gone_ends_its_tracks_once_its_last_frame_was_answered(state):
    told: list[Event] = []
    bench = Bench(seeing=Seeing(tell=told.append))
    worker = FakeWorker("worker-1")
    bench.swap(worker)
    for _ in range(5):
        bench.pass_ms(100)
        bench.write()
        bench.answer(worker)
    bench.pass_ms(100)
    bench.write()
    bench.loop.health(bench.now_ns, Health(FRONT, state))
    assert [event.type for event in told] == ["new"]
    bench.answer(worker)
    assert [event.type for event in told] == ["new", "end"]
    assert bench.statistics.cameras[FRONT].sights.frames == 6
