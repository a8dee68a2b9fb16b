"""The CenterFace decoder, against the slow and obvious one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ModelError
from agent.infer.decoders.table import DECODERS
from tests.infer.decoders.compare import assert_same

SIZE = (48, 32)
ROWS, COLUMNS = 8, 12
CENTERFACE = DECODERS["centerface"]


def slow(heatmap, sizes, offsets, *, logits, floor):
    found = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            score = float(heatmap[row, column])
            if logits:
                score = 1 / (1 + math.exp(-score))
            if score < np.float32(floor):
                continue
            height, width = math.exp(sizes[0, row, column]) * 4, math.exp(sizes[1, row, column]) * 4
            x1 = (column + float(offsets[1, row, column]) + 0.5) * 4 - width / 2
            y1 = (row + float(offsets[0, row, column]) + 0.5) * 4 - height / 2
            x1, y1 = min(max(x1, 0), SIZE[0]), min(max(y1, 0), SIZE[1])
            found.append((x1, y1, min(x1 + width, SIZE[0]), min(y1 + height, SIZE[1]), score, 0))
    return found


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    logits=st.booleans(),
    floor=st.one_of(st.just(0.0), st.just(1.0), st.floats(0.001, 0.999)),
    landmarks=st.booleans(),
)
def test_it_finds_what_the_slow_and_obvious_way_finds(seed, logits, floor, landmarks):
    rng = np.random.default_rng(seed)
    heatmap = (rng.normal(0, 3, (ROWS, COLUMNS)) if logits else rng.random((ROWS, COLUMNS))).astype(np.float32)
    sizes, offsets = rng.normal(0, 1, (2, 2, ROWS, COLUMNS)).astype(np.float32)
    outputs = [heatmap[np.newaxis, np.newaxis], sizes[np.newaxis], offsets[np.newaxis]]
    if landmarks:
        outputs.append(rng.random((1, 10, ROWS, COLUMNS)).astype(np.float32))
    found = CENTERFACE(
        outputs, input_size=SIZE, params={"stride": 4, "logits": logits}, num_classes=1, score_floor=floor
    )
    everything = slow(heatmap, sizes, offsets, logits=logits, floor=0)
    if not any(abs(row[4] - floor) < 1e-5 for row in everything):
        assert_same(found, slow(heatmap, sizes, offsets, logits=logits, floor=floor))


def test_the_expected_outputs_have_the_strides_size():
    assert CENTERFACE.expect(input_size=(352, 288), params={}, num_classes=1) == (
        (1, 1, 72, 88), (1, 2, 72, 88), (1, 2, 72, 88),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("params", "classes", "words"),
    [
        ({"stride": 0}, 1, "decoder.stride 0"),
        ({"stride": 5}, 1, "does not divide"),
        ({"strides": [4]}, 1, "decoder.strides: no such parameter"),
        ({}, 2, "one class, the manifest has 2"),
    ],
)
def test_what_cannot_be_centerface_is_refused(params, classes, words):
    with pytest.raises(ModelError, match=words):
        CENTERFACE.expect(input_size=(352, 288), params=params, num_classes=classes)
