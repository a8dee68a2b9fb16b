"""How fast what waited through an outage may leave: a bucket of credits. Pure: time comes in.

A letter that waited costs a credit. Credits come at ``per_s``, at most one second's worth of them; besides, each new
letter that has to queue behind those that waited brings one, so that the backlog shrinks by ``per_s`` a second whatever
is produced meanwhile. A letter that finds nothing before it costs none.
"""

from __future__ import annotations

from agent.clock import NS_PER_S

FIRST_SHARE = 0.1
"""Of a second's worth: what may go at once at a new connection, and what is waited for when there is none left."""


class Drain:
    """See the module. One thread at a time."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._credits = 0.0
        self._at_ns = 0

    def pace(self, per_s: float) -> None:
        """Let ``per_s`` leave from now on."""
        self._per_s = per_s

    def begin(self, now_ns: int) -> None:
        """Begin anew: a connection was made."""
        self._credits, self._at_ns = self._portion, now_ns

    def earn(self) -> None:
        """Take note of a new letter that queues behind those that waited."""
        self._credits += 1

    def open(self, now_ns: int) -> bool:
        """Return whether one more may leave."""
        gained = self._per_s * max(0, now_ns - self._at_ns) / NS_PER_S
        self._at_ns = max(self._at_ns, now_ns)
        self._credits = max(self._credits, min(self._credits + gained, max(1.0, self._per_s)))
        return self._credits >= 1

    def spend(self) -> None:
        """Take note that one left."""
        self._credits -= 1

    def due_ns(self, now_ns: int) -> int:
        """Return when it is worth while to look again."""
        missing = max(0.0, self._portion - self._credits)
        return now_ns + round(missing / self._per_s * NS_PER_S)

    @property
    def _portion(self) -> float:
        return max(1.0, self._per_s * FIRST_SHARE)
