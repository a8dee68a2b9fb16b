"""The gate lets through what moves, looks again in time, and opens in doubt."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.gate import Gate, GateSettings

S = 1_000_000_000
SETTINGS = GateSettings(min_area=0.001, hold_s=2.0, every_s=10.0, recheck_s=1.0)


def passed(motions, *, known=False, step_s=0.04, settings=SETTINGS):
    """The instants, in seconds, of the frames that passed."""
    gate = Gate(settings)
    return [
        n * step_s
        for n, motion in enumerate(motions)
        if gate.passes(motion, 100 * S + round(n * step_s * S), known=known)
    ]


def test_a_still_scene_is_looked_at_every_so_often():
    assert passed([0.0] * 751) == pytest.approx([0.0, 10.0, 20.0, 30.0])


def test_known_objects_are_looked_at_again_sooner():
    assert passed([0.0] * 76, known=True) == pytest.approx([0.0, 1.0, 2.0, 3.0])


def test_every_frame_passes_while_something_moves_and_for_a_while_after():
    instants = passed([0.0] * 25 + [0.01] * 25 + [0.0] * 100)
    assert instants[0] == 0.0
    assert instants[1:] == pytest.approx([n * 0.04 for n in range(25, 99)])


@pytest.mark.parametrize("motion", [math.nan, math.inf, 1.0, 0.001])
def test_doubt_and_the_least_motion_open_it(motion):
    gate = Gate(SETTINGS)
    gate.passes(0.0, 0, known=False)
    assert gate.passes(motion, S // 25, known=False)


def test_a_clock_that_goes_back_opens_it_once():
    gate = Gate(SETTINGS)
    gate.passes(1.0, 100 * S, known=False)
    assert gate.passes(0.0, 50 * S, known=False)
    assert not gate.passes(0.0, 50 * S + 1, known=False)


def test_frames_that_are_needed_pass_whatever_they_show():
    gate = Gate(SETTINGS)
    assert all(gate.passes(0.0, n, known=False, needed=True) for n in range(9))
    assert not gate.passes(0.0, 10, known=False)


@given(st.lists(st.tuples(st.floats(0, 0.01), st.booleans(), st.floats(0.001, 3)), max_size=80))
def test_no_motion_is_ever_left_out_and_no_pause_is_longer_than_promised(frames):
    gate, now_ns, last_ns = Gate(SETTINGS), 0, None
    for motion, known, step_s in frames:
        now_ns += round(step_s * S)
        went = gate.passes(motion, now_ns, known=known)
        promised_s = SETTINGS.recheck_s if known else SETTINGS.every_s
        if motion >= SETTINGS.min_area or last_ns is None or now_ns - last_ns >= promised_s * S:
            assert went
        last_ns = now_ns if went else last_ns
