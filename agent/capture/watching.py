"""One camera's health between two threads: its grabber shows frames, the reader loop asks once a second.

Nothing is said by the grabber itself, so that a camera that hangs is judged as well (``stale``), and messages about
health never outnumber the seconds.
"""

from __future__ import annotations

import threading

from agent.capture.health import Verdict, Watch
from agent.capture.source import Picture
from agent.clock import NS_PER_S

AGAIN_S = 5.0
"""A rate that changed is told again no sooner than this."""
RATE_CHANGED = 0.2


class Watching:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watch = Watch()
        self._told = Verdict((), None)
        self._told_ns = 0

    def came(self, at_ns: int) -> None:
        """Take note that a frame came in."""
        with self._lock:
            self._watch.came(at_ns)

    def look(self, picture: Picture, at_ns: int) -> None:
        """Look at a frame that was written."""
        with self._lock:
            self._watch.look(picture, at_ns)

    def reopened(self) -> None:
        """Let the time without a connection be no sign of anything."""
        with self._lock:
            self._watch.reopened()
            self._told = Verdict((), None)

    def conditions(self) -> Verdict:
        """Return what was told last."""
        with self._lock:
            return self._told

    def news(self, now_ns: int) -> Verdict | None:
        """Return what is to be told: conditions that changed, or a rate that did; None: nothing."""
        with self._lock:
            found = self._watch.verdict(now_ns)
            if found.conditions == self._told.conditions and not self._rate_is_news(found.changed_fps, now_ns):
                return None
            self._told, self._told_ns = found, now_ns
            return found

    def _rate_is_news(self, fps: float | None, now_ns: int) -> bool:
        before = self._told.changed_fps
        if fps is None:
            return False
        if before is None:
            return True
        return now_ns - self._told_ns >= AGAIN_S * NS_PER_S and abs(fps - before) > RATE_CHANGED * max(fps, before, 1.0)
