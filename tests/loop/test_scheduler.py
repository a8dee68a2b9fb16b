"""Turns: by weight among cameras that have a frame, in order among equals, and everybody gets one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.loop.scheduler import LARGEST_WEIGHT, Scheduler

weights = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, LARGEST_WEIGHT), min_size=1)


def test_cameras_with_a_frame_take_turns():
    scheduler = Scheduler(["a", "b", "c"])
    assert [scheduler.next(lambda _: True) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_a_camera_without_a_frame_takes_no_turn():
    scheduler = Scheduler(["a", "b"])
    assert [scheduler.next(lambda camera: camera == "b") for _ in range(2)] == ["b", "b"]
    assert scheduler.next(lambda _: False) is None


@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), max_size=60))
def test_no_camera_of_equal_weight_waits_longer_than_one_turn_of_each_other(ready_sets):
    scheduler = Scheduler("abcd")
    waiting: Counter[str] = Counter()
    for ready in ready_sets:
        chosen = scheduler.next(ready.__contains__)
        assert chosen in ready
        for camera in "abcd":
            waiting[camera] = waiting[camera] + 1 if camera in ready and camera != chosen else 0
        assert max(waiting.values()) <= 3


@given(weights)
def test_shares_follow_weights_and_turns_are_spread(weights):
    scheduler, total = Scheduler(weights, weights), sum(weights.values())
    turns = [scheduler.next(lambda _: True) for _ in range(5 * total)]
    for camera, weight in weights.items():
        for count in range(1, len(turns) + 1):
            share = turns[:count].count(camera)
            assert abs(share - count * weight / total) <= len(weights)
        assert turns.count(camera) == pytest.approx(5 * weight, abs=1)


@given(weights, st.data())
def test_none_starves_whoever_comes_and_goes(weights, data):
    scheduler = Scheduler(weights, weights)
    bound = {
        camera: sum(-(-other // own) + 1 for name, other in weights.items() if name != camera)
        for camera, own in weights.items()
    }
    waiting: Counter[str] = Counter()
    names = st.sets(st.sampled_from(sorted(weights)), min_size=1)
    for ready in data.draw(st.lists(names, max_size=80)):
        chosen = scheduler.next(ready.__contains__)
        for camera in weights:
            waiting[camera] = waiting[camera] + 1 if camera in ready and camera != chosen else 0
            assert waiting[camera] <= bound[camera]


def test_a_camera_that_was_away_is_owed_nothing():
    scheduler = Scheduler("ab", {"a": 1, "b": 1})
    for _ in range(50):
        scheduler.next(lambda camera: camera == "a")
    turns = [scheduler.next(lambda _: True) for _ in range(20)]
    assert turns.count("b") == 10
    assert turns[:2] == ["b", "a"]
