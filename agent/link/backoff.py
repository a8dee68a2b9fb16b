"""How long to wait before the next attempt to connect. Pure: randomness and durations come in as arguments.

Full jitter: the delay is drawn evenly between 0 and a bound that doubles with each failure up to a cap, so that a fleet
whose broker came back does not come back as one. The first bound, ``mqtt.reconnect_s``, is the spread that matters: of
1,000 devices that lost a broker which is back at once, some 125 come a second with the default of 8 s, half of them
within 4 s, the last after 8 s: before their wills are sent. However long the broker was away, the fullest second holds
220 at most (a test simulates it); a fleet of 10,000 wants 60.

A refusal that no retry mends (wrong password, TLS) waits between half the cap and the cap; another device under our
name, between the cap and twice the cap. A connection that lasted for ``stable_s`` starts the doubling anew.
"""

from __future__ import annotations

from typing import Literal

Patience = Literal["soon", "long", "longest"]

CAP_S = 60.0


class Backoff:
    """The delays of one session; used by one thread."""

    def __init__(self, *, base_s: float = 8.0, cap_s: float = CAP_S, stable_s: float = 60.0) -> None:
        """Take the first bound; the cap is never below it."""
        self._base_s = base_s
        self._cap_s = max(base_s, cap_s)
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

    @property
    def longest_s(self) -> float:
        """The longest delay there is."""
        return 2 * self._cap_s

    def lasted(self, seconds: float) -> bool:
        """Take note that a connection stood for so long before it ended; tell whether that was long."""
        stable = seconds >= self._stable_s
        if stable:
            self.failures = 0
        return stable
