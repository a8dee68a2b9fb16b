"""The film through OpenCV, as every runner that has no reader of its own takes it: in the loop, or a thread ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

AHEAD = 3
"""Frames that a reader in a thread of its own may have ready."""


class Film:
    """The frames of a file, from its beginning again after its end. ``read`` from one thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._video = self._open()

    def read(self) -> np.ndarray:
        """Return the next frame. Raises FileNotFoundError for a file without any."""
        ok, frame = self._video.read()
        if not ok:
            self._video.release()
            self._video = self._open()
            ok, frame = self._video.read()
        if not ok:
            raise FileNotFoundError(f"{self._path}: has no frame")
        return frame

    def _open(self) -> cv2.VideoCapture:
        if not Path(self._path).is_file():
            raise FileNotFoundError(f"{self._path}: is absent")
        return cv2.VideoCapture(self._path)


def reader(path: str, *, ahead: bool) -> Callable[[], np.ndarray]:
    """Return what gives the next frame; with ``ahead`` a thread, which ends with the process, decodes beside."""
    film = Film(path)
    if not ahead:
        return film.read
    ready: queue.Queue[np.ndarray] = queue.Queue(AHEAD)

    def fill() -> None:
        while True:
            ready.put(film.read())

    threading.Thread(target=fill, name="film", daemon=True).start()
    return ready.get
