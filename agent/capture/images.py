"""A folder of images as a source, in the order of their names.

The index of a frame is the image's place among the names, so a file that cannot be read leaves a gap and nothing else
moves. Such a file is named in a warning once. Images may differ in size.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
import structlog

from agent.capture.source import Picture
from agent.errors import CameraError
from agent.process.messages import SourceSpec
from agent.process.ring import MAX_SIDE

log = structlog.get_logger(part="capture")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


class ImagesSource:
    """The images of one folder."""

    live = False
    fps = 0.0
    patience_s = 20.0

    def __init__(self, spec: SourceSpec) -> None:
        self._folder = Path(spec.location)
        self._paths: list[Path] = []
        self._next = 0
        self._picture: Picture | None = None
        self._told: set[Path] = set()

    def open(self, start_index: int) -> None:
        """List the folder. Raises :class:`CameraError` where it is missing, unreadable or holds no image."""
        try:
            self._paths = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise CameraError(f"{self._folder}: cannot be listed: {error.strerror}; give a folder of images") from error
        if not self._paths:
            raise CameraError(f"{self._folder}: holds no image (looked for {', '.join(sorted(SUFFIXES))})")
        self._next = start_index

    def grab(self) -> int | None:
        """Read the next image that can be read; None after the last."""
        while self._next < len(self._paths):
            index, self._next = self._next, self._next + 1
            self._picture = self._read(self._paths[index])
            if self._picture is not None:
                return index
        return None

    def retrieve(self, into: Picture | None) -> Picture:
        """Return the image; copied into ``into`` where the size fits."""
        if self._picture is None:
            raise CameraError(f"{self._folder}: no image was read")
        if into is None or into.shape != self._picture.shape:
            return self._picture
        np.copyto(into, self._picture)
        return into

    def close(self) -> None:
        """Forget the folder's list and the last image."""
        self._paths, self._picture = [], None

    def _read(self, path: Path) -> Picture | None:
        try:
            picture = cast("Picture | None", cv2.imread(str(path), cv2.IMREAD_COLOR))
        except cv2.error as error:
            self._warn(path, str(error))
            return None
        if picture is None:
            self._warn(path, "no image that OpenCV can read")
            return None
        if max(picture.shape[:2]) > MAX_SIDE:
            self._warn(path, f"a side is longer than {MAX_SIDE} pixels")
            return None
        return picture

    def _warn(self, path: Path, reason: str) -> None:
        if path not in self._told:
            self._told.add(path)
            log.warning("capture.image_skipped", file=str(path), reason=reason)
