"""Which track takes which box. Pure.

The pairs that are alike enough fall apart into small groups: most hold one track and one box and are taken at once;
a group of up to :data:`MOST_EXACT` cells is solved exactly (the largest sum, by the Hungarian method); a larger one,
a dense crowd, greedily, so that no picture can make the pipeline's thread slow. What is alike is few beside the table
it comes from (some forty cells for 25 objects), so it is gone through in Python, which takes less than numpy's calls.
"""

from __future__ import annotations

import numpy as np

MOST_EXACT = 100
"""Tracks times boxes of a group that is solved exactly: at most a quarter of a millisecond on a desktop core."""

LEAST = 1e-9
"""What has a likeness below this is never paired, whatever the floor."""

Pairs = list[tuple[int, int]]
Cells = dict[tuple[int, int], float]
"""Likeness of the pairs that are allowed, ``(row, column)``; above 0."""


def alike(likeness: np.ndarray, floor: float) -> Cells:
    """Return what of a table (n, m) is not below ``floor``."""
    flat = likeness.ravel()
    places = (flat >= max(floor, LEAST)).nonzero()[0]
    width = likeness.shape[1]
    return {
        (place // width, place % width): worth
        for place, worth in zip(places.tolist(), flat[places].tolist(), strict=True)
    }


def pairs(cells: Cells) -> Pairs:
    """Return pairs of the largest likeness together, each row and each column at most once."""
    rows: dict[int, None] = {}
    columns: dict[int, None] = {}
    shared_rows, shared_columns = set(), set()
    for row, column in cells:
        if row in rows:
            shared_rows.add(row)
        if column in columns:
            shared_columns.add(column)
        rows[row] = columns[column] = None
    if not shared_rows and not shared_columns:
        return list(cells)
    found = [cell for cell in cells if cell[0] not in shared_rows and cell[1] not in shared_columns]
    rest = {cell: worth for cell, worth in cells.items() if cell[0] in shared_rows or cell[1] in shared_columns}
    for group in _groups(rest):
        found += _solve(group)
    return found


def _groups(cells: Cells) -> list[Cells]:
    """Divide cells into those that hang together: in one row or column, directly or by others."""
    of_row: dict[int, list[int]] = {}
    of_column: dict[int, list[int]] = {}
    for row, column in cells:
        of_row.setdefault(row, []).append(column)
        of_column.setdefault(column, []).append(row)
    groups = []
    left = dict.fromkeys(of_row)
    while left:
        ahead = [left.popitem()[0]]
        group: Cells = {}
        while ahead:
            row = ahead.pop()
            for column in of_row[row]:
                group[row, column] = cells[row, column]
                near = [other for other in of_column[column] if other in left]
                for other in near:
                    del left[other]
                ahead += near
        groups.append(group)
    return groups


def _solve(group: Cells) -> Pairs:
    rows = sorted({row for row, _ in group})
    columns = sorted({column for _, column in group})
    if len(rows) == 1 or len(columns) == 1 or len(rows) * len(columns) > MOST_EXACT:
        return _greedy(group)
    if len(rows) > len(columns):
        table = [[group.get((row, column), 0.0) for row in rows] for column in columns]
        chosen = [(rows[j], columns[i]) for i, j in _hungarian(table)]
    else:
        table = [[group.get((row, column), 0.0) for column in columns] for row in rows]
        chosen = [(rows[i], columns[j]) for i, j in _hungarian(table)]
    return [pair for pair in chosen if pair in group]


def _greedy(group: Cells) -> Pairs:
    found: Pairs = []
    rows, columns = set(), set()
    for row, column in sorted(group, key=lambda cell: (-group[cell], cell)):
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            found.append((row, column))
    return found


def _hungarian(gain: list[list[float]]) -> Pairs:
    """Give each row a column so that the sum of gains is the largest; no more rows than columns.

    Shortest augmenting paths with potentials; column 0 is a stand-in, so rows and columns count from 1.
    """
    height, width = len(gain), len(gain[0])
    of_row, of_column = [0.0] * (height + 1), [0.0] * (width + 1)
    owner, before = [0] * (width + 1), [0] * (width + 1)
    for start in range(1, height + 1):
        owner[0], column = start, 0
        slack = [float("inf")] * (width + 1)
        seen = [False] * (width + 1)
        while owner[column]:
            seen[column] = True
            row, step, ahead = owner[column], float("inf"), 0
            line, level = gain[row - 1], of_row[row]
            for other in range(1, width + 1):
                if seen[other]:
                    continue
                cost = -line[other - 1] - level - of_column[other]
                if cost < slack[other]:
                    slack[other], before[other] = cost, column
                if slack[other] < step:
                    step, ahead = slack[other], other
            for other in range(width + 1):
                if seen[other]:
                    of_row[owner[other]] += step
                    of_column[other] -= step
                else:
                    slack[other] -= step
            column = ahead
        while column:
            owner[column] = owner[before[column]]
            column = before[column]
    return [(owner[column] - 1, column - 1) for column in range(1, width + 1) if owner[column]]
