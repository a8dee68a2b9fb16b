from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.overlap import overlaps as iou_matrix
from tools.model.agreement import Agreement, compare, over


def rows(*detections: tuple[float, ...]) -> np.ndarray:
    return np.array(detections, np.float32).reshape(-1, 6)


side = st.floats(0, 100, width=32)
boxes = st.tuples(side, side, st.floats(1, 50, width=32), st.floats(1, 50, width=32)).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)
detections = st.lists(
    st.tuples(boxes, st.floats(0, 1, width=32), st.integers(0, 2)).map(lambda t: (*t[0], t[1], float(t[2]))), max_size=8
).map(lambda found: rows(*found))


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / total if total > 0 else 0.0


@given(detections, detections)
def test_iou_is_that_of_the_obvious_formula(one: np.ndarray, two: np.ndarray) -> None:
    a, b = one[:, :4].astype(float), two[:, :4].astype(float)
    expected = np.array([[slow_iou(x, y) for y in b] for x in a]).reshape(len(a), len(b))
    np.testing.assert_allclose(iou_matrix(a, b), expected, atol=1e-9)


@given(detections)
def test_a_model_agrees_with_itself(found: np.ndarray) -> None:
    agreed = compare(found, found, score=0.0)
    assert agreed.f1 == 1.0
    assert agreed.matched == len(found)


@given(detections, detections)
def test_every_detection_is_counted_once(one: np.ndarray, two: np.ndarray) -> None:
    agreed = compare(one, two)
    assert agreed.matched + agreed.missed == (one[:, 4] >= np.float32(0.3)).sum()
    assert agreed.matched + agreed.extra == (two[:, 4] >= np.float32(0.3)).sum()
    assert 0 <= agreed.f1 <= 1


def test_a_box_of_another_class_does_not_match() -> None:
    agreed = compare(rows((0, 0, 10, 10, 0.9, 0)), rows((0, 0, 10, 10, 0.9, 1)))
    assert (agreed.matched, agreed.missed, agreed.extra) == (0, 1, 1)


def test_a_reference_is_matched_at_most_once() -> None:
    agreed = compare(rows((0, 0, 10, 10, 0.9, 0)), rows((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0)))
    assert (agreed.matched, agreed.missed, agreed.extra) == (1, 0, 1)
    assert agreed.f1 == pytest.approx(2 / 3)


def test_what_lies_below_the_score_counts_on_neither_side() -> None:
    agreed = compare(rows((0, 0, 10, 10, 0.29, 0)), rows((50, 50, 60, 60, 0.1, 0)))
    assert agreed == Agreement()
    assert agreed.f1 == 1.0


def test_too_little_overlap_is_a_miss_and_an_extra() -> None:
    agreed = compare(rows((0, 0, 10, 10, 0.9, 0)), rows((0, 0, 10, 4.9, 0.9, 0)))
    assert (agreed.matched, agreed.missed, agreed.extra) == (0, 1, 1)


def test_frames_add_up() -> None:
    same = rows((0, 0, 10, 10, 0.9, 0))
    agreed = over([(same, same), (same, rows()), (rows(), rows())])
    assert (agreed.matched, agreed.missed, agreed.extra) == (1, 1, 0)
    assert agreed.mean_iou == 1.0
    assert agreed.mean_score_gap == 0.0
