from __future__ import annotations

import threading

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.loop.results import Reporting, read
from agent.loop.seeing import Seeing, SeeingSettings
from agent.loop.sinks import HandOver, RateLimiter, Reports, States
from agent.process.messages import Health, Output
from agent.types import CameraName, Digest, FrameRef, ModelName, ReleaseId, Scene
from agent.vision.track import TrackSettings
from tests.loop.fakes import LABELS, MS, ONE_PERSON, TIMINGS


def result(detections: bytes = ONE_PERSON, camera: str = "front"):
    frame = FrameRef(CameraName(camera), 1, 0, 0, 0, 0, 0, 64, 48)
    release = ReleaseId(ModelName("m"), "1.0.0", Digest("0"))
    output = Output(1, "serve", 64, 48, TIMINGS, detections=detections)
    reporting = Reporting(LABELS, 0.3)
    return Seeing(SeeingSettings(TrackSettings(enabled=False))).see(
        read(output, frame, release, reporting, 0), reporting
    )


class Clock:
    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_thirty_frames_a_second_limited_to_five_come_out_as_five():
    limiter = RateLimiter(5.0)
    passed = sum(limiter.allows("front", frame * NS_PER_S // 30) for frame in range(300))
    assert passed == 50


def test_results_that_come_all_at_once_pass_where_the_rate_allows_them_on_average():
    limiter = RateLimiter(1000.0)
    assert all(limiter.allows("front", frame // 6 * 6 * 10 * MS) for frame in range(600))  # 6 at a time, 100 a second


def test_zero_hertz_passes_nothing():
    assert not RateLimiter(0.0).allows("front", 0)


@given(st.floats(0.5, 100), st.lists(st.integers(0, 200), max_size=200))
def test_no_second_holds_more_events_than_allowed(hz, pauses_ms):
    limiter, now, passed = RateLimiter(hz), 0, []
    for pause in pauses_ms:
        now += pause * MS
        if limiter.allows("front", now):
            passed.append(now)
    for start in passed:
        assert sum(start <= at < start + NS_PER_S for at in passed) <= hz + 2


def test_cameras_are_limited_apart_and_empty_frames_left_out():
    clock, taken = Clock(), []
    reports = Reports(taken.append, hz=1.0, all_frames=False, now_ns=clock)
    reports(result(b""))
    reports(result())
    reports(result())
    reports(result(camera="back"))
    assert [one.frame.camera for one in taken] == ["front", "back"]


def test_every_frame_is_reported_where_all_are_wanted():
    taken = []
    Reports(taken.append, hz=1.0, all_frames=True, now_ns=Clock())(result(b""))
    assert len(taken) == 1


def test_a_state_is_told_when_it_changed_and_not_more_often_than_allowed():
    clock, told = Clock(), []
    states = States(told.append, every_s=1.0, now_ns=clock)

    def frames(detections: bytes, seconds: int) -> int:
        before = len(told)
        for _ in range(10 * seconds):
            clock.now_ns += NS_PER_S // 10
            states(result(detections))
        return len(told) - before

    frames(ONE_PERSON, 10)
    assert told[-1].counts == {"person": 1}
    assert frames(ONE_PERSON, 10) == 0
    assert frames(b"", 2) == 1
    assert told[-1].counts == {}
    before = len(told)
    for frame in range(40):
        clock.now_ns += NS_PER_S // 10
        states(result(b"" if frame % 2 else ONE_PERSON))
    assert len(told) - before <= 5  # four seconds of flicker


def test_a_change_of_health_is_told_at_once_and_a_blind_camera_counts_nothing():
    clock, told = Clock(), []
    states = States(told.append, every_s=1.0, now_ns=clock)
    states(result())
    states.health(Health(CameraName("front"), "stalled", "no frame for 2 s"))
    assert (told[-1].health, told[-1].reason, told[-1].counts) == ("stalled", "no frame for 2 s", {})


def test_a_state_counts_tracks_where_there_are_some_and_tells_zones_and_lines():
    clock, told = Clock(), []
    states = States(told.append, every_s=1.0, now_ns=clock)
    scene = Scene({"person": 2}, {"garden": {"person": 1}}, {"gate": (1, 0)})
    states(msgspec.structs.replace(result(b""), scene=scene))
    assert (told[-1].counts, told[-1].zones, told[-1].lines) == (scene.counts, scene.zones, scene.lines)
    clock.now_ns += NS_PER_S
    states(msgspec.structs.replace(result(b""), scene=msgspec.structs.replace(scene, lines={"gate": (1, 1)})))
    assert (len(told), told[-1].lines) == (2, {"gate": (1, 1)})
    states.health(Health(CameraName("front"), "failed", "unplugged"))
    assert (told[-1].counts, told[-1].zones, told[-1].lines) == ({}, {"garden": {}}, {"gate": (1, 1)})


def test_a_hand_over_that_is_full_drops_the_oldest_and_counts_it():
    seen, gate = [], threading.Event()
    first = threading.Event()

    def handle(item: int) -> None:
        first.set()
        gate.wait(5)
        seen.append(item)

    hand_over: HandOver[int] = HandOver("test", handle, limit=3)
    hand_over.start()
    hand_over.put(0)
    assert first.wait(5)
    for item in range(1, 6):
        hand_over.put(item)
    gate.set()
    hand_over.close()
    assert seen == [0, 3, 4, 5]
    assert hand_over.dropped == 2
