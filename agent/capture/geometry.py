"""Turning, cutting and masking as numbers: where a crop lies and what a polygon covers. Pure.

Points and crops are pixels or, where no number exceeds 1, parts of the picture's size; a crop and masks are on the
picture as it is after turning. Whatever lies outside the picture is cut off.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.errors import CameraError
from agent.process.messages import Points

LEAST_SIDE = 16
"""A crop smaller than this is a slip of the pen."""

Polygon = NDArray[np.int32]
"""Corners in whole pixels, (n, 2)."""


class Window(NamedTuple):
    """A part of a picture, whole pixels; ``right`` and ``bottom`` are outside it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top


def are_parts(numbers: tuple[float, ...]) -> bool:
    """Tell whether these numbers are parts of the picture's size, not pixels."""
    return max(numbers, default=0.0) <= 1.0


def turned_size(width: int, height: int, rotate: int) -> tuple[int, int]:
    """Return the size of a picture after turning it."""
    return (height, width) if rotate in (90, 270) else (width, height)


def window(crop: tuple[float, float, float, float] | None, width: int, height: int) -> Window:
    """Return what is left of a turned picture of this size. Raises :class:`CameraError` where that is too little."""
    if crop is None:
        return Window(0, 0, width, height)
    across, down = (width, height) if are_parts(crop) else (1, 1)
    left, top = max(0, round(crop[0] * across)), max(0, round(crop[1] * down))
    right, bottom = min(width, round(crop[2] * across)), min(height, round(crop[3] * down))
    if right - left < LEAST_SIDE or bottom - top < LEAST_SIDE:
        raise CameraError(
            f"the crop {list(crop)} leaves less than {LEAST_SIDE} pixels of a picture of {width}x{height}: correct it"
        )
    return Window(left, top, right, bottom)


def before_turning(part: Window, width: int, height: int, rotate: int) -> Window:
    """Return where a part of the turned picture lies in the source's own, which is ``width`` x ``height``."""
    left, top, right, bottom = part
    if rotate == 90:
        return Window(top, height - right, bottom, height - left)
    if rotate == 180:
        return Window(width - right, height - bottom, width - left, height - top)
    if rotate == 270:
        return Window(width - bottom, left, width - top, right)
    return part


def polygons(masks: tuple[Points, ...], width: int, height: int) -> tuple[Polygon, ...]:
    """Return the masks in pixels of a picture of this size."""
    found = []
    for points in masks:
        parts = are_parts(tuple(number for point in points for number in point))
        corners = np.array(points, np.float64) * ((width, height) if parts else (1, 1))
        found.append(corners.round().astype(np.int32))
    return tuple(found)
