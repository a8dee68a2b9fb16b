"""Ratios are taken within a round; orders turn so that nobody is always first."""

from __future__ import annotations

import pytest

from tools.bench.ratios import ratio, turned


def test_a_slow_moment_that_hits_a_whole_round_does_not_move_the_ratio():
    found = ratio([120, 60, 118], [100, 50, 100])
    assert found.median == pytest.approx(1.2)
    assert (found.least, found.most) == (pytest.approx(1.18), pytest.approx(1.2))


@pytest.mark.parametrize(("above", "below"), [([1.0], [1.0, 2.0]), ([], []), ([1.0], [0.0])])
def test_what_cannot_be_divided_is_refused(above, below):
    with pytest.raises(ValueError):
        ratio(above, below)


def test_each_round_begins_with_another_one():
    names = ["a", "b", "c"]
    assert [turned(names, number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert all(sorted(turned(names, number)) == names for number in range(4))
    assert turned([], 3) == []
