"""A clip of one's own: frames spread over it for the workshop, and single ones for the contact sheet.

The clip is decoded in order and never held as a whole: a film in full resolution would not fit in memory. What lies
behind :data:`MOST_FRAMES` is played by the device but not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from agent.errors import InputError

MOST_FRAMES = 3000
SAMPLES = 96
FEWEST_SAMPLES = 16
SAMPLE_BYTES = 300_000_000
_USUAL_FPS = 25.0


@dataclass(frozen=True)
class Clip:
    """A video file; ``frames``: how many are looked at."""

    path: Path
    frames: int
    width: int
    height: int
    fps: float

    def sample(self) -> list[tuple[int, np.ndarray]]:
        """Return frames spread evenly over the clip with their indices, BGR; as many as fit the memory set aside."""
        fitting = SAMPLE_BYTES // (self.width * self.height * 3)
        count = min(self.frames, SAMPLES, max(FEWEST_SAMPLES, fitting))
        wanted = {round(place) for place in np.linspace(0, self.frames - 1, count)}
        return sorted(self.at(sorted(wanted)).items())

    def at(self, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """Return the frames of these indices, in one pass. Indices that the file does not reach are left out."""
        wanted = set(indices)
        last = max(wanted, default=-1)
        found = {}
        for index, capture in enumerate(_grabbed(self.path)):
            if index in wanted:
                good, frame = capture.retrieve()
                if good:
                    found[index] = frame
            if index >= last:
                break
        return found


def open_clip(path: Path) -> Clip:
    """Look through a video file. Raises :class:`InputError` where it holds too few frames."""
    if not path.is_file():
        raise InputError(f"VIDEO {path}: there is no such file")
    count, fps, width, height = 0, 0.0, 0, 0
    for count, capture in enumerate(_grabbed(path), start=1):
        if count == 1:
            width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            fps = capture.get(cv2.CAP_PROP_FPS)
        if count == MOST_FRAMES:
            break
    if count < FEWEST_SAMPLES or not width or not height:
        raise InputError(
            f"VIDEO {path}: OpenCV reads {count} frames from it; a film with at least {FEWEST_SAMPLES} is needed"
        )
    return Clip(path, count, width, height, fps if 1 <= fps <= 240 else _USUAL_FPS)


def _grabbed(path: Path) -> Iterator[cv2.VideoCapture]:
    """Yield the capture after each frame that it grabbed."""
    capture = cv2.VideoCapture(str(path))
    try:
        while capture.grab():
            yield capture
    finally:
        capture.release()
