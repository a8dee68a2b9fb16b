"""Mean average precision, on detections whose figure is known."""

from __future__ import annotations

import numpy as np
import pytest

from tools.model.evaluate.agreement import map_agreement
from tools.model.evaluate.detection import Truth, mean_average_precision, score_detections, to_pixels

TRUTH = [np.array([[10, 10, 50, 50, 0], [60, 60, 90, 90, 1]], float)]
PERFECT = np.array([[10, 10, 50, 50, 0.9, 0], [60, 60, 90, 90, 0.8, 1]])
NOTHING = np.zeros((0, 6))


def test_perfect_detections_are_worth_one_and_none_nothing():
    assert mean_average_precision(TRUTH, [PERFECT], 3) == (pytest.approx(1), pytest.approx(1))
    assert mean_average_precision(TRUTH, [NOTHING], 3) == (0, 0)


def test_a_truth_without_objects_is_worth_nothing():
    assert mean_average_precision([np.zeros((0, 5))], [PERFECT], 3) == (0, 0)


def test_a_box_that_overlaps_by_0_8_counts_up_to_that_threshold():
    shrunk = np.array([[10, 10, 50, 42, 0.9, 0], [60, 60, 90, 90, 0.8, 1]])  # IoU 0.8 and 1
    map_50_95, map_50 = mean_average_precision(TRUTH, [shrunk], 2)
    assert map_50 == pytest.approx(1)
    assert map_50_95 == pytest.approx((0.7 + 1) / 2, abs=0.051)  # 0.80 itself is a matter of rounding


def test_labels_become_pixels():
    assert to_pixels(np.array([[3, 0.5, 0.25, 0.2, 0.1]]), 100, 200).tolist() == [[40, 40, 60, 60, 3]]


def test_sizes_and_classes_are_told_apart_and_what_does_not_occur_is_none():
    scores = score_detections([Truth(TRUTH[0])], [PERFECT[:1]], 3)  # class 1 (30 by 30: small) is missed
    assert (scores.small, scores.medium, scores.large) == (0, pytest.approx(1), None)
    assert [(one.class_id, one.objects) for one in scores.per_class] == [(0, 1), (1, 1)]
    assert [one.ap_50_95 for one in scores.per_class] == [pytest.approx(1), 0]
    assert scores.map_75 == pytest.approx(0.5)


def test_the_area_of_the_outline_decides_what_is_small():
    outlined = Truth(TRUTH[0], areas=np.array([100.0, 100.0]))
    assert score_detections([outlined], [PERFECT], 3).medium is None


def test_detections_on_a_crowd_cost_nothing():
    crowd = Truth(TRUTH[0], crowd=np.array([[100, 0, 200, 100, 0]], float))
    extra = np.vstack([[[110, 10, 130, 30, 0.95, 0]], PERFECT])
    assert score_detections([crowd], [extra], 3).map_50 == pytest.approx(1)
    assert score_detections([Truth(TRUTH[0])], [extra], 3).map_50 < 0.9


def test_the_curve_falls_where_objects_are_missed():
    scores = score_detections([Truth(TRUTH[0])], [PERFECT[:1]], 3)
    assert scores.precisions[0] == pytest.approx(0.5)  # the mean of a found class and a missed one
    assert len(scores.recalls) == len(scores.precisions) == 101


def test_agreement_takes_the_references_sure_boxes_for_the_truth():
    unsure = np.vstack([PERFECT, [[0, 0, 9, 9, 0.2, 2]]])
    assert map_agreement([unsure], [PERFECT], 3) == pytest.approx(1)
    assert map_agreement([PERFECT], [PERFECT[:1]], 3) == pytest.approx(0.5)


def test_two_models_that_see_nothing_agree_and_one_that_does_does_not():
    assert map_agreement([NOTHING], [NOTHING], 3) == 1
    assert map_agreement([NOTHING], [PERFECT], 3) == 0
    assert map_agreement([PERFECT], [NOTHING], 3) == 0
