"""A deployment that waits for its time, and then for its part of the time over which many devices spread.

``not_before`` is a moment of the wall clock, which may jump: it is looked at again at least every
:data:`LOOK_AGAIN_S`. The part of the spread is a length of time and is waited for by the monotonic clock. What is left
of it after a restart is read off the wall clock, but is never more than all of it: whatever the clock shows, a device
waits no longer than its part for each time it starts. Control thread only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from agent.clock import NS_PER_MS
from agent.deploy.timers import Timers

LOOK_AGAIN_S = 60.0


def share_ms(spread_s: float | None, device: str, order: str) -> int | None:
    """Return the part of ``spread_s`` that ``device`` waits: each order draws anew, and the same one always the same.

    Evenly spread from 0 to ``spread_s`` over devices, without any of them knowing of another. None: it does not wait.
    """
    if not spread_s:
        return None
    drawn = int.from_bytes(hashlib.sha256(f"{device}\0{order}".encode("utf-8", "replace")).digest()[:8], "big")
    return round(spread_s * 1000 * drawn / 2**64)


class Later:
    """The wait of one pipeline. ``now_ns`` is monotonic, ``now_ms`` UTC."""

    def __init__(self, timers: Timers, now_ns: Callable[[], int], now_ms: Callable[[], int]) -> None:
        self._timers = timers
        self._now_ns = now_ns
        self._now_ms = now_ms

    def is_ahead(self, at_ms: int | None, spread_ms: int | None) -> bool:
        """Return whether there is something to wait for."""
        return bool(spread_ms) or self._ahead_ms(at_ms) > 0

    def wait(self, at_ms: int | None, spread_ms: int | None, since_ms: int, due: Callable[[], None]) -> None:
        """Call ``due`` once ``at_ms`` has come and the part of the spread is over; it may be now.

        ``since_ms``: when the order came, UTC.
        """
        part_ms = spread_ms or 0
        if self._ahead_ms(at_ms) > 0:
            self._until(at_ms, lambda: self._pause(part_ms, due))
        else:
            begun_ms = max(at_ms or 0, since_ms)
            self._pause(min(part_ms, self._ahead_ms(begun_ms + part_ms)), due)

    def _ahead_ms(self, at_ms: int | None) -> int:
        return 0 if at_ms is None else at_ms - self._now_ms()

    def _until(self, at_ms: int | None, then: Callable[[], None]) -> None:
        ahead_ms = self._ahead_ms(at_ms)
        if ahead_ms <= 0:
            then()
        else:
            self._set(min(ahead_ms, round(LOOK_AGAIN_S * 1000)), lambda: self._until(at_ms, then))

    def _pause(self, left_ms: int, due: Callable[[], None]) -> None:
        if left_ms <= 0:
            due()
        else:
            self._set(left_ms, due)

    def _set(self, pause_ms: int, then: Callable[[], None]) -> None:
        self._timers.set("later", self._now_ns() + pause_ms * NS_PER_MS, then)

    def cancel(self) -> None:
        """Wait no more."""
        self._timers.cancel("later")
