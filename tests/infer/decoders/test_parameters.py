"""The further families: what they expect, which parameters they refuse, and forms that no recording shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ModelError, OutputError
from agent.infer.decoders.base import Output, overlaps_of
from agent.infer.decoders.boxes import FORMS
from agent.infer.decoders.table import DECODERS

SIZE = (320, 256)
ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]


def expect(kind: str, classes: int = 3, size: tuple[int, int] = SIZE, **params):
    wanted = DECODERS[kind].expect(input_size=size, params=params, num_classes=classes)
    return [want.shapes[0] if isinstance(want, Output) else want for want in wanted]


def decode(kind: str, outputs: list[np.ndarray], classes: int = 3, floor: float = 0.5, **params):
    return DECODERS[kind](outputs, input_size=SIZE, params=params, num_classes=classes, score_floor=floor)


@pytest.mark.parametrize(
    ("kind", "params", "shapes"),
    [
        ("yolov5", {}, [(1, 5040, 8)]),
        ("yolov7", {}, [(1, 5040, 8)]),
        ("yolov7", {"grid": False, "anchors": ANCHORS}, [(1, 3, 32, 40, 8), (1, 3, 16, 20, 8), (1, 3, 8, 10, 8)]),
        ("yolov8", {}, [(1, 7, 1680)]),
        ("yolov8", {"extra": 32}, [(1, 39, 1680)]),
        ("yolov8", {"rows": True}, [(1, 1680, 7)]),
        ("yolo_end2end", {}, [(1, -1, 6)]),
        ("nanodet_plus", {}, [(1, 1700, 35)]),
        ("retinaface", {}, [(1, 3360, 4), (1, 3360, 4)]),
        ("ssd", {}, [(1, -1, 4), (1, -1), (1, -1), (1,)]),
        ("boxes_scores", {"background": "first"}, [(1, -1, 4), (1, -1, 4)]),
        ("detr", {}, [(1, -1, 4), (1, -1, 4)]),
        ("rtdetr", {"joined": True}, [(1, -1, 7)]),
    ],
)
def test_the_expected_outputs_follow_from_size_parameters_and_labels(kind, params, shapes):
    assert expect(kind, **params) == shapes


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("yolov5", {"anchors_per_cell": 0}),
        ("yolov7", {"grid": "no"}),
        ("yolov7", {"anchors": ANCHORS[:2], "grid": False}),
        ("yolov7", {"anchors": [[1], [2], [3]], "grid": False}),
        ("yolov7", {"anchors": [[1, 0]] * 3, "grid": False}),
        ("yolov8", {"extra": -1}),
        ("yolov8", {"rows": 1}),
        ("yolo_end2end", {"strides": [8]}),
        ("nanodet_plus", {"strides": [8.0]}),
        ("retinaface", {"min_sizes": [[16]]}),
        ("retinaface", {"min_sizes": [[16], [0], [1]]}),
        ("retinaface", {"steps": [8, 16, 0.5]}),
        ("retinaface", {"variances": [0.1]}),
        ("ssd", {"class_offset": -1}),
        ("boxes_scores", {"form": "xyhw"}),
        ("boxes_scores", {"activation": "relu"}),
        ("boxes_scores", {"background": True}),
        ("detr", {"top": 5}),
        ("rtdetr", {"top": 0}),
    ],
)
def test_a_wrong_parameter_is_named(kind, params):
    with pytest.raises(ModelError) as caught:
        expect(kind, **params)
    assert caught.value.field == f"decoder.{next(iter(params))}"


def test_raw_heads_need_their_anchors():
    with pytest.raises(ModelError, match=r"without its grid the model's anchors are needed, a list a stride \(3\)"):
        expect("yolov7", grid=False)


@pytest.mark.parametrize("kind", DECODERS)
def test_every_family_takes_the_general_parameters(kind):
    size, classes = (320, 256), 1 if kind == "centerface" else 3
    assert expect(kind, classes, size, nms="none", outputs=["a"]) == expect(kind, classes, size)


def test_merging_is_one_of_three():
    assert overlaps_of({}, "none") == "none"
    assert overlaps_of({"nms": "class_agnostic"}, "none") == "class_agnostic"
    with pytest.raises(ModelError, match="'off': it may be per_class, class_agnostic, none"):
        overlaps_of({"nms": "off"}, "none")


@given(box=st.tuples(*[st.floats(0, 1, width=32)] * 4), form=st.sampled_from(FORMS), normalised=st.booleans())
def test_every_form_of_a_box_means_the_same(box, form, normalised):
    x1, y1, w, h = box
    x2, y2 = x1 + w, y1 + h
    written = {
        "xyxy": (x1, y1, x2, y2),
        "yxyx": (y1, x1, y2, x2),
        "xywh": (x1, y1, w, h),
        "cxcywh": (x1 + w / 2, y1 + h / 2, w, h),
    }[form]
    outputs = [np.array([[written]], np.float32), np.array([[[0.1, 0.7, 0.2]]], np.float32)]
    found = decode("boxes_scores", outputs, form=form, normalised=normalised)
    factors = np.array([*SIZE, *SIZE]) if normalised else 1
    np.testing.assert_allclose(found.boxes, np.array([[x1, y1, x2, y2]]) * factors, rtol=1e-5, atol=1e-4)
    assert (found.scores.tolist(), found.class_ids.tolist()) == ([np.float32(0.7)], [1])


@pytest.mark.parametrize("shape", [(1, 2), (2,), (1, 2, 1), (2, 1)])
def test_one_class_needs_no_column(shape):
    boxes = np.arange(8, dtype=np.float32).reshape(1, 2, 1, 4)
    found = decode("boxes_scores", [boxes, np.array([0.2, 0.9], np.float32).reshape(shape)], classes=1)
    assert found.boxes.tolist() == [[4, 5, 6, 7]]


@pytest.mark.parametrize(("activation", "score"), [("none", 2.0), ("sigmoid", 0.8807971), ("softmax", 0.6652409)])
def test_what_is_missing_of_the_scores_is_applied(activation, score):
    outputs = [np.zeros((1, 1, 4), np.float32), np.array([[[0.0, 2.0, 1.0]]], np.float32)]
    found = decode("boxes_scores", outputs, activation=activation)
    np.testing.assert_allclose(found.scores, [score], rtol=1e-6)


@pytest.mark.parametrize(("background", "label"), [("first", 0), ("last", 1)])
def test_the_background_is_no_class(background, label):
    table = np.array([[[0.99, 0.6, 0.1]]] if background == "first" else [[[0.1, 0.6, 0.99]]], np.float32)
    found = decode("boxes_scores", [np.zeros((1, 1, 4), np.float32), table], classes=2, background=background)
    assert (found.scores.tolist(), found.class_ids.tolist()) == ([np.float32(0.6)], [label])


def test_boxes_and_scores_that_do_not_belong_together_are_an_error():
    for kind, second in (("boxes_scores", (1, 3, 3)), ("rtdetr", (1, 3, 3))):
        outputs = [np.zeros((1, 2, 4), np.float32), np.ones(second, np.float32)]
        with pytest.raises(OutputError, match="do not belong together"):
            decode(kind, outputs if kind == "boxes_scores" else outputs[::-1])


def test_tensorflow_counts_classes_from_one_and_detections_by_their_number():
    boxes = np.array([[[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], [0, 0, 1, 1]]], np.float32)
    outputs = [boxes, np.array([[2, 1, 1]], np.float32), np.array([[0.9, 0.3, 0.9]], np.float32)]
    found = decode("ssd", [*outputs, np.array([2], np.float32)])
    np.testing.assert_allclose(found.boxes, [[64, 25.6, 128, 76.8]], rtol=1e-6)
    assert found.class_ids.tolist() == [1]
    assert decode("ssd", outputs, class_offset=0).class_ids.tolist() == [2, 1]


def test_a_query_of_rtdetr_may_be_two_things():
    logits, boxes = np.full((1, 2, 3), -9, np.float32), np.full((1, 2, 4), 0.5, np.float32)
    logits[0, 1, 1:] = (3.0, 2.0)
    found = decode("rtdetr", [logits, boxes])
    assert found.class_ids.tolist() == [1, 2]
    assert decode("rtdetr", [logits, boxes], top=1).class_ids.tolist() == [1]


def test_rows_and_columns_of_yolov8_read_alike():
    table = np.random.default_rng(1).random((1, 7, 1680)).astype(np.float32)
    one = decode("yolov8", [table], floor=0.9)
    two = decode("yolov8", [np.ascontiguousarray(table.transpose(0, 2, 1))], floor=0.9, rows=True)
    assert len(one.scores) > 10
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left, right)


def test_joined_rows_of_rtdetr_are_centres_in_shares_and_then_scores():
    rows = np.array([[[0.5, 0.5, 0.25, 0.5, 0.1, 0.2, 0.8], [0.5, 0.5, 1, 1, 0.4, 0.1, 0.1]]], np.float32)
    found = decode("rtdetr", [rows], joined=True)
    assert (found.boxes.tolist(), found.class_ids.tolist()) == ([[120, 64, 200, 192]], [2])
