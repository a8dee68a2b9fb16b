"""The NanoDet decoder, against the slow and obvious one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ModelError
from agent.infer.decoders.base import any_in_row
from agent.infer.decoders.table import DECODERS
from tests.infer.decoders.compare import assert_same

SIZE = (64, 32)
STRIDES = [8, 16, 32]
COUNTS = [32, 8, 2]
NANODET = DECODERS["nanodet"]


def slow(levels, *, reg_max, logits, floor):
    found = []
    for stride, (all_scores, distributions) in zip(STRIDES, levels, strict=True):
        for index in range(len(all_scores)):
            row, column = divmod(index, SIZE[0] // stride)
            scores = all_scores[index].tolist()
            best = max(range(len(scores)), key=lambda c: scores[c])
            score = 1 / (1 + math.exp(-scores[best])) if logits else scores[best]
            if score < np.float32(floor):
                continue
            sides = []
            for side in range(4):
                bins = [math.exp(v) for v in distributions[index, side * (reg_max + 1) :][: reg_max + 1].tolist()]
                sides.append(sum(k * weight for k, weight in enumerate(bins)) / sum(bins) * stride)
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            left, top = max(x - sides[0], 0), max(y - sides[1], 0)
            found.append((left, top, min(x + sides[2], SIZE[0]), min(y + sides[3], SIZE[1]), score, best))
    return found


def some_levels(seed: int, classes: int, reg_max: int, *, logits: bool):
    rng = np.random.default_rng(seed)
    levels = []
    for count in COUNTS:
        scores = rng.normal(0, 3, (count, classes)) if logits else rng.random((count, classes))
        distributions = rng.normal(0, 3, (count, 4 * (reg_max + 1)))
        levels.append((scores.astype(np.float32), distributions.astype(np.float32)))
    return levels


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    classes=st.integers(1, 12),
    reg_max=st.integers(1, 8),
    logits=st.booleans(),
    floor=st.one_of(st.just(0.0), st.just(1.0), st.floats(0.001, 0.999)),
    shuffle=st.randoms(use_true_random=False),
)
def test_it_finds_what_the_slow_and_obvious_way_finds_whatever_the_order_of_the_outputs(
    seed, classes, reg_max, logits, floor, shuffle
):
    levels = some_levels(seed, classes, reg_max, logits=logits)
    outputs = [array[np.newaxis] for level in levels for array in level]
    if classes != 4 * (reg_max + 1):
        shuffle.shuffle(outputs)
    found = NANODET(
        outputs,
        input_size=SIZE,
        params={"strides": STRIDES, "reg_max": reg_max, "logits": logits},
        num_classes=classes,
        score_floor=floor,
    )
    expected = slow(levels, reg_max=reg_max, logits=logits, floor=floor)
    if not any(abs(row[4] - floor) < 1e-5 for row in slow(levels, reg_max=reg_max, logits=logits, floor=0)):
        assert_same(found, expected)


def test_as_many_classes_as_bins_are_told_apart_by_order():
    levels = some_levels(1, 8, 1, logits=False)
    outputs = [level[0][np.newaxis] for level in levels] + [level[1][np.newaxis] for level in levels]
    found = NANODET(outputs, input_size=SIZE, params={"strides": STRIDES, "reg_max": 1}, num_classes=8, score_floor=0.5)
    assert_same(found, slow(levels, reg_max=1, logits=False, floor=0.5))


def test_the_expected_outputs_are_two_a_stride():
    shapes = NANODET.expect(input_size=(320, 320), params={}, num_classes=80)
    assert shapes == (
        (1, 1600, 80), (1, 1600, 32), (1, 400, 80), (1, 400, 32), (1, 100, 80), (1, 100, 32),
    )  # fmt: skip


@pytest.mark.parametrize("params", [{"reg_max": 0}, {"reg_max": 7.0}, {"reg_max": True}, {"regmax": 7}, {"logits": 1}])
def test_a_wrong_parameter_is_named(params):
    with pytest.raises(ModelError, match=r"decoder\." + next(iter(params))):
        NANODET.expect(input_size=(320, 320), params=params, num_classes=80)


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 12),
    width=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    cut=st.booleans(),
)
def test_rows_with_a_hit_are_found_whatever_their_width(seed, rows, width, share, cut):
    mask = np.random.default_rng(seed).random((rows, width + cut)) < share
    mask = mask[:, :width]
    assert any_in_row(mask).tolist() == [row for row in range(rows) if mask[row].any()]
