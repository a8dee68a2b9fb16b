"""A source seen through its camera's ``view``: turned, cut and, where inference must not see it either, masked.

:class:`Viewed` is itself a :class:`~agent.capture.source.Source`. Where nothing is to be done the source is used as it
is, and decodes straight into the slot; else it decodes into a buffer, and turning or cutting writes into the slot.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from agent.capture.geometry import Polygon, Window, before_turning, polygons, turned_size, window
from agent.capture.source import Picture, Source
from agent.process.messages import View

RIM = 3
"""Width of the rim, pixels: one and a half to each side."""

_CODES = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def viewed(source: Source, view: View) -> Source:
    """Return the source as the camera's view shows it."""
    if view.rotate == 0 and view.crop is None and not (view.masks and view.mask_inference):
        return source
    return Viewed(source, view)


def black_out(picture: Picture, masks: tuple[Polygon, ...]) -> None:
    """Paint the masks into a picture, in place, with a rim: rounding to whole pixels uncovers nothing."""
    for mask in masks:
        cv2.fillPoly(picture, [mask], (0, 0, 0))
        cv2.polylines(picture, [mask], True, (0, 0, 0), RIM)


class Viewed:
    """A source behind a view."""

    def __init__(self, source: Source, view: View) -> None:
        self._source = source
        self._view = view
        self._buffer: Picture | None = None
        self._size: tuple[int, int] | None = None
        self._part = Window(0, 0, 0, 0)
        self._shape: tuple[int, ...] = ()
        self._masks: tuple[Polygon, ...] = ()

    @property
    def live(self) -> bool:
        """As the source says."""
        return self._source.live

    @property
    def fps(self) -> float:
        """As the source says."""
        return self._source.fps

    @property
    def patience_s(self) -> float:
        """As the source says."""
        return self._source.patience_s

    def open(self, start_index: int) -> None:
        """Open the source. Raises :class:`CameraError`."""
        self._source.open(start_index)

    def grab(self) -> int | None:
        """Bring the next frame in. Raises :class:`CameraError`."""
        return self._source.grab()

    def retrieve(self, into: Picture | None) -> Picture:
        """Return the grabbed frame as the view shows it, in ``into`` where the size fits. Raises CameraError."""
        picture = self._buffer = self._source.retrieve(self._buffer)
        if self._size != (picture.shape[1], picture.shape[0]):
            self._measure(picture.shape[1], picture.shape[0])
        left, top, right, bottom = self._part
        part = picture[top:bottom, left:right]
        out = into if into is not None and into.shape == self._shape else np.empty(self._shape, np.uint8)
        if self._view.rotate:
            cv2.rotate(part, _CODES[self._view.rotate], out)
        else:
            np.copyto(out, part)
        black_out(out, self._masks)
        return cast("Picture", out)

    def close(self) -> None:
        """Close the source."""
        self._source.close()
        self._buffer = None

    def _measure(self, width: int, height: int) -> None:
        """Work out what is cut from frames of this size. Raises :class:`CameraError`."""
        across, down = turned_size(width, height, self._view.rotate)
        shown = window(self._view.crop, across, down)
        self._part = before_turning(shown, width, height, self._view.rotate)
        self._shape = (shown.size[1], shown.size[0], 3)
        self._masks = polygons(self._view.masks, *shown.size) if self._view.mask_inference else ()
        self._size = (width, height)
