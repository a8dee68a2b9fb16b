"""The pure parts: pace, back-off, and the book of cameras."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.capture.book import Book
from agent.capture.pace import DEFAULT_FPS, LATE_NS, Pace, sane_fps
from agent.capture.reconnect import Backoff, Reconnect
from agent.clock import NS_PER_S
from agent.errors import ProgrammingError
from agent.process.messages import Frame, Health, NeedRing, Open, SourceSpec

from .conftest import CAMERA

SPEC = SourceSpec("file", "/v.avi")


# --- pace ------------------------------------------------------------------------------------------------------------


@given(fps=st.floats(0.1, 1000), delays=st.lists(st.integers(0, LATE_NS // 2), max_size=50))
def test_deadlines_never_drift_however_late_somebody_is_now_and_then(fps, delays):
    pace, start = Pace(fps), 1_000
    now = start
    for count, delay in enumerate(delays):
        due = pace.due_ns(now)
        assert abs(due - (start + count * NS_PER_S / fps)) <= 1
        now = max(now, due) if now - due > LATE_NS // 2 else max(now, due) + delay
        if now - due > LATE_NS // 2:
            return  # so late that the next may start over


def test_who_is_more_than_a_second_late_starts_over_from_now():
    pace = Pace(10)
    assert pace.due_ns(0) == 0
    assert pace.due_ns(NS_PER_S) == NS_PER_S // 10
    assert pace.due_ns(3 * NS_PER_S) == 3 * NS_PER_S
    assert pace.due_ns(3 * NS_PER_S) == 3 * NS_PER_S + NS_PER_S // 10


def test_after_a_wait_the_frame_at_hand_is_the_first_and_the_next_one_due_an_interval_later():
    pace = Pace(10)
    pace.due_ns(0)
    pace.restart(77)
    assert pace.due_ns(80) == 77 + NS_PER_S // 10


@pytest.mark.parametrize(
    ("asked", "declared", "expected"),
    [
        (5.0, 30.0, 5.0),
        (None, 30.0, 30.0),
        (None, 0.0, DEFAULT_FPS),
        (None, 90_000.0, DEFAULT_FPS),
        (None, float("nan"), DEFAULT_FPS),
        (None, -1.0, DEFAULT_FPS),
    ],
)
def test_a_rate_that_cannot_be_true_is_not_believed(asked, declared, expected):
    assert sane_fps(asked, declared) == expected


# --- back-off --------------------------------------------------------------------------------------------------------


@given(
    first=st.floats(0.01, 10),
    longest=st.floats(0.01, 100),
    at_once=st.integers(0, 3),
    lives=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 1)), max_size=60),
)
def test_delays_stay_within_their_bounds_and_long_lives_are_forgiven(first, longest, at_once, lives):
    backoff = Backoff(first, longest, settled_s=10, at_once=at_once)
    reconnect = Reconnect(backoff)
    in_a_row = 0
    for lived, chance in lives:
        in_a_row = 1 if lived >= 10 else in_a_row + 1
        delay = reconnect.failed(lived, chance)
        assert reconnect.failures == in_a_row
        assert 0 <= delay <= longest
        assert delay == chance * backoff.bound_s(in_a_row)
        if in_a_row <= at_once:
            assert delay == 0


def test_the_bound_doubles_up_to_the_longest():
    assert [Backoff(0.5, 4).bound_s(n) for n in range(7)] == [0, 0.5, 1, 2, 4, 4, 4]
    assert [Backoff(0.5, 4, at_once=1).bound_s(n) for n in range(4)] == [0, 0, 0.5, 1]
    assert Backoff(0.5, 4).bound_s(10**6) == 4


# --- the book --------------------------------------------------------------------------------------------------------


def frame(sequence: int, index: int, skipped: int = 0) -> Frame:
    return Frame(CAMERA, 1, 0, sequence, index, 0, 0, skipped)


@pytest.fixture
def book() -> Book[str]:
    made: Book[str] = Book()
    assert made.add(CAMERA, SPEC, "listener") == Open(CAMERA, SPEC)
    return made


def test_a_fresh_process_is_told_to_go_on_one_past_the_last_frame(book):
    book.note(Health(CAMERA, "opening"))
    book.note(frame(41, 7, 3))
    assert book.lost() == [(CAMERA, "listener")]
    assert book.to_open() == [Open(CAMERA, SPEC, 8, 42, 3)]


def test_a_camera_that_ended_is_not_opened_again_and_not_lost(book):
    book.note(Health(CAMERA, "opening"))
    assert book.note(Health(CAMERA, "ended")) == "listener"
    assert book.lost() == []
    assert book.to_open() == []


def test_what_was_said_about_a_camera_of_the_same_name_before_is_not_passed_on(book):
    for stale in (frame(9, 9), NeedRing(CAMERA, 4, 4), Health(CAMERA, "ended"), Health(CAMERA, "streaming")):
        assert book.note(stale) is None
    assert book.to_open() == [Open(CAMERA, SPEC)]
    assert book.note(Health(CAMERA, "opening")) == "listener"
    assert book.note(frame(0, 0)) == "listener"


def test_rings_are_meant_for_the_process_that_asked(book):
    book.note(Health(CAMERA, "opening"))
    assert not book.awaits_ring(CAMERA)
    book.note(NeedRing(CAMERA, 4, 4))
    assert book.awaits_ring(CAMERA)
    book.lost()
    assert not book.awaits_ring(CAMERA)


def test_a_camera_is_open_once(book):
    with pytest.raises(ProgrammingError, match="gate"):
        book.add(CAMERA, SPEC, "other")
    assert book.remove(CAMERA, told=True)
    assert not book.remove(CAMERA, told=False)
    assert book.note(Health(CAMERA, "opening")) is None
    assert len(book) == 0
