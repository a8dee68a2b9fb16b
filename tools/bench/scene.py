"""A still scene as a camera would give it: one photograph with sensor noise, into which objects come and go.

Frames are written as uncompressed images, so that the noise stays what it was; equal ones are links to one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]
"""``x1 y1 x2 y2`` in pixels of the scene."""

NOISES = 25
"""Different noisy pictures of a scene at rest; they repeat after as many frames."""

LEAST_VISIBLE = 0.5
"""An object less of which is in the picture need not be seen."""


@dataclass(frozen=True)
class Visit:
    """One object's stay: frame indices from ``begin`` up to ``end``, and its box in those where most of it shows."""

    begin: int
    end: int
    boxes: dict[int, Rectangle]


@dataclass(frozen=True)
class Tempo:
    """How many frames an object takes to come in, stays, takes to leave, and how many pass before the next one."""

    come: int
    stay: int
    leave: int
    rest: int


class Scene:
    """Writes frames into ``folder``, one after another."""

    def __init__(self, folder: Path, photograph: Picture, *, sigma: float, seed: int = 1) -> None:
        self._folder = folder
        self._photograph = photograph
        self._sigma = sigma
        self._chance = np.random.default_rng(seed)
        self._calm = [self._keep(f"calm-{number}", photograph) for number in range(NOISES)]
        self.frames = 0

    def rest(self, frames: int) -> None:
        """Let nothing happen."""
        for _ in range(frames):
            self._show(self._calm[self.frames % NOISES])

    def visit(self, thing: Picture, *, top: int, reach: int, tempo: Tempo) -> Visit:
        """Let ``thing`` come in from the left until its right edge is at ``reach``, stay, leave again, and rest."""
        begin, boxes = self.frames, dict[int, Rectangle]()
        staying = [self._keep(f"stay-{begin}-{n}", self._with(thing, reach, top)) for n in range(min(5, tempo.stay))]
        right = [round(reach * (n + 1) / tempo.come) for n in range(tempo.come)]
        right += [reach] * tempo.stay + [round(reach * (1 - (n + 1) / tempo.leave)) for n in range(tempo.leave)]
        height, width = thing.shape[:2]
        for n, edge in enumerate(right):
            if edge >= width * LEAST_VISIBLE:
                boxes[self.frames] = (max(0, edge - width), top, edge, top + height)
            if tempo.come <= n < tempo.come + tempo.stay:
                self._show(staying[n % len(staying)])
            else:
                self._show(self._keep(f"move-{self.frames}", self._with(thing, edge, top)))
        end = self.frames
        self.rest(tempo.rest)
        return Visit(begin, end, boxes)

    def _with(self, thing: Picture, right: int, top: int) -> Picture:
        picture = self._photograph.copy()
        visible = thing[:, max(0, thing.shape[1] - right) :] if right > 0 else thing[:, :0]
        picture[top : top + thing.shape[0], max(0, right - thing.shape[1]) : max(0, right)] = visible
        return cast("Picture", picture)

    def _keep(self, name: str, picture: Picture) -> Path:
        """Write one noisy picture where no camera looks."""
        shelf = self._folder / "shelf"
        shelf.mkdir(parents=True, exist_ok=True)
        path = shelf / f"{name}.bmp"
        noisy = picture + self._chance.normal(0.0, self._sigma, picture.shape)
        cv2.imwrite(str(path), np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
        return path

    def _show(self, path: Path) -> None:
        (self._folder / f"{self.frames:06d}.bmp").symlink_to(path)
        self.frames += 1


def overlap(a: Rectangle | tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Return the boxes' intersection over union."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0
