"""Health of pictures: scenes whose fault is known, at times that are given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.capture.health import NS_PER_S, Latch, Limits, Watch, thumbnail
from agent.capture.watching import Watching

FPS = 10
HEIGHT, WIDTH = 180, 320
NOISE = [np.random.default_rng(seed).normal(0, 2, (HEIGHT, WIDTH, 3)).round().astype(np.int16) for seed in range(7)]
"""A sensor's."""


def scene(seed: int = 1, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """A large textured scene, of which a window is seen; ``shift`` moves the window."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(30, 200, (HEIGHT // 6, WIDTH // 6, 3), dtype=np.uint8)
    whole = cv2.resize(coarse, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    whole = cv2.add(whole, chance.integers(0, 25, whole.shape, dtype=np.uint8))
    x, y = WIDTH // 2 + shift[0], HEIGHT // 2 + shift[1]
    return whole[y : y + HEIGHT, x : x + WIDTH].copy()


class Camera:
    """A watch that is shown frames at 10 a second, with a sensor's noise."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.watch = Watch(limits or Limits())
        self.now = NS_PER_S
        self.count = 0

    def noisy(self, picture: np.ndarray) -> np.ndarray:
        self.count += 1
        return cv2.add(picture, NOISE[self.count % len(NOISE)], dtype=cv2.CV_8U)

    def show(self, picture: np.ndarray, seconds: float, *, noise: bool = True) -> tuple:
        for _ in range(round(seconds * FPS)):
            self.now += NS_PER_S // FPS
            self.watch.came(self.now)
            self.watch.look(self.noisy(picture) if noise else picture, self.now)
        return self.watch.verdict(self.now).conditions


@pytest.fixture
def camera() -> Camera:
    return Camera()


def test_a_still_scene_with_a_sensors_noise_is_well_and_every_frame_counts_as_changed(camera):
    assert camera.show(scene(), 15) == ()
    assert camera.watch.verdict(camera.now).changed_fps == pytest.approx(FPS, rel=0.05)


def test_the_same_picture_again_and_again_is_frozen_and_no_frame_counts_as_changed(camera):
    camera.show(scene(), 6)
    assert camera.show(scene(), 9, noise=False) == ()
    assert camera.show(scene(), 3, noise=False) == ("frozen",)
    assert camera.watch.verdict(camera.now).changed_fps == 0.0
    assert camera.show(scene(), 1) == ()


def test_half_of_the_frames_repeated_is_half_the_rate(camera):
    for _ in range(60):
        picture = camera.noisy(scene())
        camera.show(picture, 0.1, noise=False)
        camera.show(picture, 0.1, noise=False)
    assert camera.watch.verdict(camera.now).changed_fps == pytest.approx(FPS / 2, rel=0.1)


def test_dark_and_overexposed_are_told_after_a_while_and_end_after_a_while(camera):
    camera.show(scene(), 5)
    assert camera.show(scene() // 16, 2) == ()
    assert camera.show(scene() // 16, 3) == ("dark",)
    assert camera.show(scene(), 2) == ("dark",)
    assert camera.show(scene(), 4) == ()
    glare = np.full_like(scene(), 255)
    assert camera.show(glare, 5, noise=False) == ("overexposed",)


def test_light_at_the_edge_of_dark_does_not_flicker(camera):
    camera.show(scene() // 16, 6)
    edge = np.full_like(scene(), 26)  # above the limit to enter, below the one to leave
    assert camera.show(edge, 20) == ("dark",)


def test_lost_focus_is_blurred_against_the_cameras_own_sharpness(camera):
    camera.show(scene(), 10)
    assert camera.show(cv2.GaussianBlur(scene(), (0, 0), 5), 6) == ("blurred",)
    assert camera.show(scene(), 5) == ()


def test_a_scene_that_was_soft_from_the_beginning_is_not_blurred(camera):
    assert camera.show(cv2.GaussianBlur(scene(), (0, 0), 3), 20) == ()


@pytest.mark.parametrize("shift", [(30, 0), (0, 15), (-22, 10)])
def test_a_camera_that_was_turned_has_moved_and_is_well_again_when_turned_back(camera, shift):
    camera.show(scene(), 15)
    assert camera.show(scene(shift=shift), 7) == ("moved",)
    assert camera.show(scene(), 5) == ()


def test_a_camera_that_looks_elsewhere_altogether_has_moved(camera):
    camera.show(scene(), 15)
    assert "moved" in camera.show(scene(seed=99), 8)


def test_a_new_place_is_taken_for_its_place_in_the_end():
    camera = Camera(Limits(anew_s=20.0))
    camera.show(scene(), 10)
    assert "moved" in camera.show(scene(shift=(40, 0)), 8)
    assert camera.show(scene(shift=(40, 0)), 30) == ()


def test_half_the_light_and_somebody_large_who_passes_are_no_move(camera):
    camera.show(scene(), 15)
    assert camera.show(scene() // 2, 10) == ()
    for x in range(0, WIDTH - 100, 10):
        picture = scene() // 2
        picture[30:, x : x + 100] = 90
        assert camera.show(picture, 0.3) == ()


def test_night_makes_neither_blur_nor_move(camera):
    camera.show(scene(), 15)
    assert camera.show(scene(seed=5) // 20, 30) == ("dark",)
    assert camera.show(scene(), 10) == ()


def test_a_stream_that_stops_is_stale_and_not_frozen(camera):
    camera.show(scene(), 5)
    assert camera.watch.verdict(camera.now + NS_PER_S).conditions == ()
    assert camera.watch.verdict(camera.now + 20 * NS_PER_S).conditions == ("stale",)
    camera.now += 20 * NS_PER_S
    assert camera.show(scene(), 1) == ()


def test_one_picture_in_four_seconds_is_a_slow_camera_and_neither_stale_nor_frozen():
    watch, chance = Watch(), np.random.default_rng(1)
    for number in range(60):
        at = number * 4 * NS_PER_S
        watch.look(chance.integers(60, 200, (90, 160, 3), dtype=np.uint8), at)
        watch.came(at)
    assert watch.verdict(at + 5 * NS_PER_S).conditions == ()


def test_a_picture_that_is_rarely_asked_for_is_not_frozen_until_it_was_the_same_three_times():
    watch, camera = Watch(), Camera()
    conditions = []
    for number in range(1200):
        at = number * NS_PER_S // 10
        watch.came(at)
        if number % 120 == 0:  # a limit of one frame in twelve seconds
            watch.look(camera.noisy(scene()) if number < 600 else scene(), at)
        conditions.append(watch.verdict(at).conditions)
    assert set(conditions[:960]) == {()}
    assert conditions[-1] == ("frozen",)


def test_another_size_is_another_picture_and_nothing_of_before_is_compared(camera):
    camera.show(scene(), 10)
    small = cv2.resize(scene(seed=3), (160, 90))
    assert camera.show(small, 9, noise=False) == ()


def test_time_away_is_no_sign_of_anything(camera):
    camera.show(scene(), 10)
    camera.watch.reopened()
    camera.now += 60 * NS_PER_S
    assert camera.watch.verdict(camera.now).conditions == ()
    assert camera.show(scene(), 3) == ()
    assert camera.watch.verdict(camera.now).changed_fps == pytest.approx(FPS, rel=0.1)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (1, 1), (2160, 3840)])
def test_every_size_of_picture_can_be_looked_at(size):
    watch = Watch()
    for number in range(3):
        watch.came(number * NS_PER_S)
        watch.look(np.full((*size, 3), 90 + number, np.uint8), number * NS_PER_S)
    assert watch.verdict(3 * NS_PER_S).conditions == ()
    assert thumbnail(np.zeros((*size, 3), np.uint8)).shape[1] <= 320


@given(st.lists(st.tuples(st.booleans(), st.integers(1, NS_PER_S)), max_size=60))
def test_a_latch_turns_only_after_its_time_of_agreement(looks):
    latch, now, since, before = Latch(2.0, 3.0), 0, 0, None
    for yes, passed in looks:
        now += passed
        was = latch.on
        if yes != before:
            since, before = now, yes
        latch.update(yes, now)
        if latch.on != was:
            assert latch.on == yes
            assert now - since >= (2 if yes else 3) * NS_PER_S


def test_only_news_is_told_and_a_wavering_rate_no_more_than_each_five_seconds():
    watching, chance, told = Watching(), np.random.default_rng(1), []
    for number in range(200):
        at = (number + 1) * NS_PER_S // 10
        watching.came(at)
        watching.look(chance.integers(60, 200, (90, 160, 3), dtype=np.uint8), at)
        if number % 10 == 9:
            told.append(watching.news(at))
    assert [one is not None for one in told].count(True) <= 2
