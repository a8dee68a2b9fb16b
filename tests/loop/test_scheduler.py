from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent.loop.scheduler import Scheduler


def test_cameras_with_a_frame_take_turns():
    scheduler = Scheduler(["a", "b", "c"])
    assert [scheduler.next(lambda _: True) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_a_camera_without_a_frame_takes_no_turn():
    scheduler = Scheduler(["a", "b"])
    assert [scheduler.next(lambda camera: camera == "b") for _ in range(2)] == ["b", "b"]
    assert scheduler.next(lambda _: False) is None


@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), max_size=60))
def test_no_camera_waits_longer_than_one_turn_of_each_other(ready_sets):
    scheduler = Scheduler("abcd")
    waiting: Counter[str] = Counter()
    for ready in ready_sets:
        chosen = scheduler.next(ready.__contains__)
        assert chosen in ready
        for camera in "abcd":
            waiting[camera] = waiting[camera] + 1 if camera in ready and camera != chosen else 0
        assert max(waiting.values()) <= 3
