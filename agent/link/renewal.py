"""When renewed files are taken up: they changed, stood still for one look, and a random moment came. Pure.

A file is often written in two steps, and certificate and key one after the other: what changed between two looks is not
judged yet. The random moment keeps a fleet whose certificates are renewed by one job from leaving at once. All of it
takes twice :data:`LOOK_S` and :data:`SPREAD_S` at most. Times come in, in seconds of the monotonic clock.
"""

from __future__ import annotations

Stamp = tuple[tuple[int, ...] | None, ...]
"""What tells one state of the files from another: device, inode, time and size of each; None: it is not there."""

LOOK_S = 10.0
SPREAD_S = 20.0

RETRY_S = 300.0
"""After which files that could not be used are judged again, though they did not change."""


class Renewal:
    """Watches the files of one living connection; used by one thread."""

    def __init__(self, stamp: Stamp, now_s: float) -> None:
        """``stamp`` is that of the files which the connection used."""
        self._judged = self._seen = stamp
        self._look_at = now_s + LOOK_S
        self._again_at: float | None = None
        self._leave_at: float | None = None

    def due(self, now_s: float) -> bool:
        """Tell whether it is time to look at the files."""
        return now_s >= self._look_at

    def changed(self, stamp: Stamp, now_s: float) -> bool:
        """Take a look; tell whether the files are to be judged now."""
        self._look_at = now_s + LOOK_S
        still, self._seen = stamp == self._seen, stamp
        again = self._again_at is not None and now_s >= self._again_at
        if not still or (stamp == self._judged and not again):
            return False
        self._judged, self._again_at, self._leave_at = stamp, None, None
        return True

    def unusable(self, now_s: float) -> None:
        """Take note that they cannot be used as they are."""
        self._again_at = now_s + RETRY_S

    def usable(self, now_s: float, draw: float) -> None:
        """Take note that they can be used, at a moment that ``draw``, evenly distributed in 0..1, chooses."""
        self._leave_at = now_s + draw * SPREAD_S

    def leave(self, now_s: float) -> bool:
        """Tell whether the moment has come to connect anew."""
        return self._leave_at is not None and now_s >= self._leave_at
