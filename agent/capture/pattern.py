"""A synthetic camera: shapes that move over a textured ground, the same ones for the same seed. For trying things out.

Every frame follows from its index alone, so that a lossless pattern starts anywhere and is the same everywhere. It has
no end. Shapes bounce off the edges; the ground has enough texture to be sharp, and a counter of bars at the top left
changes with each frame.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from agent.capture.source import Picture
from agent.process.messages import SourceSpec

WIDTH, HEIGHT, FPS = 640, 480, 15.0
SHAPES = 5
COUNTER_BITS = 16


class PatternSource:
    """Moving shapes. Not live: like a file it is played at its rate, or as fast as it is taken when lossless."""

    live = False
    patience_s = 20.0

    def __init__(self, spec: SourceSpec) -> None:
        self.fps = spec.fps or FPS
        self._size = (spec.width or WIDTH, spec.height or HEIGHT)
        self._seed = spec.seed
        self._next = 0
        self._index = 0
        self._ground: Picture | None = None

    def open(self, start_index: int) -> None:
        """Make the ground and choose the shapes."""
        chance = np.random.default_rng(self._seed)
        width, height = self._size
        coarse = chance.integers(60, 160, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
        self._ground = cast("Picture", cv2.resize(coarse, self._size, interpolation=cv2.INTER_NEAREST))
        self._places = chance.uniform(0, 1, (SHAPES, 2)) * self._size
        self._speeds = chance.uniform(-0.25, 0.25, (SHAPES, 2)) * self._size / self.fps
        self._radii = chance.uniform(0.04, 0.12, SHAPES) * min(self._size)
        self._colours = chance.integers(0, 256, (SHAPES, 3))
        self._next = start_index

    def grab(self) -> int | None:
        """Go on to the next frame."""
        self._index, self._next = self._next, self._next + 1
        return self._index

    def retrieve(self, into: Picture | None) -> Picture:
        """Draw the frame."""
        assert self._ground is not None
        if into is None or into.shape != self._ground.shape:
            into = self._ground.copy()
        else:
            np.copyto(into, self._ground)
        for place, radius, colour, number in zip(self._now(), self._radii, self._colours, range(SHAPES), strict=True):
            centre, side = (round(place[0]), round(place[1])), round(radius)
            paint = tuple(int(part) for part in colour)
            if number % 2:
                cv2.circle(into, centre, side, paint, -1)
            else:
                cv2.rectangle(
                    into, (centre[0] - side, centre[1] - side), (centre[0] + side, centre[1] + side), paint, -1
                )
        self._count(into)
        return into

    def close(self) -> None:
        """Let the ground go."""
        self._ground = None

    def _now(self) -> np.ndarray:
        """Where the shapes are: straight lines folded at the edges."""
        span = 2.0 * np.array(self._size)
        folded = (self._places + self._speeds * self._index) % span
        return np.minimum(folded, span - folded)

    def _count(self, picture: Picture) -> None:
        width = max(1, self._size[0] // 4 // COUNTER_BITS)
        bits = [255 if self._index >> bit & 1 else 0 for bit in range(COUNTER_BITS)]
        row = np.repeat(np.array(bits, np.uint8), width)
        picture[: max(2, self._size[1] // 40), : row.size] = row[None, :, None]
