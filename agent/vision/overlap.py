"""How much boxes overlap. Pure. Boxes are float arrays (n, 4) ``xyxy``; one without area overlaps nothing.

Both work on sides rather than on boxes, so that a transposed array (4, n), as tracks are kept in, is read fastest.
"""

from __future__ import annotations

import numpy as np

_LEAST_AREA = 1e-9


def overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of each of ``some`` (n) with each of ``others`` (m): float64 (n, m), 0..1."""
    sides, others_sides = some.T[:, :, None], np.ascontiguousarray(others.T)[:, None, :]
    both = np.minimum(sides[2:], others_sides[2:])
    both -= np.maximum(sides[:2], others_sides[:2])
    np.maximum(both, 0.0, out=both)
    shared = both[0] * both[1]
    union = areas(some)[:, None] + areas(others)
    union -= shared
    np.maximum(union, _LEAST_AREA, out=union)
    return np.asarray(np.divide(shared, union, out=union))


def areas(boxes: np.ndarray) -> np.ndarray:
    """Return each box' area, 0 where its corners are the wrong way round."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def widened(boxes: np.ndarray, share: float) -> np.ndarray:
    """Return boxes with a border of ``share`` of their size (the root of their area) on each side."""
    border = share * np.sqrt(areas(boxes))[:, None]
    return np.concatenate((boxes[:, :2] - border, boxes[:, 2:] + border), axis=1)
