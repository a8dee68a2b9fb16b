"""The classifier's decoder, against the slow and obvious one."""

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
CLASSIFY = DECODERS["classify"]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    classes=st.integers(1, 12),
    top=st.integers(1, 15),
    softmax=st.booleans(),
    floor=st.floats(0, 1),
)
def test_the_best_classes_at_or_above_the_floor_come_best_first(seed, classes, top, softmax, floor):
    rng = np.random.default_rng(seed)
    values = (rng.normal(0, 100, classes) if softmax else rng.random(classes)).astype(np.float32)
    scores = values.tolist()
    if softmax:
        weights = [math.exp(value - max(scores)) for value in scores]
        scores = [weight / sum(weights) for weight in weights]
    best = sorted(range(classes), key=lambda index: (-values[index], index))[:top]
    if any(abs(scores[index] - floor) < 1e-6 for index in best):
        return
    expected = [(0, 0, *SIZE, scores[index], index) for index in best if scores[index] >= floor]
    found = CLASSIFY(
        [values[np.newaxis]],
        input_size=SIZE,
        params={"softmax": softmax, "top": top},
        num_classes=classes,
        score_floor=floor,
    )
    assert_same(found, expected)


def test_the_expected_output_is_a_score_a_label():
    assert CLASSIFY.expect(input_size=SIZE, params={}, num_classes=7) == ((1, 7),)


@pytest.mark.parametrize("params", [{"top": 0}, {"softmax": "no"}, {"k": 3}])
def test_a_wrong_parameter_is_named(params):
    with pytest.raises(ModelError, match=r"decoder\." + next(iter(params))):
        CLASSIFY.expect(input_size=SIZE, params=params, num_classes=7)
