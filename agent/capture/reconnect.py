"""When to try again: exponential back-off with full jitter. Pure: time lived and chance come in as arguments.

Full jitter (anywhere between nothing and the bound) keeps cameras and devices that failed together from returning
together. What worked for :attr:`Backoff.settled_s` is forgiven; what opens and fails at once is not, so that it cannot
spin.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """The bounds of the delay, seconds: ``first_s``, doubled each time, up to ``longest_s``.

    The first ``at_once`` failures in a row are tried again without delay.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    settled_s: float = 10.0
    at_once: int = 0

    def bound_s(self, failures: int) -> float:
        """Return the longest delay after ``failures`` failures in a row."""
        counted = failures - self.at_once
        if counted <= 0:
            return 0.0
        return float(min(self.longest_s, self.first_s * 2 ** min(counted - 1, 32)))


class Reconnect:
    """The count of failures in a row of one thing that is to stay up; one thread uses it."""

    def __init__(self, backoff: Backoff) -> None:
        self.failures = 0
        self._backoff = backoff

    def failed(self, lived_s: float, chance: float) -> float:
        """Count a failure after ``lived_s`` of working; return the delay in seconds, ``chance`` (0..1) of the bound."""
        self.failures = 1 if lived_s >= self._backoff.settled_s else self.failures + 1
        return chance * self._backoff.bound_s(self.failures)
