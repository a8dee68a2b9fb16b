"""Assignment: the best sum in small groups, bounded work in large ones."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.vision.assign import MOST_EXACT, alike, pairs

TABLES = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0]))
)


def total(table: np.ndarray, chosen: list[tuple[int, int]]) -> float:
    return sum(float(table[pair]) for pair in chosen)


def best(table: np.ndarray, floor: float) -> float:
    """The largest sum there is, by trying all."""
    if table.shape[0] > table.shape[1]:
        table = table.T
    gains = np.where(table >= floor, table, 0.0)
    return max(
        sum(float(gains[row, column]) for row, column in enumerate(columns))
        for columns in permutations(range(table.shape[1]), table.shape[0])
    )


@given(TABLES, st.sampled_from([0.0, 0.2, 0.3]))
def test_small_tables_are_solved_exactly(table: np.ndarray, floor: float) -> None:
    chosen = pairs(alike(table, floor))
    assert abs(total(table, chosen) - best(table, floor)) < 1e-9


@given(TABLES, st.sampled_from([0.0, 0.2, 0.3]))
def test_nobody_is_taken_twice_or_below_the_floor(table: np.ndarray, floor: float) -> None:
    chosen = pairs(alike(table, floor))
    assert len({row for row, _ in chosen}) == len({column for _, column in chosen}) == len(chosen)
    assert all(table[pair] >= max(floor, 1e-9) for pair in chosen)


@given(st.integers(0, 100))
def test_a_dense_crowd_is_solved_greedily_and_completely(seed: int) -> None:
    table = np.random.default_rng(seed).uniform(0.3, 1.0, (20, 30))
    assert table.size > MOST_EXACT
    chosen = pairs(alike(table, 0.2))
    assert sorted(row for row, _ in chosen) == list(range(20))
    assert table.max() == table[max(chosen, key=lambda pair: table[pair])]


def test_nothing_gives_nothing() -> None:
    assert pairs(alike(np.zeros((0, 3)), 0.1)) == []
    assert pairs(alike(np.zeros((3, 0)), 0.1)) == []
    assert pairs(alike(np.zeros((3, 3)), 0.0)) == []
