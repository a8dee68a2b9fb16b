"""How much of a camera's picture moved: a background on a small grey frame. Pure.

Runs in the capture process, on the thread of the camera's grabber, for each frame that was written; array functions of
numpy and cv2 only. What is motion is what differs from the background

- after a change of light common to the picture was taken out: gain and offset, fitted to the medians of the darker and
  the brighter half, so that an object has to fill half of the picture to be mistaken for light;
- by more than ``contrast`` grey levels, and by more than :data:`NOISE_FACTOR` times the noise of this very frame
  (from the median of all differences, which objects do not move);
- in most of its neighbourhood: single places are noise.

The background follows light at once and a place that is still within :data:`FOLLOW_S`. A place that moved is left as it
was, so that who passes leaves no trace, until it has moved for :data:`SETTLED_S` without a pause: something stopped
there, becomes background, and the gate's re-checks of known tracks take over. Every doubt is motion: the first frame,
another frame size, regions that cover nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Mask = NDArray[np.uint8]
"""Ones and zeros."""
Polygon = Sequence[tuple[float, float]]

WIDTH = 160
"""Pixels of the small frame; an object 16 source pixels wide at 640 is four of them."""

NOISE_FACTOR = 6.0
MAD_TO_SIGMA = 1.4826
FOLLOW_S = 4.0
SETTLED_S = 5.0
LONGEST_STEP_S = 2.0
"""A frame after a pause teaches no more than one after this."""

SAMPLE_STEP = 4
"""Light and noise are estimated on every fourth pixel of every fourth row."""

LEAST_SPREAD = 8.0
"""Grey levels between the darker and the brighter half below which a gain cannot be told from an offset."""


class Motion:
    """One camera's background. ``include`` and ``exclude``: polygons in pixels or, all within 0..1, parts of the frame.

    Watched is what lies in any of ``include`` (everything where there is none) and in none of ``exclude``.
    """

    def __init__(self, *, contrast: float, include: Sequence[Polygon] = (), exclude: Sequence[Polygon] = ()) -> None:
        self._contrast = contrast
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        self._shape: tuple[int, ...] = ()
        self._at_ns = 0
        self._background: Grey = np.empty((0, 0), np.float32)
        self._moved_s: Grey = self._background
        """For how long each place has moved without a pause."""
        self._watched: Mask = np.empty((0, 0), np.uint8)
        self._watched_pixels = 0
        self._sample: NDArray[np.intp] = np.empty(0, np.intp)

    def __call__(self, picture: NDArray[np.uint8], at_ns: int) -> float:
        """Return the share (0..1) of the watched area in which ``picture`` (h, w, 3; BGR) differs from the background.

        Learns from it, too. 1.0 where there is no background yet.
        """
        if picture.shape != self._shape:
            self._begin(picture, at_ns)
            return 1.0
        grey = self._shrink(picture)
        self._background += self._light(grey - self._background)
        expected = self._background.clip(0.0, 255.0)  # as far as a camera can tell
        moved = self._moved(np.abs(grey - expected))
        self._learn(grey, moved, at_ns)
        if not self._watched_pixels:
            return 1.0
        return cv2.countNonZero(moved) / self._watched_pixels

    def _begin(self, picture: NDArray[np.uint8], at_ns: int) -> None:
        self._shape, self._at_ns = picture.shape, at_ns
        height, width = picture.shape[:2]
        self._size = (min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width)))
        self._background = self._shrink(picture)
        self._moved_s = np.zeros_like(self._background)
        self._watched = self._watch(width, height)
        self._watched_pixels = cv2.countNonZero(self._watched)
        coarse = np.zeros_like(self._watched)
        coarse[::SAMPLE_STEP, ::SAMPLE_STEP] = 1
        sample = np.flatnonzero(coarse & self._watched)
        self._sample = sample if sample.size else np.flatnonzero(coarse)

    def _shrink(self, picture: NDArray[np.uint8]) -> Grey:
        """Return a small grey frame; linear, not area: a blur calms noise as well, at a third of the cost."""
        small = cv2.resize(picture, self._size, interpolation=cv2.INTER_LINEAR)
        return cast("Grey", cv2.blur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (3, 3)).astype(np.float32))

    def _watch(self, width: int, height: int) -> Mask:
        across, down = self._size
        watched = np.full((down, across), 0 if self._include else 1, np.uint8)
        for polygons, value in ((self._include, 1), (self._exclude, 0)):
            for polygon in polygons:
                corners = np.array(polygon, np.float64)
                if corners.max(initial=0.0) > 1.0:
                    corners /= (width, height)
                cv2.fillPoly(watched, [np.round(corners * (across - 1, down - 1)).astype(np.int32)], value)
        return watched

    def _light(self, difference: Grey) -> Grey:
        """Return what a change of light, common to the picture, makes of each place's brightness."""
        seen = self._background.ravel()[self._sample]
        change = difference.ravel()[self._sample]
        bright = seen > _median(seen)
        if not bright.any():
            return np.full_like(difference, _median(change))
        low, high = _median(seen[~bright]), _median(seen[bright])
        low_change, high_change = _median(change[~bright]), _median(change[bright])
        if high - low < LEAST_SPREAD:
            return np.full_like(difference, _median(change))
        gain = (high_change - low_change) / (high - low)
        light: Grey = (self._background - np.float32(low)) * np.float32(gain) + np.float32(low_change)
        return light

    def _moved(self, rest: Grey) -> Mask:
        noise = MAD_TO_SIGMA * _median(rest.ravel()[self._sample])
        threshold = max(self._contrast, NOISE_FACTOR * noise)
        differs = (rest > threshold).view(np.uint8) & self._watched
        return cast("Mask", cv2.blur(differs, (3, 3)))  # of ones and zeros: rounded, it is what most of the nine are

    def _learn(self, grey: Grey, moved: Mask, at_ns: int) -> None:
        passed_s = min(max(0.0, (at_ns - self._at_ns) / 1e9), LONGEST_STEP_S)
        self._at_ns = at_ns
        self._moved_s = (self._moved_s + np.float32(passed_s)) * moved
        learned = (moved ^ 1) | (self._moved_s > SETTLED_S).view(np.uint8)
        cv2.accumulateWeighted(grey, self._background, -math.expm1(-passed_s / FOLLOW_S), learned)


def _median(values: NDArray[np.float32]) -> float:
    """Return the (upper) median: a tenth of the cost of numpy's own on a short array."""
    return float(np.partition(values, values.size // 2)[values.size // 2])
