"""How often a committed release's worker died lately, and when to try again.

The third death in ten minutes is too many: the release is given up for the previous one. Where there is none, a model
that crashes is still better than none: it is restarted ever more slowly. Pure: instants come in.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.clock import NS_PER_S

WINDOW_NS = 600 * NS_PER_S
TOO_MANY = 3
SLOWEST_S = 60.0


class Deaths:
    """The deaths of one pipeline's current release; one owner."""

    def __init__(self, at_ns: Iterable[int] = ()) -> None:
        self._at_ns: list[int] = list(at_ns)

    @property
    def at_ns(self) -> tuple[int, ...]:
        """When they were, for whoever keeps them over a restart of the agent."""
        return tuple(self._at_ns)

    def add(self, now_ns: int) -> None:
        """Count a death now; those older than the window are forgotten."""
        self._at_ns = [*(at for at in self._at_ns[-63:] if now_ns - at < WINDOW_NS), now_ns]

    @property
    def count(self) -> int:
        """Deaths within the window that ended with the last one."""
        return len(self._at_ns)

    @property
    def too_many(self) -> bool:
        """Whether the release should be given up."""
        return self.count >= TOO_MANY

    def delay_s(self) -> float:
        """Seconds to wait before the next restart: the first two at once, then 1, 2, 4 … 60."""
        return 0.0 if self.count < TOO_MANY else min(SLOWEST_S, 2.0 ** min(self.count - TOO_MANY, 10))

    def forget(self) -> None:
        """Start anew: another release is current."""
        self._at_ns.clear()
