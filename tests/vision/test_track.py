"""Tracks: what holds for any rows, and what happens to objects that cross, hide, stand still or change their class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ProgrammingError
from agent.vision.track import Tracked, Tracker, TrackSettings
from tests.depth import examples

TENTH = 100_000_000
SECOND = 1_000_000_000
NOTHING = np.zeros((0, 6), np.float32)


def at(x: float, y: float = 100.0, *, score: float = 0.9, class_id: int = 0, size: float = 40.0) -> list[float]:
    return [x, y, x + size, y + 2 * size, score, class_id]


def frame(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


def feed(tracker: Tracker, frames: list[np.ndarray], *, start: int = 0, step: int = TENTH) -> list[Tracked]:
    return [tracker.update(rows, start + index * step) for index, rows in enumerate(frames)]


def standing(count: int, **changed: float) -> list[np.ndarray]:
    return [frame(at(100.0, **changed))] * count  # type: ignore[arg-type]


# --- what holds for any rows -----------------------------------------------------------------------------------------

COORDINATES = st.one_of(st.floats(-50, 700, width=32), st.sampled_from([0.0, -1e6, 1e6, 3e38, -3e38, 1e-30]))
ROWS = st.lists(
    st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES, st.floats(0, 1, width=32), st.integers(0, 3)),
    max_size=8,
).map(lambda rows: np.array(rows, np.float32).reshape(-1, 6))
JITTERED = st.lists(st.tuples(st.integers(0, 6), st.integers(-8, 8), st.floats(0.0625, 1, width=32)), max_size=7).map(
    lambda seen: frame(*(at(60.0 * place + off, score=score, class_id=place % 2) for place, off, score in seen))
)
STEPS = st.sampled_from([0, 20_000_000, TENTH, SECOND, 3 * SECOND, 60 * SECOND])
STORIES = st.lists(st.tuples(st.one_of(ROWS, JITTERED), STEPS, st.booleans()), max_size=25)


def told(story: list[tuple[np.ndarray, int, bool]], tracker: Tracker) -> list[Tracked]:
    now, answers = 0, []
    for rows, step, gated in story:
        now += step
        answers.append(tracker.gated(now) if gated else tracker.update(rows, now))
    return answers


@settings(max_examples=examples(80), deadline=None)
@given(STORIES, st.integers(1, 3))
def test_ids_begin_once_end_once_and_are_never_used_twice(
    story: list[tuple[np.ndarray, int, bool]], min_hits: int
) -> None:
    tracker = Tracker(TrackSettings(min_hits=min_hits), first_id=7)
    alive: set[int] = set()
    begun: list[int] = []
    for (rows, _, gated), tracked in zip(story, told(story, tracker), strict=True):
        begun += tracked.began
        assert alive >= set(tracked.ended)
        alive = (alive | set(tracked.began)) - set(tracked.ended)
        assert tracked.alive.ids.tolist() == sorted(alive)
        named = tracked.ids[tracked.ids >= 0].tolist()
        assert len(set(named)) == len(named)
        assert set(named) <= alive
        assert len(tracked.ids) == (0 if gated else len(rows))
        on = tracked.alive.rows >= 0
        assert tracked.ids[tracked.alive.rows[on]].tolist() == tracked.alive.ids[on].tolist()
        assert np.isfinite(tracked.alive.velocities).all()
    assert begun == list(range(7, tracker.next_id))
    assert set(tracker.end_all()) == alive


@settings(max_examples=examples(60), deadline=None)
@given(STORIES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(story: list[tuple[np.ndarray, int, bool]], chance: object) -> None:
    one, other = Tracker(TrackSettings(min_hits=2)), Tracker(TrackSettings(min_hits=2))
    now = 0
    for rows, step, _ in story:
        now += step
        order = list(range(len(rows)))
        chance.shuffle(order)  # type: ignore[attr-defined]
        straight, mixed = one.update(rows, now), other.update(rows[order], now)
        named = sorted((*row, track) for row, track in zip(rows.tolist(), straight.ids.tolist(), strict=True))
        assert named == sorted(
            (*row, track) for row, track in zip(rows[order].tolist(), mixed.ids.tolist(), strict=True)
        )
        assert straight.alive.boxes.tolist() == mixed.alive.boxes.tolist()


@settings(max_examples=examples(40), deadline=None)
@given(STORIES)
def test_the_same_rows_give_the_same_tracks(story: list[tuple[np.ndarray, int, bool]]) -> None:
    def all_of(answers: list[Tracked]) -> list[object]:
        return [(a.ids.tolist(), a.began, a.ended, a.alive.scores.tolist()) for a in answers]

    assert all_of(told(story, Tracker(TrackSettings()))) == all_of(told(story, Tracker(TrackSettings())))


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_rows_that_are_not_seen_again_never_become_a_track(frames: list[np.ndarray]) -> None:
    tracker = Tracker(TrackSettings())
    for index, rows in enumerate(frames):
        assert tracker.update(rows, index * 20 * SECOND).began == ()


# --- beginning and ending --------------------------------------------------------------------------------------------


def test_a_track_is_confirmed_by_the_third_sighting() -> None:
    answers = feed(Tracker(TrackSettings()), standing(4))
    assert [answer.ids.tolist() for answer in answers] == [[-1], [-1], [1], [1]]
    assert [answer.began for answer in answers] == [(), (), (1,), ()]


def test_a_ghost_that_flickers_is_dropped() -> None:
    ghost = [*standing(1), NOTHING, NOTHING] * 20
    assert all(len(answer.alive) == 0 for answer in feed(Tracker(TrackSettings()), ghost))


def test_low_scores_alone_begin_nothing() -> None:
    assert all(len(answer.alive) == 0 for answer in feed(Tracker(TrackSettings()), standing(30, score=0.3)))


def test_low_scores_keep_a_track() -> None:
    answers = feed(Tracker(TrackSettings()), standing(5) + standing(50, score=0.15) + standing(5))
    assert {answer.ids.tolist()[0] for answer in answers[2:]} == {1}
    assert answers[40].alive.scores[0] < 0.2
    assert answers[40].alive.top_scores[0] == pytest.approx(0.9)


def test_a_gap_of_a_second_keeps_a_moving_track() -> None:
    tracker = Tracker(TrackSettings())
    walk = [frame(at(5.0 * index)) if not 20 <= index < 30 else NOTHING for index in range(50)]
    answers = feed(tracker, walk)
    assert {track for answer in answers[2:] for track in answer.ids.tolist()} == {1}
    assert len(answers[25].alive) == 1
    assert answers[25].alive.rows.tolist() == [-1]
    assert answers[25].alive.last_ns.tolist() == [19 * TENTH]


@pytest.mark.parametrize("step", [20_000_000, TENTH, 500_000_000])
def test_a_track_ends_once_after_the_same_time_at_any_rate(step: int) -> None:
    tracker = Tracker(TrackSettings(max_age_s=2.0))
    feed(tracker, standing(4), step=step)
    ended = [index * step for index in range(1, 200) if tracker.update(NOTHING, (3 + index) * step).ended]
    assert ended == [2 * SECOND + step]


def test_when_frames_come_more_rarely_than_a_track_may_hide_one_may_be_missed() -> None:
    tracker = Tracker(TrackSettings(max_age_s=2.0))
    answers = feed(tracker, [*standing(4), NOTHING, *standing(1), NOTHING, NOTHING], step=3 * SECOND)
    assert answers[5].ids.tolist() == [1]
    assert [answer.ended for answer in answers[4:]] == [(), (), (), (1,)]


def test_after_a_camera_was_away_for_long_what_stands_there_is_another() -> None:
    tracker = Tracker(TrackSettings())
    feed(tracker, standing(4))
    back = tracker.update(frame(at(100.0)), 60 * SECOND)
    assert (back.ids.tolist(), back.ended) == ([-1], (1,))


def test_end_all_names_what_had_begun_and_forgets_it() -> None:
    tracker = Tracker(TrackSettings())
    feed(tracker, [frame(at(100.0), at(300.0))] * 3 + [frame(at(100.0), at(300.0), at(500.0))])
    assert tracker.end_all() == (1, 2)
    assert [answer.began for answer in feed(tracker, standing(3), start=SECOND)][-1] == (3,)


# --- more than one ---------------------------------------------------------------------------------------------------


def test_two_who_cross_keep_their_ids() -> None:
    answers = feed(Tracker(TrackSettings()), [frame(at(8.0 * k), at(400.0 - 8.0 * k, 120.0)) for k in range(50)])
    assert all(answer.ids.tolist() == [1, 2] for answer in answers[2:])


def test_two_who_cross_and_are_seen_as_one_meanwhile_keep_their_ids() -> None:
    frames = [frame(at(8.0 * k), at(400.0 - 8.0 * k, 112.0)) for k in range(50)]
    for k in range(24, 27):
        frames[k] = frames[k][:1]
    answers = feed(Tracker(TrackSettings()), frames)
    assert [answer.ids.tolist() for answer in answers[30:]] == [[1, 2]] * 20


def test_a_car_that_is_called_a_truck_too_is_one_track() -> None:
    seen = frame(at(100.0, score=0.8, class_id=2), at(101.0, score=0.6, class_id=7))
    answers = feed(Tracker(TrackSettings()), [seen] * 10)
    assert answers[-1].ids.tolist() == [1, -1]
    assert answers[-1].alive.class_ids.tolist() == [2]


def test_a_label_is_voted_not_taken_from_the_newest_frame() -> None:
    frames = [frame(at(100.0, class_id=7 if k % 3 == 0 else 2)) for k in range(1, 30)]
    answers = feed(Tracker(TrackSettings()), frames)
    assert {answer.alive.class_ids.tolist()[0] for answer in answers[3:]} == {2}
    assert answers[-1].alive.ids.tolist() == [1]


def test_a_person_on_a_bicycle_is_two_tracks_and_never_swaps_them() -> None:
    frames = [frame(*([at(6.0 * k, 100.0)] if k % 7 else []), at(6.0 * k, 130.0, class_id=1)) for k in range(40)]
    answers = feed(Tracker(TrackSettings()), frames)
    assert answers[-1].alive.class_ids.tolist() == [0, 1] or answers[-1].alive.class_ids.tolist() == [1, 0]
    assert len(answers[-1].alive) == 2
    assert answers[-1].alive.ids.tolist() == [1, 2]


# --- standing still, gates, models -----------------------------------------------------------------------------------


def test_stationary_comes_late_and_leaves_late() -> None:
    tracker, chance = Tracker(TrackSettings(stationary_s=5.0)), np.random.default_rng(1)
    frames = [frame(at(100.0 + chance.normal(0, 1.5))) for _ in range(100)]
    flags = [bool(answer.alive.stationary.any()) for answer in feed(tracker, frames)]
    assert flags.index(True) in range(49, 60)
    assert all(flags[flags.index(True) :])
    away = feed(tracker, [frame(at(100.0 + 5.0 * k)) for k in range(12)], start=100 * TENTH)
    assert not away[-1].alive.stationary.any()
    assert away[1].alive.stationary.all()


def test_what_stands_still_outlives_a_closed_gate_and_a_missed_check() -> None:
    tracker = Tracker(TrackSettings())
    feed(tracker, standing(60))
    now = 60 * TENTH
    for check in range(6):
        for _ in range(100):
            now += TENTH
            assert tracker.gated(now).alive.ids.tolist() == [1]
        now += TENTH
        assert tracker.update(NOTHING if check == 2 else frame(at(100.0)), now).alive.ids.tolist() == [1]


def test_what_had_gone_before_the_gate_closed_ends_behind_it() -> None:
    tracker = Tracker(TrackSettings())
    feed(tracker, standing(4) + [NOTHING] * 5)
    ended = [tracker.gated(9 * TENTH + k * TENTH).ended for k in range(40)]
    assert ended.count((1,)) == 1


def test_another_models_classes_take_over_without_a_new_track() -> None:
    tracker = Tracker(TrackSettings())
    feed(tracker, standing(4, class_id=2))
    tracker.relabel([-1, -1, 5])
    answer = tracker.update(frame(at(100.0, class_id=5)), 4 * TENTH)
    assert (answer.ids.tolist(), answer.alive.class_ids.tolist()) == ([1], [5])


def test_a_track_whose_class_the_next_model_lacks_ends() -> None:
    tracker = Tracker(TrackSettings())
    feed(tracker, [frame(at(100.0, class_id=2), at(300.0, class_id=0))] * 4)
    assert tracker.relabel([1]) == (2,)
    answer = tracker.update(frame(at(300.0, class_id=1)), 4 * TENTH)
    assert (answer.ids.tolist(), answer.ended) == ([1], ())


def test_a_record_tells_both_clocks() -> None:
    answer = feed(Tracker(TrackSettings()), standing(11))[-1]
    track = answer.alive.track(0, ["person"], at_ns=10 * TENTH, at_utc_ms=1_700_000_000_000)
    assert (track.id, track.label) == (1, "person")
    assert (track.first_seen_utc_ms, track.last_seen_utc_ms) == (1_699_999_999_000, 1_700_000_000_000)
    assert track.box == pytest.approx((100.0, 100.0, 140.0, 180.0))


@pytest.mark.parametrize(
    "rows", [np.zeros((2, 5)), np.zeros(6), frame([0, 0, 1, 1, 0.9, -1]), frame([0, 0, 1, 1, 0.9, 1e6])]
)
def test_what_no_worker_can_have_answered_is_a_bug(rows: np.ndarray) -> None:
    with pytest.raises(ProgrammingError):
        Tracker(TrackSettings()).update(rows, 0)
