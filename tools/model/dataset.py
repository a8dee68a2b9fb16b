"""Labelled pictures in YOLO's text form: ``images/NAME.jpg``, ``labels/NAME.txt``, ``classes.txt``.

A label is one line ``class cx cy w h``, the numbers relative to the picture's size. A picture without a label file
shows nothing of the classes. Calibration uses the even positions of the sorted list and evaluation the odd ones, never
both the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from agent.errors import InputError

Half = Literal["all", "even", "odd"]
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class Picture:
    """One picture; ``truth``: float64 ``(n, 5)`` rows ``class_id cx cy w h``, relative to its size."""

    path: Path
    truth: np.ndarray

    def pixels(self) -> np.ndarray:
        """Return it as BGR uint8 ``(height, width, 3)``. Raises :class:`InputError` when it cannot be decoded."""
        pixels = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise InputError(f"{self.path}: this picture cannot be read")
        return pixels


@dataclass(frozen=True)
class Dataset:
    """The pictures in order of their names, and the names of the classes (empty without ``classes.txt``)."""

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]

    def half(self, which: Half) -> Dataset:
        """Return the pictures at even or odd positions of the sorted list, or all of them."""
        start, step = {"all": (0, 1), "even": (0, 2), "odd": (1, 2)}[which]
        return replace(self, pictures=self.pictures[start::step])


def read_dataset(folder: Path) -> Dataset:
    """Read labels, not pixels. Raises :class:`InputError` for an unreadable folder or a wrong line, which it names."""
    images = folder / "images"
    if not images.is_dir():
        raise InputError(f"{folder}: no folder 'images' in it; a data set has images/, labels/ and classes.txt")
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise InputError(f"{images}: no pictures in it ({', '.join(sorted(_SUFFIXES))})")
    classes = _read_classes(folder / "classes.txt")
    pictures = tuple(
        Picture(path, _read_labels(folder / "labels" / f"{path.stem}.txt", len(classes))) for path in paths
    )
    if not any(len(picture.truth) for picture in pictures):
        raise InputError(f"{folder / 'labels'}: no picture has a label")
    return Dataset(pictures, classes)


def _read_classes(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())


def _read_labels(path: Path, num_classes: int) -> np.ndarray:
    """Return ``(n, 5)``; a file that is not there is a picture without objects."""
    if not path.is_file():
        return np.zeros((0, 5))
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.strip():
            rows.append(_read_label(line, f"{path}:{number}", num_classes))
    return np.array(rows, np.float64).reshape(-1, 5)


def _read_label(line: str, where: str, num_classes: int) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError as error:
        raise InputError(f"{where}: {line!r} is not 'class cx cy w h'") from error
    if len(row) != 5 or not np.isfinite(row).all() or not row[0].is_integer() or row[0] < 0:
        raise InputError(f"{where}: {line!r} is not 'class cx cy w h'")
    if num_classes and row[0] >= num_classes:
        raise InputError(f"{where}: class {int(row[0])}, but classes.txt has {num_classes}")
    return row
