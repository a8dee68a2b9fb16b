"""Non-maximum suppression, against the slow and obvious one."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.infer import nms
from agent.infer.nms import MAX_CANDIDATES, suppress
from tests.conftest import ROOT
from tests.patience import patient

WATCHED = """
import builtins, os, sys
really = builtins.__import__
def watched(name, *rest, **more):
    if name == "onnxruntime" and name not in sys.modules:
        print(os.environ.get("ORT_DISABLE_TELEMETRY"))
    return really(name, *rest, **more)
builtins.__import__ = watched
import agent.infer.nms
"""


def slow(boxes, scores, class_ids, iou, most):
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if all(class_ids[index] != class_ids[k] or overlap(boxes[index], boxes[k]) <= iou for k in kept):
            kept.append(index)
    return kept[:most]


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def some_boxes(seed: int, count: int, classes: int):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 40, (count, 2))], axis=1).astype(np.float32)
    scores = rng.choice(np.linspace(0, 1, 20), count).astype(np.float32)  # with ties
    return boxes, scores, rng.integers(0, classes, count).astype(np.int32)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 50),
    classes=st.integers(1, 4),
    iou=st.floats(0.01, 0.99),
    most=st.integers(1, 60),
)
def test_it_keeps_what_the_slow_and_obvious_way_keeps_best_first(seed, count, classes, iou, most):
    boxes, scores, class_ids = some_boxes(seed, count, classes)
    kept = suppress(boxes, scores, class_ids, iou=iou, most=most)
    assert kept.tolist() == slow(boxes, scores, class_ids, iou, most)


def test_a_crowd_of_classes_beyond_what_is_done_at_once_gives_the_same(monkeypatch):
    boxes, scores, class_ids = some_boxes(5, 200, 40)
    at_once = suppress(boxes, scores, class_ids, iou=0.3, most=100)
    monkeypatch.setattr(nms, "MOST_CELLS", 100)
    assert suppress(boxes, scores, class_ids, iou=0.3, most=100).tolist() == at_once.tolist()
    assert at_once.tolist() == slow(boxes, scores, class_ids, 0.3, 100)


def test_the_graph_is_the_operator_and_nothing_else():
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "floor"], ["kept"])
    inputs = [
        value("boxes", onnx.TensorProto.FLOAT, [1, None, 4]),
        value("scores", onnx.TensorProto.FLOAT, [1, None, None]),
        value("most", onnx.TensorProto.INT64, [1]),
        value("iou", onnx.TensorProto.FLOAT, [1]),
        value("floor", onnx.TensorProto.FLOAT, [1]),
    ]
    graph = onnx.helper.make_graph([node], "nms", inputs, [value("kept", onnx.TensorProto.INT64, [None, 3])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=8)
    assert onnx.load_model_from_string(base64.b64decode(nms.GRAPH)) == model


def test_equal_boxes_of_two_classes_both_stay():
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    kept = suppress(boxes, np.float32([0.5, 0.9, 0.7]), np.int32([0, 1, 0]), iou=0.5, most=10)
    assert kept.tolist() == [1, 2]


def test_scores_of_nought_are_candidates_too():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    assert suppress(boxes, np.zeros(2, np.float32), np.zeros(2, np.int32), iou=0.5, most=10).tolist() == [0, 1]


def test_a_million_candidates_take_no_minutes_and_the_best_are_among_the_kept():
    count = 1_000_000
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 4000, (count, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + 5], axis=1)
    scores = rng.random(count, np.float32)
    started = time.perf_counter()
    kept = suppress(boxes, scores, np.zeros(count, np.int32), iou=0.5, most=count)
    assert time.perf_counter() - started < patient(5)
    assert kept[0] == scores.argmax()
    assert len(kept) <= MAX_CANDIDATES


def test_onnx_runtime_is_told_to_phone_nobody_before_it_is_imported():
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
