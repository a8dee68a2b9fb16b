"""The rate of a counter, for several readers who ask whenever they like. Pure.

Two points of the past are kept; what a reader gets is the mean since the older one, which is :data:`WINDOW_S` old at
least once that much time has passed: that somebody else has just asked spoils nobody's figure.
"""

from __future__ import annotations

from agent.clock import NS_PER_S

WINDOW_S = 5.0


class Meter:
    """One counter's rate. A counter that goes back begins anew."""

    def __init__(self) -> None:
        self._base: tuple[int, float] | None = None
        self._newer: tuple[int, float] | None = None

    def per_second(self, now_ns: int, value: float) -> float | None:
        """Take the counter's value of this moment; return its rate, None where there is no past to compare with."""
        base, newer = self._base, self._newer
        if base is None or newer is None or value < newer[1] or now_ns < newer[0]:
            self._base = self._newer = (now_ns, value)
            return None
        if now_ns - newer[0] >= WINDOW_S * NS_PER_S:
            base = self._base = newer
            self._newer = (now_ns, value)
        elapsed_ns = now_ns - base[0]
        return (value - base[1]) * NS_PER_S / elapsed_ns if elapsed_ns > 0 else None
