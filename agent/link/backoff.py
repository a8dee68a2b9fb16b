"""How long to wait before the next attempt to connect. Pure: randomness and durations come in as arguments.

Full jitter: the delay is drawn evenly between 0 and a bound that doubles with each failure up to a cap, so that a fleet
whose broker came back does not come back as one. A refusal that no retry mends (wrong password, TLS) waits between
half the cap and the cap; another device under our name, between the cap and twice the cap. A connection that lasted
for ``stable_s`` starts the doubling anew.
"""

from __future__ import annotations

from typing import Literal

Patience = Literal["soon", "long", "longest"]


class Backoff:
    """The delays of one session; used by one thread."""

    def __init__(self, *, base_s: float = 1.0, cap_s: float = 60.0, stable_s: float = 60.0) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._stable_s = stable_s
        self.failures = 0

    def delay_s(self, patience: Patience, draw: float) -> float:
        """Count a failure and return the seconds to wait; ``draw`` is evenly distributed in 0..1."""
        bound = min(self._cap_s, self._base_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        if patience == "long":
            return self._cap_s * (1 + draw) / 2
        if patience == "longest":
            return self._cap_s * (1 + draw)
        return bound * draw

    def lasted(self, seconds: float) -> bool:
        """Take note that a connection stood for so long before it ended; tell whether that was long."""
        stable = seconds >= self._stable_s
        if stable:
            self.failures = 0
        return stable
