"""Judges whether a transfer is fast enough to be worth waiting for, and says when to wait.

Pure: ``now_ns`` is monotonic and comes in as an argument. The rate is judged over windows of ``window_s``, so that a
server that sends one byte a second is found out although its socket is never silent for long.
"""

from __future__ import annotations

from agent.clock import NS_PER_S


class Pace:
    """The bytes of one transfer against a minimum rate (0: none)."""

    def __init__(self, min_rate_bytes_s: float, window_s: float, now_ns: int) -> None:
        self._needed = min_rate_bytes_s * window_s
        self._window_ns = int(window_s * NS_PER_S)
        self._began_ns = now_ns
        self._bytes = 0

    def took(self, count: int, now_ns: int) -> bool:
        """Count bytes that came; returns False once a whole window brought fewer than the rate asks for."""
        self._bytes += count
        if now_ns - self._began_ns < self._window_ns:
            return True
        # A read that came late ends a longer window: the rate counts, not the window's grid.
        enough = self._bytes * self._window_ns >= self._needed * (now_ns - self._began_ns)
        self._began_ns, self._bytes = now_ns, 0
        return enough


class Throttle:
    """Says how long to pause so that a transfer stays below a rate (0: none).

    Time that was not used is not saved up beyond ``burst_s``: a pause of the server is not made up for by a flood.
    """

    def __init__(self, limit_bytes_s: float, now_ns: int, *, burst_s: float = 0.25) -> None:
        self._limit = limit_bytes_s
        self._burst_ns = int(burst_s * NS_PER_S)
        self._due_ns = now_ns

    def pause_s(self, count: int, now_ns: int) -> float:
        """Count bytes that came; returns the seconds to wait before taking more."""
        if not self._limit:
            return 0.0
        self._due_ns = max(self._due_ns, now_ns - self._burst_ns) + int(count / self._limit * NS_PER_S)
        return max(0.0, (self._due_ns - now_ns) / NS_PER_S)


def full_jitter_s(attempt: int, first_s: float, longest_s: float, random: float) -> float:
    """Return how long to wait before ``attempt`` (from 1) is made again; ``random`` is 0..1."""
    return random * min(longest_s, first_s * 2.0 ** min(attempt - 1, 30))


class Deadline:
    """An instant by which everything must be done."""

    def __init__(self, total_s: float, now_ns: int) -> None:
        self.total_s = total_s
        self._at_ns = now_ns + int(total_s * NS_PER_S)

    def left_s(self, now_ns: int) -> float:
        """Return the seconds left, 0 where it has passed."""
        return max(0.0, (self._at_ns - now_ns) / NS_PER_S)
