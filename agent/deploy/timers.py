"""Named instants at which something is due: a thread waits for its inbox no longer than until the next one.

Pure but for the callables it holds; one owner.
"""

from __future__ import annotations

from collections.abc import Callable


class Timers:
    """Monotonic nanoseconds and what to call then; setting a name again moves it."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[int, Callable[[], None]]] = {}

    def set(self, name: str, at_ns: int, then: Callable[[], None]) -> None:
        """Call ``then`` once ``at_ns`` has come."""
        self._due[name] = (at_ns, then)

    def cancel(self, name: str) -> None:
        """Forget ``name``, set or not."""
        self._due.pop(name, None)

    def next_ns(self) -> int | None:
        """Return the earliest instant, None where nothing is due."""
        return min((at_ns for at_ns, _ in self._due.values()), default=None)

    def run(self, now_ns: int) -> None:
        """Call, once each, what was due by ``now_ns``."""
        for name in [name for name, (at_ns, _) in self._due.items() if at_ns <= now_ns]:
            entry = self._due.pop(name, None)
            if entry is not None:  # an earlier call may have cancelled it
                entry[1]()
