"""Pictures without labels, for calibration: a folder of images, a video file, or a camera.

Frames of a film are alike when they are near in time. :func:`as_dataset` therefore deals them so that even
positions hold the first half of the film and odd ones the second: whoever divides by position divides by time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from agent.errors import CameraError, InputError
from agent.redact import redact
from tools.model.datasets.records import SUFFIXES, Dataset, Picture, no_boxes

OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 3000
CAMERA_EVERY = 10
"""Of a camera, every so many frames are taken, unless told otherwise."""


@dataclass(frozen=True)
class Still(Picture):
    """A picture that is in memory already; ``path`` says where it came from."""

    image: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))

    def pixels(self) -> np.ndarray:
        """Return it as BGR uint8."""
        return self.image


def pictures_of(source: str, *, limit: int, every: int | None = None) -> Iterator[np.ndarray]:
    """Yield at most ``limit`` BGR pictures of a folder, a video file, or a camera (an index, or a URL).

    ``every``: take one of so many; by default a folder and a film are sampled evenly over their length, a camera every
    tenth frame. Raises :class:`InputError` (nothing there, an image that is none, no film),
    :class:`~agent.errors.CameraError`.
    """
    path = Path(source)
    if path.is_dir():
        yield from _folder(path, limit, every)
    elif path.is_file():
        yield from _film(path, limit, every)
    elif source.isdecimal() or "://" in source or source.startswith("/dev/"):
        yield from _camera(source, limit, every or CAMERA_EVERY)
    else:
        raise InputError(f"{source}: no such folder, video or camera (a camera is an index such as 0, or a URL)")


def as_dataset(source: str, *, limit: int, every: int | None = None) -> Dataset:
    """Return the pictures of :func:`pictures_of` as a data set without labels or classes."""
    frames = list(pictures_of(source, limit=limit, every=every))
    if not frames:
        raise InputError(f"{source}: no pictures in it")
    middle = (len(frames) + 1) // 2
    dealt = [
        frame for pair in itertools.zip_longest(frames[:middle], frames[middle:]) for frame in pair if frame is not None
    ]
    stills = (Still(path=Path(f"{source}#{index}"), truth=no_boxes(), image=frame) for index, frame in enumerate(dealt))
    return Dataset(pictures=tuple(stills), classes=())


def _folder(folder: Path, limit: int, every: int | None) -> Iterator[np.ndarray]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: no pictures in it ({', '.join(sorted(SUFFIXES))})")
    for path in _spread(paths, limit, every):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise InputError(f"{path}: this is no picture that can be read; remove it or mend it")
        yield pixels


def _spread(paths: list[Path], limit: int, every: int | None) -> list[Path]:
    if every is not None:
        return paths[::every][:limit]
    if len(paths) <= limit:
        return paths
    return [paths[place] for place in np.linspace(0, len(paths) - 1, limit).round().astype(int)]


def _film(path: Path, limit: int, every: int | None) -> Iterator[np.ndarray]:
    capture, taken = cv2.VideoCapture(str(path)), 0
    try:
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        step = every or max(1, frames // limit)
        for frame in _frames(capture, step):
            if taken == limit:
                return
            taken += 1
            yield frame
    finally:
        capture.release()
    if taken == 0:
        raise InputError(f"{path}: this is no video that OpenCV can read; give a folder of pictures or another film")


def _camera(source: str, limit: int, every: int) -> Iterator[np.ndarray]:
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    capture = (
        cv2.VideoCapture(int(source)) if source.isdecimal() else cv2.VideoCapture(source, cv2.CAP_FFMPEG, timeouts)
    )
    shown = redact(source)
    try:
        if not capture.isOpened():
            raise CameraError(f"{shown}: the camera cannot be opened; is it on, and nobody else's?")
        taken = 0
        for frame in itertools.islice(_frames(capture, every), limit):
            taken += 1
            yield frame
        if taken < limit:
            raise CameraError(f"{shown}: the camera gave {taken} pictures and then none; {limit} were asked for")
    finally:
        capture.release()


def _frames(capture: cv2.VideoCapture, step: int) -> Iterator[np.ndarray]:
    """Yield one of ``step`` frames; the others are not decoded to pixels."""
    index = 0
    while capture.grab():
        if index % step == 0:
            ok, frame = capture.retrieve()
            if not ok:
                return
            yield frame
        index += 1
