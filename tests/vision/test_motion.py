"""Motion is what moves: not light, not noise; every doubt is motion."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.vision.motion import Motion
from tests.depth import examples

STEP_NS = 40_000_000
HEIGHT, WIDTH = 240, 320
MIN_AREA = 0.0005


@functools.cache
def ground(seed: int = 0) -> np.ndarray:
    """Blocks of many brightnesses, like a room."""
    blocks = np.random.default_rng(seed).integers(40, 180, (12, 16, 3))
    return np.kron(blocks, np.ones((20, 20, 1))).astype(np.float32)


NOISE = np.random.default_rng(7).standard_normal((7, HEIGHT, WIDTH, 3), np.float32)


class Camera:
    """Shows pictures to a background, 25 a second."""

    def __init__(self, *, step_ns: int = STEP_NS, **options) -> None:
        self.step_ns = step_ns
        self.motion = Motion(**{"contrast": 6.0, **options})
        self.at_ns = 0
        self.shown = 0

    def show(self, picture: np.ndarray, sigma: float = 0.0) -> float:
        self.shown += 1
        noisy = picture + sigma * NOISE[self.shown % len(NOISE)] if sigma else picture
        self.at_ns += self.step_ns
        return self.motion(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), self.at_ns)


def with_thing(picture: np.ndarray, x: int, y: int, side: int, change: float = 40.0) -> np.ndarray:
    changed = picture.copy()
    changed[y : y + side, x : x + side] += change
    return changed


def test_the_first_frame_and_another_size_are_motion():
    camera = Camera()
    assert camera.show(ground()) == 1.0
    assert camera.show(ground()) == 0.0
    assert camera.show(ground()[:200]) == 1.0
    assert camera.show(ground()[:200]) == 0.0


@pytest.mark.parametrize("sigma", [0.0, 2.0, 8.0, 25.0])
def test_sensor_noise_is_not_motion(sigma):
    camera = Camera()
    camera.show(ground(), sigma)
    assert max(camera.show(ground(), sigma) for _ in range(30)) < MIN_AREA


@settings(max_examples=examples(15), deadline=None)
@given(gain=st.floats(0.6, 1.3), offset=st.floats(-30, 20), sigma=st.floats(0, 4))
def test_a_change_of_light_is_not_motion_however_sudden(gain, offset, sigma):
    camera = Camera()
    for _ in range(3):
        camera.show(ground(), sigma)
    assert max(camera.show(ground() * gain + offset, sigma) for _ in range(3)) < MIN_AREA
    assert max(camera.show(ground(), sigma) for _ in range(3)) < MIN_AREA


def test_light_that_drifts_is_not_motion():
    camera = Camera()
    camera.show(ground(), 2.0)
    assert max(camera.show(ground() * (1 + 0.2 * np.sin(n / 60)), 2.0) for n in range(190)) < MIN_AREA


@settings(max_examples=examples(20), deadline=None)
@given(
    x=st.integers(0, WIDTH - 20), y=st.integers(0, HEIGHT - 20), change=st.sampled_from([-35.0, 35.0, 70.0]),
    gain=st.floats(0.8, 1.2),
)  # fmt: skip
def test_an_object_that_appears_is_seen_at_once_wherever_it_is_even_as_the_light_changes(x, y, change, gain):
    camera = Camera()
    for _ in range(5):
        camera.show(ground(), 2.0)
    assert camera.show(with_thing(ground(), x, y, 20, change) * gain, 2.0) >= MIN_AREA


def test_an_object_that_fills_nearly_half_of_the_picture_is_not_taken_for_light():
    camera = Camera()
    camera.show(ground(), 2.0)
    near = ground()
    near[:, : WIDTH * 45 // 100] = 90.0
    assert camera.show(near, 2.0) > 0.2


def test_an_object_that_creeps_is_seen_all_the_way():
    camera = Camera()
    camera.show(ground(), 2.0)
    shares = [camera.show(with_thing(ground(), n // 4, 60, 40), 2.0) for n in range(120)]
    assert min(shares[20:]) >= MIN_AREA


def test_what_stands_still_becomes_background_and_its_leaving_is_motion():
    camera = Camera(step_ns=5 * STEP_NS)
    camera.show(ground(), 2.0)
    shares = [camera.show(with_thing(ground(), 100, 60, 40), 2.0) for _ in range(5 * 40)]
    assert shares[10] >= MIN_AREA
    assert shares[-1] < MIN_AREA
    assert camera.show(ground(), 2.0) >= MIN_AREA


def test_who_passes_leaves_no_trace():
    camera = Camera()
    camera.show(ground(), 2.0)
    assert all(camera.show(with_thing(ground(), 3 * n, 60, 40), 2.0) >= MIN_AREA for n in range(60))
    assert camera.show(ground(), 2.0) < MIN_AREA


def test_only_what_is_included_counts_and_nothing_that_is_excluded():
    left, clock = ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), ((0, 0), (60, 0), (60, 60), (0, 60))
    camera = Camera(include=[left], exclude=[clock])
    camera.show(ground())
    assert camera.show(with_thing(ground(), 240, 100, 40)) == 0.0
    assert camera.show(with_thing(ground(), 10, 10, 40)) == 0.0
    assert camera.show(with_thing(ground(), 80, 100, 40)) > 0.02


def test_regions_that_cover_nothing_open_the_gate():
    everything = ((0, 0), (1, 0), (1, 1), (0, 1))
    camera = Camera(exclude=[everything])
    camera.show(ground())
    assert camera.show(ground()) == 1.0


@settings(max_examples=examples(20), deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 99),
    at_ns=st.lists(st.integers(), max_size=4),
)
def test_any_picture_at_any_time_gives_a_share(size, seed, at_ns):
    motion, chance = Motion(contrast=1.0), np.random.default_rng(seed)
    for at in [0, *at_ns]:
        assert 0.0 <= motion(chance.integers(0, 256, (*size, 3), dtype=np.uint8), at) <= 1.0
