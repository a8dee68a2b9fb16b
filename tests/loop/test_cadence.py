"""A bound of the frame rate is kept on average, without bursts, whatever the source's own rate is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.loop.cadence import Cadence

S = 1_000_000_000


def grants(cadence: Cadence, fps: float, seconds: float) -> list[float]:
    """Instants at which a source of ``fps`` frames gets a slot for the next one."""
    found = []
    for frame in range(round(fps * seconds)):
        now_ns = round(frame * S / fps)
        cadence.refill(now_ns)
        if cadence.ready:
            cadence.take()
            found.append(now_ns / S)
    return found


def test_without_a_bound_every_frame_gets_its_slot():
    assert len(grants(Cadence(), 25, 4)) == 100


@given(st.floats(1, 60), st.floats(0.2, 30))
def test_the_bound_is_kept_and_nearly_reached(source_fps, bound):
    count = len(grants(Cadence(bound), source_fps, 30))
    assert count <= min(source_fps, bound) * 30 + 2
    assert count >= min(source_fps, bound) * 30 * 0.9 - 2


def test_no_burst_follows_a_pause():
    cadence = Cadence(2.0)
    cadence.take()
    cadence.refill(100 * S)
    cadence.take()
    cadence.refill(100 * S + 1)
    assert not cadence.ready
    assert cadence.due_ns == pytest.approx(100.5 * S, abs=S // 2)


def test_a_lower_bound_holds_from_now_on_and_a_lifted_one_at_once():
    cadence = Cadence()
    cadence.take()
    assert cadence.ready
    cadence.limit(1.0, 10 * S)
    assert cadence.due_ns is not None
    assert 10 * S <= cadence.due_ns <= 11 * S
    cadence.limit(None, 10 * S)
    assert cadence.ready
    assert cadence.due_ns is None


def test_a_higher_bound_shortens_the_wait():
    cadence = Cadence(0.1)
    cadence.take()
    cadence.refill(1 * S)
    cadence.take()
    cadence.limit(10.0, 1 * S)
    assert cadence.due_ns is not None
    assert cadence.due_ns <= 1 * S + S // 10


def test_a_grant_in_vain_is_given_back():
    cadence = Cadence(1.0)
    cadence.take()
    cadence.give_back()
    assert cadence.ready
