"""Where a pixel of the frame lies in the model's input, and back. Pure; any thread.

The two axes are scaled apart, by what the resize really did (a letterbox rounds its size to whole pixels), so that the
inverse is exact: the error is that of the arithmetic, far below a thousandth of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agent.types import InputSpec


@dataclass(frozen=True, slots=True)
class Geometry:
    """One way from frame to input: ``input = frame * scale + offset``, an axis each.

    ``content_*`` is the size in input pixels that the resized frame takes up; the rest of the input is padding.
    """

    source_width: int
    source_height: int
    content_width: int
    content_height: int
    offset_x: int
    offset_y: int

    @classmethod
    def fit(cls, source_width: int, source_height: int, spec: InputSpec) -> Geometry:
        """Return how a frame of this size (pixels, each at least 1) is fitted into ``spec``'s input."""
        if spec.resize == "stretch":
            return cls(source_width, source_height, spec.width, spec.height, 0, 0)
        ratio = min(spec.width / source_width, spec.height / source_height)
        content_width = min(spec.width, max(1, round(source_width * ratio)))
        content_height = min(spec.height, max(1, round(source_height * ratio)))
        if spec.anchor == "top-left":
            return cls(source_width, source_height, content_width, content_height, 0, 0)
        offset_x = (spec.width - content_width) // 2
        offset_y = (spec.height - content_height) // 2
        return cls(source_width, source_height, content_width, content_height, offset_x, offset_y)

    @property
    def scale_x(self) -> float:
        """Input pixels a source pixel, horizontally."""
        return self.content_width / self.source_width

    @property
    def scale_y(self) -> float:
        """Input pixels a source pixel, vertically."""
        return self.content_height / self.source_height

    def forward(self, boxes: np.ndarray) -> np.ndarray:
        """Return ``(n, 4)`` xyxy boxes of the frame in input pixels, float64."""
        scale, offset, _ = _constants(self)
        moved: np.ndarray = boxes * scale + offset
        return moved

    def inverse(self, boxes: np.ndarray) -> np.ndarray:
        """Return ``(n, 4)`` xyxy boxes of the input in pixels of the frame, clipped to it, float64."""
        scale, offset, limit = _constants(self)
        moved: np.ndarray = boxes - offset
        moved /= scale
        np.maximum(moved, 0.0, out=moved)
        np.minimum(moved, limit, out=moved)
        return moved


@lru_cache(maxsize=64)
def _constants(geometry: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scale, offset and the frame's far corner, each for x1 y1 x2 y2; read-only."""
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
    offset = np.array([geometry.offset_x, geometry.offset_y] * 2, np.float64)
    limit = np.array([geometry.source_width, geometry.source_height] * 2, np.float64)
    for constant in (scale, offset, limit):
        constant.setflags(write=False)
    return scale, offset, limit
