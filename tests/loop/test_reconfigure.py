"""A pipeline that takes another configuration up: what goes on, what ends, and what is told of it."""

from __future__ import annotations

import os

import msgspec
import pytest

from agent.loop.album import Album
from agent.loop.eye import Remembered, SeeingSettings
from agent.loop.plan import CameraPlan
from agent.loop.results import Reporting
from agent.loop.seeing import Seeing
from agent.loop.setups import CameraSetup
from agent.types import CameraName, Event
from agent.vision.places import ZoneSpec
from agent.vision.track import TrackSettings
from tests.loop.fakes import LABELS, Bench, FakeWorker, rows

FRONT, BACK = CameraName("front"), CameraName("back")
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
ALL = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
MIDDLE = ((32.0, 0.0), (32.0, 48.0))
YARD = ZoneSpec("yard", LEFT_HALF, inertia=1)
LINE = ZoneSpec("line", MIDDLE, inertia=1)


def settings(*zones: ZoneSpec, **rest) -> SeeingSettings:
    return SeeingSettings(TrackSettings(min_hits=2), zones={FRONT: zones}, **rest)


class Watched:
    """A bench with a worker, whose frames are answered one by one with a person at some place."""

    def __init__(self, seeing: SeeingSettings | None = None, cameras=("front",), **rest) -> None:
        self.events: list[Event] = []
        self.seeing = seeing or settings()
        self.bench = Bench(cameras, seeing=Seeing(self.seeing, tell=self.events.append), **rest)
        self.worker = FakeWorker("worker-1")
        self.bench.swap(self.worker)

    def look(self, x: float = 10.0, count: int = 1, *, camera: str = "front", score: float = 0.9, label: int = 0):
        """Let ``count`` frames show one object whose lower edge is at ``x``."""
        for _ in range(count):
            self.bench.pass_ms(100)
            assert self.bench.write(camera) == 1
            self.bench.answer(self.worker, detections=rows((x - 5, 10, x + 5, 30, score, label)))
        return self.bench.results[-1]

    def cross(self) -> None:
        """Let one object walk over the middle of the picture."""
        for x in range(22, 46, 4):
            self.look(float(x))

    def take_up(self, seeing: SeeingSettings, **rest) -> None:
        self.seeing = seeing
        self.bench.reconfigure(["front"], seeing=seeing, **rest)

    def told(self) -> list[tuple]:
        found = [(one.kind, one.type, one.track.id, one.place) for one in self.events]
        self.events.clear()
        return found


# --- cameras ---------------------------------------------------------------------------------------------------------


def test_a_removed_camera_is_answered_to_its_last_frame_and_nothing_of_it_is_kept():
    watched = Watched(cameras=("front", "back"), in_flight=1)
    bench, worker = watched.bench, watched.worker
    watched.look(count=3)
    fds = {one.camera: one.memory.fd for one in bench.loop._intake.generations()}
    bench.write("front", 2)  # one is in flight, one is ready
    bench.close_camera("front", another=True)
    bench.reconfigure(["back"], in_flight=1)
    assert set(bench.statistics.cameras) == {"front", "back"}, "its frames are owed"
    assert bench.departed == {}
    bench.answer(worker)
    bench.answer(worker)
    assert bench.sequences == [0, 1, 2, 3, 4]
    assert set(bench.statistics.cameras) == {"back"}
    assert worker.rings == {("back", 2)}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[FRONT])
    assert bench.departed == {FRONT: Remembered(next_track=2)}
    assert watched.told()[-1] == ("track", "end", 1, None)
    assert bench.statistics.captured == bench.statistics.answered == 5, "totals do not go down"
    bench.write("back")
    bench.answer(worker)
    assert bench.results[-1].frame.camera == "back"


def test_what_is_ready_of_a_removed_camera_is_given_up_where_nobody_serves():
    bench = Bench(("film", "back"), lossless=["film"])
    bench.write("film", 3)
    bench.close_camera("film")
    bench.reconfigure(["back"])
    assert set(bench.statistics.cameras) == {"back"}
    assert bench.departed == {"film": Remembered()}
    assert [one.camera for one in bench.loop._intake.generations()] == ["back"]


def test_a_frame_that_the_shadow_still_reads_keeps_a_removed_cameras_memory_until_it_is_answered():
    watched = Watched(cameras=("front", "back"), in_flight=1)
    bench, shadow = watched.bench, FakeWorker("worker-2")
    bench.loop.shadow(bench.now_ns, shadow, 10.0, 1.0)
    bench.write("front")
    bench.close_camera("front")
    bench.reconfigure(["back"], in_flight=1)
    bench.answer(watched.worker)
    assert bench.departed.keys() == {FRONT}
    assert {one.camera for one in bench.loop._intake.generations()} == {FRONT, BACK}
    bench.answer(shadow)
    assert {one.camera for one in bench.loop._intake.generations()} == {BACK}


def test_a_camera_that_comes_back_goes_on_counting_its_tracks_and_lines():
    watched = Watched(settings(LINE))
    watched.cross()
    assert watched.bench.results[-1].scene.lines == {"line": (0, 1)}
    watched.bench.close_camera("front")
    watched.bench.reconfigure(["back"], seeing=watched.seeing)
    watched.events.clear()
    setup = CameraSetup(remembered=watched.bench.departed[FRONT])
    watched.bench.reconfigure({"front": setup, "back": CameraSetup()}, seeing=watched.seeing)
    watched.bench.open("front")
    result = watched.look(20.0, 3)
    assert result.detections[0].track == 2
    assert result.scene.lines == {"line": (0, 1)}


def test_a_camera_that_was_removed_by_mistake_and_given_back_at_once_loses_nothing():
    watched = Watched(cameras=("front", "back"), in_flight=1)
    watched.look(count=3)
    watched.bench.write("front")
    watched.bench.close_camera("front")
    watched.bench.reconfigure(["back"], in_flight=1)
    watched.bench.reconfigure(["front", "back"], in_flight=1)
    watched.bench.open("front")
    watched.bench.answer(watched.worker, detections=rows((5, 10, 15, 30, 0.9, 0)))
    assert watched.look().detections[0].track == 1
    assert watched.bench.departed == {}


def test_tracks_end_before_the_first_frame_of_another_picture():
    watched = Watched()
    watched.look(count=3)
    watched.bench.write("front")  # of the picture before
    watched.bench.close_camera("front", another=True)
    watched.bench.open("front")
    watched.bench.write("front")
    watched.events.clear()
    box = rows((5, 10, 15, 30, 0.9, 0))
    watched.bench.answer(watched.worker, detections=box)
    assert watched.told() == []
    watched.bench.answer(watched.worker, detections=box)
    assert watched.told() == [("track", "end", 1, None)]
    assert watched.look(count=2).detections[0].track == 2


def test_tracks_go_on_where_a_camera_was_opened_anew_on_the_same_picture():
    watched = Watched()
    watched.look(count=3)
    watched.bench.close_camera("front", another=False)
    assert watched.bench.statistics.cameras[FRONT].health == "opening"
    watched.bench.open("front")
    assert watched.look().detections[0].track == 1


def test_a_frame_that_was_being_written_when_rings_are_made_anew_counts():
    watched = Watched(in_flight=1)
    bench = watched.bench
    before = bench.capture.frame("front", at_ns=bench.now_ns)  # taken by the grabber, which is writing
    bench.reconfigure(["front"], in_flight=4)
    bench.loop.frame(bench.now_ns, before)
    assert bench.write("front", 3) == 3
    assert len(watched.worker.asked) == 4
    bench.answer(watched.worker, 4)
    assert bench.sequences == [0, 1, 2, 3]
    (ring,) = bench.loop._intake.generations()
    assert ring.memory.slots == 12
    assert watched.worker.rings == {("front", 2)}


def test_a_slot_of_a_former_ring_that_was_never_written_does_not_keep_it():
    bench = Bench(in_flight=1)
    worker = FakeWorker("worker-1")
    bench.swap(worker)
    bench.reconfigure(["front"], in_flight=2)
    bench.write()
    bench.answer(worker)
    assert len(bench.loop._intake.generations()) == 1


def test_a_lowered_frame_rate_is_left_to_whoever_bounds_it_and_weights_hold_at_once():
    watched = Watched(cameras=("front", "back"), in_flight=1)
    bench, worker = watched.bench, watched.worker
    plans = {"front": CameraSetup(CameraPlan(weight=3)), "back": CameraSetup()}
    bench.reconfigure(plans, in_flight=1)
    for _ in range(40):
        bench.write("front")
        bench.write("back")
        bench.answer(worker)
    served = [result.frame.camera for result in bench.results]
    assert served.count("front") > 2 * served.count("back")


# --- what is seen ----------------------------------------------------------------------------------------------------


def test_tracks_go_on_when_zones_change_and_the_stay_in_one_that_is_gone_ends():
    watched = Watched(settings(YARD))
    watched.look(count=3)
    assert ("zone", "new", 1, "yard") in watched.told()
    watched.take_up(settings(ZoneSpec("pond", ALL, inertia=1)))
    assert watched.told() == [("zone", "end", 1, "yard"), ("track", "update", 1, None)]
    result = watched.look()
    assert result.detections[0].track == 1
    assert result.scene.zones == {"pond": {"person": 1}}
    assert ("zone", "new", 1, "pond") in watched.told()


def test_a_stay_goes_on_where_only_what_is_asked_of_a_zone_changes():
    watched = Watched(settings(YARD))
    watched.look(count=3)
    watched.told()
    watched.take_up(settings(msgspec.structs.replace(YARD, loiter_s=0.2)))
    watched.look(count=1)
    assert watched.told() == [("zone", "update", 1, "yard")], "it has stayed long enough already"


def test_a_line_that_stays_where_it_is_counts_on_and_one_that_moved_begins_at_zero():
    other = ZoneSpec("other", ((0.0, 0.0), (64.0, 0.0)), inertia=1)
    watched = Watched(settings(LINE))
    watched.cross()
    watched.take_up(settings(other, LINE))
    assert watched.look(40.0).scene.lines == {"other": (0, 0), "line": (0, 1)}
    watched.take_up(settings(msgspec.structs.replace(LINE, labels=frozenset({"person"}))))
    assert watched.look(40.0).scene.lines == {"line": (0, 1)}
    watched.take_up(settings(msgspec.structs.replace(LINE, points=((30.0, 0.0), (30.0, 48.0)))))
    assert watched.look(40.0).scene.lines == {"line": (0, 0)}


def test_another_mask_hides_what_was_seen_and_its_track_goes_on_beneath():
    watched = Watched()
    watched.look(count=3)
    watched.take_up(settings(ZoneSpec("mask", ALL, mask=True)))
    result = watched.look()
    assert result.detections == ()
    assert result.scene.counts == {}
    watched.take_up(settings())
    assert watched.look().detections[0].track == 1


def test_thresholds_and_shapes_hold_from_the_next_frame_on_and_tracks_go_on():
    watched = Watched()
    assert watched.look(count=3, score=0.6).detections[0].track == 1
    watched.take_up(settings(scores={"person": 0.7}))
    assert watched.look(score=0.6).detections == ()
    watched.take_up(settings())
    assert watched.look(score=0.6).detections[0].track == 1


def test_what_a_worker_answers_is_reported_in_another_way_at_once():
    watched = Watched()
    assert watched.look(count=3, score=0.6).detections[0].track == 1
    bench = watched.bench
    bench.loop.report(bench.now_ns, watched.worker, Reporting(LABELS, 0.7))
    assert watched.look(score=0.6).detections == ()
    bench.loop.report(bench.now_ns, watched.worker, Reporting(LABELS, 0.2, frozenset({"person"})))
    assert watched.look(score=0.6).detections[0].track == 1
    bench.loop.report(bench.now_ns, FakeWorker("gone"), Reporting(LABELS, 0.9))
    assert watched.look(score=0.6).detections[0].track == 1


def test_a_remapped_label_keeps_its_track():
    watched = Watched()
    watched.look(count=3, label=1)
    watched.told()
    watched.take_up(settings(remap={"car": "vehicle"}))
    result = watched.look(label=1)
    assert (result.detections[0].track, result.detections[0].label) == (1, "vehicle")
    assert result.scene.counts == {"vehicle": 1}
    assert watched.told() == [("track", "update", 1, None)]
    watched.take_up(settings())
    assert watched.look(label=1).scene.counts == {"car": 1}


def test_tracks_end_where_following_is_switched_off_and_their_numbers_are_not_used_again():
    watched = Watched()
    watched.look(count=3)
    watched.told()
    watched.take_up(SeeingSettings(TrackSettings(enabled=False)))
    assert watched.told() == [("track", "end", 1, None)]
    assert watched.look().detections[0].track is None
    watched.take_up(settings())
    assert watched.look(count=2).detections[0].track == 2


def test_other_tracking_settings_hold_for_the_tracks_that_are_there():
    watched = Watched()
    watched.look(count=3)
    watched.take_up(SeeingSettings(TrackSettings(min_hits=2, max_age_s=30.0)))
    watched.bench.pass_ms(5000)
    assert watched.look().detections[0].track == 1


def test_whoever_begins_to_listen_is_told_what_has_begun():
    watched = Watched(settings(YARD, kinds=frozenset({"line"})))
    watched.look(count=3)
    assert watched.told() == []
    watched.take_up(settings(YARD))
    assert watched.told() == [("track", "new", 1, None), ("zone", "new", 1, "yard")]
    watched.take_up(settings(YARD, kinds=frozenset()))
    watched.look(60.0, 3)
    assert watched.told() == []


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_pipeline_that_ends_hands_every_worker_back_once():
    watched = Watched()
    bench, previous, shadow = watched.bench, watched.worker, FakeWorker("worker-3")
    current = FakeWorker("worker-2")
    bench.swap(current)
    bench.loop.shadow(bench.now_ns, shadow, 10.0, 0.5)
    bench.loop.dismiss(bench.now_ns)
    assert sorted(worker.name for worker in bench.events.retired_workers) == ["worker-1", "worker-2", "worker-3"]
    assert {worker.listener for worker in (previous, current, shadow)} == {None}
    bench.loop.close()


def test_no_picture_is_asked_of_a_camera_that_was_closed_and_none_keeps_its_memory():
    album = Album(8)
    seeing = settings()
    bench = Bench(("front", "back"), in_flight=1, portraits=album, seeing=Seeing(seeing))
    worker = FakeWorker("worker-1")
    bench.swap(worker)
    seen = rows((10, 10, 30, 40, 0.9, 0))
    bench.write("front")
    bench.answer(worker, detections=seen)
    bench.pass_ms(2000)
    bench.write("front", 2)  # one frame is with the worker, one is ready: both are answered, and nobody draws them
    bench.close_camera("front")
    bench.reconfigure(["back"], in_flight=1, seeing=seeing)
    bench.answer(worker, 1, seen)
    bench.answer(worker, 1, seen)
    assert bench.capture.renders == []
    assert bench.departed.keys() == {FRONT}
    assert {one.camera for one in bench.loop._intake.generations()} == {BACK}
