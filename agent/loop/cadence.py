"""How often a camera may be granted a slot: its frame rate's upper bound. Pure: time comes in.

A bucket with room for one grant, so that no burst follows a pause. It is filled by the clock and not by the last
frame, so that a source whose own rate is no multiple of the bound still comes to the bound on average.
"""

from __future__ import annotations

from agent.clock import NS_PER_S


class Cadence:
    """One camera's grants; ``fps`` None: as many as there are slots."""

    def __init__(self, fps: float | None = None) -> None:
        self._interval_ns = _interval_ns(fps)
        self._due_ns = 0
        self._ready = True

    @property
    def ready(self) -> bool:
        """Whether a slot may be granted now."""
        return self._ready or self._interval_ns is None

    @property
    def interval_ns(self) -> int:
        """Time between two grants at least; 0 where none is bound."""
        return self._interval_ns or 0

    @property
    def due_ns(self) -> int | None:
        """When :meth:`refill` will help; None where a slot may be granted already."""
        return None if self.ready else self._due_ns

    def take(self) -> None:
        """Count a grant."""
        self._ready = False

    def give_back(self) -> None:
        """Undo a grant that came to nothing."""
        self._ready = True

    def refill(self, now_ns: int) -> None:
        """Let time pass."""
        if self._interval_ns is None or self._ready or now_ns < self._due_ns:
            return
        self._ready = True
        in_step = now_ns - self._due_ns < self._interval_ns
        self._due_ns = (self._due_ns if in_step else now_ns) + self._interval_ns

    def limit(self, fps: float | None, now_ns: int) -> None:
        """Change the bound; a lower one holds from now on, a higher one at once."""
        self._interval_ns = _interval_ns(fps)
        if self._interval_ns is not None:
            self._due_ns = min(max(self._due_ns, now_ns), now_ns + self._interval_ns)


def _interval_ns(fps: float | None) -> int | None:
    return None if fps is None else max(1, round(NS_PER_S / fps))
