"""The motion model: constant velocity over uneven times, fading over gaps."""

from __future__ import annotations

import numpy as np
import pytest

from agent.vision.motionmodel import Motion

ONE = np.array([True])


def box(x: float, y: float = 100.0, width: float = 40.0, height: float = 80.0) -> np.ndarray:
    return np.array([[x], [y], [x + width], [y + height]])


def three() -> np.ndarray:
    return np.concatenate((box(0.0), box(100.0), box(200.0)), axis=1)


def walked(times: list[float], speed: float) -> Motion:
    motion = Motion()
    motion.add(box(0.0))
    for before, now in zip([0.0, *times], times, strict=False):
        motion.advance(now - before)
        motion.correct(ONE, box(speed * now))
    return motion


def test_uneven_times_give_the_same_velocity_as_even_ones() -> None:
    even = walked([0.1 * k for k in range(1, 21)], 50.0)
    uneven = walked([0.05, 0.1, 0.4, 0.5, 0.9, 1.0, 1.1, 1.6, 1.7, 2.0], 50.0)
    assert even.speeds[0, 0] == pytest.approx(50.0, abs=8.0)
    assert uneven.speeds[0, 0] == pytest.approx(50.0, abs=12.0)
    assert even.speeds[1:, 0] == pytest.approx([0.0, 0.0, 0.0], abs=1.0)


def test_after_a_gap_of_a_second_a_walker_is_expected_further_on() -> None:
    motion = walked([0.1 * k for k in range(1, 21)], 50.0)
    motion.advance(1.0)
    assert 120.0 < motion.boxes()[0, 0] < 150.0
    assert motion.boxes()[2, 0] - motion.boxes()[0, 0] == pytest.approx(40.0, abs=2.0)


def test_a_long_gap_moves_nothing_out_of_the_world() -> None:
    motion = walked([0.1 * k for k in range(1, 21)], 50.0)
    motion.advance(1e6)
    assert motion.boxes()[0, 0] < 100.0 + 50.0 * 2.0
    assert np.isfinite(motion.boxes()).all()


def test_splitting_a_step_changes_little() -> None:
    whole, parts = walked([0.1, 0.2, 0.3], 50.0), walked([0.1, 0.2, 0.3], 50.0)
    whole.advance(0.8)
    for _ in range(8):
        parts.advance(0.1)
    assert whole.boxes() == pytest.approx(parts.boxes(), abs=1e-6)


def test_what_is_forgotten_leaves_the_others_as_they_were() -> None:
    motion = Motion()
    motion.add(three())
    motion.keep(np.array([True, False, True]))
    assert motion.boxes()[0].tolist() == [0.0, 200.0]


def test_what_was_not_seen_is_as_if_nobody_had_looked() -> None:
    motion, alone = Motion(), Motion()
    motion.add(three())
    alone.add(box(100.0))
    for one in (motion, alone):
        one.advance(0.1)
    motion.correct(np.array([True, False, True]), three() + 7.0)
    for one in (motion, alone):
        one.advance(0.5)
        one.correct(np.array([True] * one.values.shape[1]), one.boxes() + 3.0)
    assert motion.values[:, 1] == pytest.approx(alone.values[:, 0], abs=1e-12)
    assert motion.speeds[:, 1] == pytest.approx(alone.speeds[:, 0], abs=1e-12)
    assert motion.speeds[0, 0] > alone.speeds[0, 0]
