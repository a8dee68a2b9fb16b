"""How much boxes overlap. Pure. Boxes are float arrays (n, 4) ``xyxy``; one without area overlaps nothing."""

from __future__ import annotations

import numpy as np

_LEAST_AREA = 1e-9


def overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of each of ``some`` (n) with each of ``others`` (m): float64 (n, m), 0..1."""
    left, top, right, bottom = some.T[:, :, None]
    others_left, others_top, others_right, others_bottom = np.ascontiguousarray(others.T)
    across = np.minimum(right, others_right) - np.maximum(left, others_left)
    down = np.minimum(bottom, others_bottom) - np.maximum(top, others_top)
    shared = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    union = areas(some)[:, None] + areas(others) - shared
    return np.asarray(shared / np.maximum(union, _LEAST_AREA))


def areas(boxes: np.ndarray) -> np.ndarray:
    """Return each box' area, 0 where its corners are the wrong way round."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def widened(boxes: np.ndarray, share: float) -> np.ndarray:
    """Return boxes with a border of ``share`` of their size (the root of their area) on each side."""
    border = share * np.sqrt(areas(boxes))[:, None]
    return np.concatenate((boxes[:, :2] - border, boxes[:, 2:] + border), axis=1)
