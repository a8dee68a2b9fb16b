"""The ways in which models write a box, and the one in which candidates are told. Pure."""

from __future__ import annotations

import numpy as np

from agent.infer.decoders.base import Size

FORMS = ("xyxy", "yxyx", "xywh", "cxcywh")
"""Two corners; two corners, y first; top left corner and size; centre and size."""


def of_columns(left: np.ndarray, top: np.ndarray, right: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return ``(n, 4)`` float32 xyxy of whole columns ``(n,)``, along which numpy is quickest."""
    boxes = np.empty((len(left), 4), np.float32)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = left, top, right, bottom
    return boxes


def from_centres(rows: np.ndarray) -> np.ndarray:
    """Return xyxy from rows that begin with centre x, centre y, width, height."""
    halves = rows[:, 2:4] / 2
    boxes: np.ndarray = np.concatenate([rows[:, 0:2] - halves, rows[:, 0:2] + halves], axis=1)
    return boxes


def to_xyxy(boxes: np.ndarray, form: str) -> np.ndarray:
    """Return ``(n, 4)`` boxes, written in one of :data:`FORMS`, as xyxy."""
    if form == "cxcywh":
        return from_centres(boxes)
    if form == "xywh":
        return np.concatenate([boxes[:, 0:2], boxes[:, 0:2] + boxes[:, 2:4]], axis=1)
    return boxes[:, [1, 0, 3, 2]] if form == "yxyx" else boxes


def in_pixels(boxes: np.ndarray, input_size: Size) -> np.ndarray:
    """Return xyxy boxes whose numbers are shares of the input's sides in pixels."""
    scaled: np.ndarray = boxes * np.array([*input_size, *input_size], np.float32)
    return scaled


def within(boxes: np.ndarray, input_size: Size) -> np.ndarray:
    """Return xyxy boxes clipped to the input."""
    clipped: np.ndarray = np.maximum(boxes, np.float32(0))
    np.minimum(clipped, np.array([*input_size, *input_size], np.float32), out=clipped)
    return clipped
