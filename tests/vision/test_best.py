"""Which moment of a track is worth a picture."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.types import Detection
from agent.vision.best import BETTER, BestMoments, quality, surroundings

SIZE = (640, 480)
NEAR = (100.0, 100.0, 300.0, 400.0)


def seen(track: int | None, score: float, box=NEAR) -> Detection:
    return Detection(0, "person", score, box, track)


def test_surer_larger_and_whole_is_better():
    assert quality(0.9, NEAR, SIZE) > quality(0.6, NEAR, SIZE)
    assert quality(0.9, NEAR, SIZE) > quality(0.9, (100, 100, 140, 160), SIZE)
    assert quality(0.9, NEAR, SIZE) > quality(0.9, (0, 100, 200, 400), SIZE)


def test_a_track_without_a_picture_comes_before_one_that_is_seen_better():
    moments = BestMoments(every_ns=0)
    assert moments.choose([seen(1, 0.3)], SIZE, 0).track == 1
    assert moments.choose([seen(1, 0.9), seen(2, 0.2)], SIZE, 1).track == 2
    assert moments.choose([seen(1, 0.9), seen(2, 0.2)], SIZE, 2).track == 1
    assert moments.choose([seen(1, 0.9), seen(2, 0.2)], SIZE, 3) is None


def test_a_little_better_is_not_worth_another_picture():
    moments = BestMoments(every_ns=0)
    moments.choose([seen(1, 0.5)], SIZE, 0)
    assert moments.choose([seen(1, 0.5 * BETTER - 0.01)], SIZE, 1) is None
    assert moments.choose([seen(1, 0.5 * BETTER + 0.01)], SIZE, 2) is not None


def test_what_is_not_followed_has_no_picture():
    assert BestMoments(every_ns=0).choose([seen(None, 0.9)], SIZE, 0) is None


def test_pictures_of_a_camera_keep_their_distance():
    moments = BestMoments(every_ns=100)
    assert moments.choose([seen(1, 0.5)], SIZE, 0) is not None
    assert not moments.due(99)
    assert moments.choose([seen(2, 0.5)], SIZE, 99) is None
    assert moments.choose([seen(2, 0.5)], SIZE, 100) is not None


def test_a_picture_that_failed_is_tried_again():
    moments = BestMoments(every_ns=0)
    moments.choose([seen(1, 0.5)], SIZE, 0)
    moments.failed(1)
    assert moments.choose([seen(1, 0.5)], SIZE, 1) is not None


coordinate = st.floats(-100, 900)


@given(st.tuples(coordinate, coordinate, coordinate, coordinate), st.floats(0, 1))
def test_quality_is_a_number_from_0_to_1_and_the_surroundings_lie_in_the_frame(box, score):
    x1, y1, x2, y2 = box
    box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    assert 0 <= quality(score, box, SIZE) <= 1
    left, top, right, bottom = surroundings(box, SIZE)
    assert left >= 0
    assert top >= 0
    assert right <= 640
    assert bottom <= 480


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.05, 1)), max_size=60))
def test_the_last_picture_of_a_track_is_never_clearly_worse_than_its_best_moment(frames):
    moments, best, pictured = BestMoments(every_ns=0), {}, {}
    for at, (track, score) in enumerate(frames):
        best[track] = max(best.get(track, 0.0), score)
        chosen = moments.choose([seen(track, score)], SIZE, at)
        if chosen is not None:
            pictured[track] = chosen.score
    assert pictured.keys() == best.keys()
    assert all(pictured[track] * BETTER >= best[track] * (1 - 1e-9) for track in best)
