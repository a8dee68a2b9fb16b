"""What a data set is, whatever form it was read from. Labels are read at once, pixels only when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from agent.errors import InputError
from agent.types import Task

Half = Literal["all", "even", "odd"]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""Endings of files that are taken for pictures, in lower case."""


def no_boxes() -> np.ndarray:
    """Return a ``truth`` without rows."""
    return np.zeros((0, 5))


@dataclass(frozen=True)
class Picture:
    """One picture; ``truth``: float64 ``(n, 5)`` rows ``class_id cx cy w h``, relative to its size.

    ``crowd``: rows of the same form that count neither for nor against a model (COCO's crowds, VOC's difficult ones).
    ``areas``: ``(n,)`` pixels that the objects of ``truth`` really cover, by which COCO calls them small or large; None
    where only boxes are known. ``label``: the class of the whole picture, in a data set for classifiers.
    """

    path: Path
    truth: np.ndarray = field(default_factory=no_boxes)
    label: int | None = None
    crowd: np.ndarray = field(default_factory=no_boxes)
    areas: np.ndarray | None = None

    def pixels(self) -> np.ndarray:
        """Return it as BGR uint8 ``(height, width, 3)``. Raises :class:`InputError` when it cannot be decoded."""
        pixels = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise InputError(f"{self.path}: this picture cannot be read: mend it, or take it out of the data set")
        return pixels


@dataclass(frozen=True)
class Dataset:
    """The pictures in order of their names, and the names of the classes (empty where nobody wrote them down).

    ``form``: what it was read from, in words. ``path``: what was given.
    """

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]
    task: Task = "detect"
    form: str = ""
    path: Path | None = None

    def half(self, which: Half) -> Dataset:
        """Return the pictures at even or odd positions of the sorted list, or all of them."""
        start, step = {"all": (0, 1), "even": (0, 2), "odd": (1, 2)}[which]
        return replace(self, pictures=self.pictures[start::step])


def pictures_in(folder: Path) -> list[Path]:
    """Return the files directly in ``folder`` that are taken for pictures, sorted. Raises :class:`InputError`."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"{folder}: this folder cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """Return a label file's text. Raises :class:`InputError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8 (byte {error.start}): is it a label file?") from error
