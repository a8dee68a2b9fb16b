from __future__ import annotations

import numpy as np
import pytest

from agent.vision.filters import Limits, Sieve, Vocabulary

AREA = 100.0 * 100.0


def passes(sieve: Sieve, vocabulary: Vocabulary, *objects: tuple[str, float, tuple[float, float]]) -> list[bool]:
    """Objects are label, score, and the box' width and height in a picture of 100 by 100."""
    ids = np.array([vocabulary.id_of(label) for label, _, _ in objects])
    scores = np.array([score for _, score, _ in objects])
    boxes = np.array([(0, 0, *size) for _, _, size in objects], float)
    return sieve.passes(vocabulary, ids, scores, boxes, AREA).tolist()


def test_a_sieve_without_limits_lets_everything_through():
    assert passes(Sieve(), Vocabulary(), ("cat", 0.0, (0, 0)), ("dog", 1.0, (100, 100))) == [True, True]


def test_only_the_wanted_labels_pass():
    assert passes(Sieve(frozenset({"cat"})), Vocabulary(), ("cat", 0.1, (1, 1)), ("dog", 0.9, (9, 9))) == [True, False]


@pytest.mark.parametrize(
    ("limits", "fits", "does_not"),
    [
        (Limits(score=0.5), (0.5, (10, 10)), (0.49, (10, 10))),
        (Limits(min_area=0.01), (0.9, (10, 10)), (0.9, (9, 10))),
        (Limits(max_area=0.01), (0.9, (10, 10)), (0.9, (11, 10))),
        (Limits(min_ratio=0.5), (0.9, (10, 20)), (0.9, (10, 21))),
        (Limits(max_ratio=0.5), (0.9, (10, 20)), (0.9, (11, 20))),
    ],
    ids=["score", "too small", "too large", "too slim", "too wide"],
)
def test_a_limit_holds_for_its_label_only(limits, fits, does_not):
    sieve = Sieve(limits={"cat": limits})
    assert passes(sieve, Vocabulary(), ("cat", *fits), ("cat", *does_not), ("dog", *does_not)) == [True, False, True]


def test_labels_that_come_later_are_judged_too():
    vocabulary, sieve = Vocabulary(["cat"]), Sieve(limits={"dog": Limits(score=0.5)})
    assert passes(sieve, vocabulary, ("cat", 0.1, (1, 1))) == [True]
    assert passes(sieve, vocabulary, ("dog", 0.1, (1, 1)), ("dog", 0.9, (1, 1))) == [False, True]


def test_a_vocabulary_that_was_cleared_begins_anew_and_sieves_notice():
    vocabulary, sieve = Vocabulary(["cat", "dog"]), Sieve(frozenset({"dog"}))
    assert passes(sieve, vocabulary, ("dog", 0.9, (1, 1))) == [True]
    vocabulary.clear()
    assert [vocabulary.id_of(label) for label in ("dog", "cat", "dog")] == [0, 1, 0]
    assert passes(sieve, vocabulary, ("dog", 0.9, (1, 1)), ("cat", 0.9, (1, 1))) == [True, False]
