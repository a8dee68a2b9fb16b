"""A deployment that waits for its time.

``not_before`` is a moment of the wall clock, which may jump: it is looked at again at least every
:data:`LOOK_AGAIN_S`. Control thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.clock import NS_PER_MS, NS_PER_S
from agent.deploy.timers import Timers

LOOK_AGAIN_S = 60.0


class Later:
    """The wait of one pipeline. ``now_ns`` is monotonic, ``now_ms`` UTC."""

    def __init__(self, timers: Timers, now_ns: Callable[[], int], now_ms: Callable[[], int]) -> None:
        self._timers = timers
        self._now_ns = now_ns
        self._now_ms = now_ms

    def is_ahead(self, at_ms: int | None) -> bool:
        """Return whether there is something to wait for."""
        return at_ms is not None and at_ms > self._now_ms()

    def wait(self, at_ms: int, due: Callable[[], None]) -> None:
        """Call ``due`` once ``at_ms`` has come; it may be now."""
        ahead_ns = (at_ms - self._now_ms()) * NS_PER_MS
        if ahead_ns <= 0:
            due()
            return
        pause_ns = min(ahead_ns, round(LOOK_AGAIN_S * NS_PER_S))
        self._timers.set("later", self._now_ns() + pause_ns, lambda: self.wait(at_ms, due))

    def cancel(self) -> None:
        """Wait no more."""
        self._timers.cancel("later")
