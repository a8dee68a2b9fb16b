"""Two runners see the same when every box has its like on the other side; rounding at the threshold is forgiven."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.bench.peers.matching import FLOAT, Tolerance, compare, overlap

BOX = (100.0, 100.0, 200.0, 300.0)
numbers = st.integers(0, 1000)
busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def row(box=BOX, score=0.8, class_id=0):
    return (*box, score, class_id)


def judge(ours, theirs, threshold=0.35, tolerance=FLOAT):
    return compare([ours], [theirs], threshold=threshold, tolerance=tolerance)


def test_the_same_rows_agree_in_any_order():
    rows = [row(), row((0, 0, 50, 50), 0.5, 2), row((300, 300, 400, 400), 0.4)]
    verdict = judge(rows, rows[::-1])
    assert (verdict.boxes, verdict.agreeing, verdict.same) == (6, 6, True)


def test_a_box_that_one_side_lacks_counts_whichever_side_it_is():
    assert not judge([row(), row((0, 0, 50, 50))], [row()]).same
    assert not judge([row()], [row(), row((0, 0, 50, 50))]).same


@pytest.mark.parametrize(
    "other", [row(class_id=1), row(score=0.83), row((100, 100, 200, 330))], ids=["class", "score", "place"]
)
def test_another_class_score_or_place_is_another_detection(other):
    assert judge([row()], [other]).agreeing == 0


def test_a_box_at_the_threshold_may_be_missing_on_the_other_side():
    verdict = judge([row(), row((0, 0, 50, 50), 0.36)], [row()])
    assert (verdict.boxes, verdict.same) == (2, True)
    assert not judge([row(), row((0, 0, 50, 50), 0.38)], [row()]).same


def test_a_partner_below_the_threshold_is_found():
    verdict = judge([row(score=0.355)], [row(score=0.345)])
    assert (verdict.boxes, verdict.agreeing) == (1, 1)


def test_nothing_on_either_side_proves_nothing():
    assert not judge([], []).same
    assert "no box" in str(judge([], []))


def test_two_boxes_of_one_side_do_not_share_a_partner():
    verdict = judge([row(), row((100, 100, 201, 300), 0.79)], [row()])
    assert (verdict.boxes, verdict.agreeing) == (3, 2)


def test_the_share_that_must_agree_is_the_tolerances():
    ours = [row((10 * n, 0, 10 * n + 9, 9)) for n in range(20)]
    loose = Tolerance(iou=0.9, score=0.02, share=0.95)
    assert judge(ours, ours[:-1], tolerance=loose).same
    assert not judge(ours, ours[:-1], tolerance=FLOAT).same


def test_frames_must_be_as_many_on_both_sides():
    with pytest.raises(ValueError, match="2 frames and 1"):
        compare([[], []], [[]], threshold=0.35, tolerance=FLOAT)


@busy
@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, st.integers(0, 100), st.integers(0, 3)), max_size=5))
def test_agreement_is_never_more_than_there_is_and_the_same_both_ways(rows):
    rows = [(*box, percent / 100, class_id) for *box, percent, class_id in rows]
    one = judge(rows, rows[::2])
    other = judge(rows[::2], rows)
    assert one.agreeing <= one.boxes
    assert one.boxes == other.boxes


@busy
@given(numbers, numbers, numbers, numbers)
def test_overlap_is_symmetric_and_between_0_and_1(x, y, width, height):
    box = (x, y, x + width, y + height, 0.5, 0)
    other = (x + width / 2, y, x + width * 1.5, y + height, 0.5, 0)
    assert overlap(box, other) == pytest.approx(overlap(other, box))
    assert 0 <= overlap(box, other) <= 1
