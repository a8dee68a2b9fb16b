"""Which camera's frame is next: round robin over the cameras that have one ready. Pure.

A camera that was just served comes last among those that wait, so a camera with many frames takes no turn from one with
few, and one without a ready frame costs nothing. Weights and the motion gate will join here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from agent.types import CameraName


class Scheduler:
    """The turns of one pipeline's cameras."""

    def __init__(self, cameras: Iterable[CameraName]) -> None:
        self._turns = deque(cameras)

    def next(self, has_frame: Callable[[CameraName], bool]) -> CameraName | None:
        """Return the camera whose turn it is among those for which ``has_frame``, and put it last; None: none has."""
        for place, camera in enumerate(self._turns):
            if has_frame(camera):
                del self._turns[place]
                self._turns.append(camera)
                return camera
        return None
