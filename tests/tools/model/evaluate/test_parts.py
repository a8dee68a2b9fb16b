"""Top-1, confusions, and the pictures in which models differ."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tools.model.evaluate.classification import best_classes, class_agreement, score_classes
from tools.model.evaluate.confusion import confuse_boxes, confuse_classes, most_confused
from tools.model.evaluate.detection import Truth
from tools.model.evaluate.differ import PANEL, differing_boxes, differing_classes, draw

BOXES = np.array([[10, 10, 50, 50, 0.9, 0], [60, 60, 90, 90, 0.8, 1]])


def answer(*numbers: int) -> np.ndarray:
    return np.array([[0.9 - place / 10, number] for place, number in enumerate(numbers)])


def test_top_one_and_top_five_count_pictures():
    scores = score_classes([3, 3, 1, 2], [answer(3), answer(1, 3), answer(1), np.zeros((0, 2))], 10)
    assert (scores.top1, scores.top5) == (0.5, 0.75)
    assert [(one.class_id, one.pictures, one.top1) for one in scores.per_class] == [(1, 1, 1), (2, 1, 0), (3, 2, 0.5)]


def test_top_five_of_five_classes_says_nothing():
    assert score_classes([0], [answer(1)], 5).top5 is None


def test_classifiers_agree_where_their_first_answers_are_the_same():
    assert class_agreement([answer(1, 2), answer(3)], [answer(1), answer(2)]) == 0.5
    assert best_classes([np.zeros((0, 2))]) == [-1]


def test_a_box_of_another_class_is_a_confusion_and_the_rest_is_missed_or_nothing():
    truth = Truth(np.array([[10, 10, 50, 50, 2], [60, 60, 90, 90, 1], [0, 0, 5, 5, 0]], float))
    extra = np.array([[200, 200, 220, 220, 0.5, 1], [200, 200, 220, 220, 0.2, 1]])
    counts = confuse_boxes([truth], [np.vstack([BOXES, extra])], 3)
    assert {(int(row), int(column)): int(counts[row, column]) for row, column in np.argwhere(counts)} == {
        (2, 0): 1, (1, 1): 1, (3, 1): 1, (0, 3): 1,
    }  # fmt: skip


def test_a_box_on_a_crowd_is_no_false_alarm():
    crowd = np.array([[0, 0, 100, 100, 0]], float)
    assert confuse_boxes([Truth(np.zeros((0, 5)), crowd)], [BOXES], 3).sum() == 0


def test_an_object_is_taken_once():
    twice = np.vstack([BOXES[:1], BOXES[:1]])
    counts = confuse_boxes([Truth(np.array([[10, 10, 50, 50, 0]], float))], [twice], 2)
    assert (counts[0, 0], counts[2, 0]) == (1, 1)


def test_the_most_confused_classes_are_chosen_and_those_that_do_not_occur_left_out():
    counts = confuse_classes([0, 0, 1, 2, 2, 4], [0, 0, 1, 4, 4, -1], 6)
    assert most_confused(counts, 2).tolist() == [2, 4]
    assert most_confused(counts, 10).tolist() == [0, 1, 2, 4]


def test_the_pictures_with_the_most_boxes_of_one_side_come_first():
    other = [BOXES, BOXES[:1], np.zeros((0, 6))]
    found = differing_boxes({"one": [BOXES, BOXES, BOXES], "two": other}, 5)
    assert [(one.index, one.missed, one.extra) for one in found] == [(2, 2, 0), (1, 1, 0)]
    assert found[0].f1 == 0


def test_pictures_named_otherwise_come_surest_first():
    first = [answer(0), np.array([[0.95, 1]]), answer(2)]
    found = differing_classes({"one": first, "two": [answer(1), answer(0), answer(2)]}, 5)
    assert [one.index for one in found] == [1, 0]


@pytest.mark.parametrize("models", [2, 3])
@pytest.mark.parametrize("size", [(100, 100), (2000, 900), (16, 700)])
def test_a_panel_a_model_is_drawn_whatever_the_size(models, size):
    pixels = np.full((*size, 3), 120, np.uint8)
    answers = dict(zip(("one", "two", "three"), [BOXES, BOXES[:1], np.zeros((0, 6))][:models], strict=False))
    data = draw(pixels, answers, ("a", "b"))
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape[1] <= 2 * (PANEL + 4)
    orange = (shown[..., 2] > 150) & (shown[..., 0] < 80)
    assert orange.any() == (size == (100, 100) or size == (2000, 900))  # the boxes lie below the flat picture's edge
