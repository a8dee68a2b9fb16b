"""The YOLOX decoder, against the slow and obvious one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ModelError
from agent.infer.decoders.table import DECODERS
from tests.infer.decoders.compare import assert_same

SIZE = (64, 32)
STRIDES = [8, 16, 32]
CELLS = 32 + 8 + 2
YOLOX = DECODERS["yolox"]


def slow(rows, *, decoded, floor):
    found, index = [], 0
    for stride in STRIDES:
        for row in range(SIZE[1] // stride):
            for column in range(SIZE[0] // stride):
                x, y, w, h, objectness, *classes = rows[index].tolist()
                index += 1
                best = max(range(len(classes)), key=lambda c: classes[c])
                score = float(np.float32(objectness) * np.float32(classes[best]))
                if objectness < np.float32(floor) or score < np.float32(floor):
                    continue
                if not decoded:
                    x, y = (x + column) * stride, (y + row) * stride
                    w, h = math.exp(w) * stride, math.exp(h) * stride
                found.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, best))
    return found


def outputs(seed: int, classes: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 1, (CELLS, 5 + classes))
    rows[:, 4:] = rng.random((CELLS, 1 + classes))
    return rows.astype(np.float32)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    classes=st.integers(1, 5),
    floor=st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1)),
    decoded=st.booleans(),
)
def test_it_finds_what_the_slow_and_obvious_way_finds(seed, classes, floor, decoded):
    rows = outputs(seed, classes)
    before = rows.copy()
    found = YOLOX(
        [rows[np.newaxis]],
        input_size=SIZE,
        params={"strides": STRIDES, "decoded": decoded},
        num_classes=classes,
        score_floor=floor,
    )
    assert_same(found, slow(rows, decoded=decoded, floor=floor))
    np.testing.assert_array_equal(rows, before)


def test_a_box_in_a_known_cell():
    rows = np.zeros((CELLS, 7), np.float32)
    rows[32 + 5] = [0.5, 0.25, 0.0, math.log(2), 0.8, 0.1, 0.5]  # stride 16, row 1, column 1
    found = YOLOX([rows[np.newaxis]], input_size=SIZE, params={"strides": STRIDES}, num_classes=2, score_floor=0.1)
    np.testing.assert_allclose(found.boxes, [[16, 4, 32, 36]], atol=1e-5)
    assert found.scores.tolist() == [pytest.approx(0.4)]
    assert found.class_ids.tolist() == [1]


def test_the_expected_output_follows_from_size_strides_and_labels():
    assert YOLOX.expect(input_size=(416, 416), params={}, num_classes=80) == ((1, 3549, 85),)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"strides": []}, "decoder.strides"),
        ({"strides": 8}, "decoder.strides"),
        ({"strides": [8, 0]}, "decoder.strides"),
        ({"strides": [True]}, "decoder.strides"),
        ({"strides": [7]}, "decoder.strides"),
        ({"decoded": "yes"}, "decoder.decoded"),
        ({"stride": [8]}, "decoder.stride"),
    ],
)
def test_a_wrong_parameter_is_named(params, field):
    with pytest.raises(ModelError) as caught:
        YOLOX.expect(input_size=(416, 416), params=params, num_classes=80)
    assert caught.value.field == field
