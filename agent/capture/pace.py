"""When the next frame of a file is due, so that it plays like a camera. Pure: ``now`` comes in as an argument.

Deadlines are absolute (the k-th is k intervals after the first), so delays never add up. Somebody who comes more than
:data:`LATE_NS` too late starts over from now: a camera does not replay what nobody saw.
"""

from __future__ import annotations

from agent.clock import NS_PER_S

LATE_NS = NS_PER_S
DEFAULT_FPS = 25.0
HIGHEST_FPS = 1000.0


def sane_fps(asked: float | None, declared: float) -> float:
    """Return the rate to play at: what was asked for, else what the file declares where that can be true, else 25."""
    if asked is not None:
        return asked
    return declared if 0.0 < declared <= HIGHEST_FPS else DEFAULT_FPS


class Pace:
    """The deadlines of one stream at ``fps``."""

    def __init__(self, fps: float) -> None:
        self._interval_ns = NS_PER_S / fps
        self._anchor_ns: int | None = None
        self._count = 0

    def due_ns(self, now_ns: int) -> int:
        """Return when the next frame is due (the first: now), and count it."""
        if self._anchor_ns is None:
            self._anchor_ns, self._count = now_ns, 0
        due = self._anchor_ns + round(self._count * self._interval_ns)
        if now_ns - due > LATE_NS:
            self._anchor_ns, self._count, due = now_ns, 0, now_ns
        self._count += 1
        return due

    def restart(self, now_ns: int) -> None:
        """Let the frame at hand be the first one, now: it had to wait for something else than time."""
        self._anchor_ns, self._count = now_ns, 1
