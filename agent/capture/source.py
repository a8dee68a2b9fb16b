"""What a grabber needs of a source of frames: the seam behind which OpenCV, a folder of images or a test's fake sits.

One grabber's thread calls it, in the order ``open``, then ``grab`` and ``retrieve`` in turns, then ``close``; after
``close`` it may be opened again. Only ``open`` and ``grab`` may wait for the outside world, so that a thread that hangs
never holds a slot of the ring; ``retrieve`` only converts what ``grab`` brought.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.errors import CameraError

Picture = NDArray[np.uint8]
"""One frame: (height, width, 3) ``uint8``, BGR."""


class CameraStalled(CameraError):
    """A camera that was open delivers nothing in time."""

    code = "camera_stalled"


class Source(Protocol):
    """A source of frames."""

    @property
    def live(self) -> bool:
        """Whether frames come whether or not anybody takes them, so that one nobody can take is dropped."""

    @property
    def fps(self) -> float:
        """The rate that the open source declares; 0.0 where it says nothing usable."""

    @property
    def patience_s(self) -> float:
        """Longer than any call takes that does not hang."""

    def open(self, start_index: int) -> None:
        """Open at or before frame ``start_index``. Raises :class:`CameraError` that names the source."""

    def grab(self) -> int | None:
        """Bring the next frame in; return its index, None at the end.

        Raises :class:`CameraError`, :class:`CameraStalled`.
        """

    def retrieve(self, into: Picture | None) -> Picture:
        """Return the grabbed frame: ``into`` itself where its size fits, another array else. Raises CameraError."""

    def close(self) -> None:
        """Let go of everything; never raises. Idempotent."""
