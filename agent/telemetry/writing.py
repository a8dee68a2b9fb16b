"""What is written to the medium, and whether that is more than it bears.

The budget is for what the agent's own processes write: what others write wears the same medium, and is told, but it is
not for the agent to complain about. The thread ``lookout-telemetry`` looks at each telemetry; any thread may ask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.clock import monotonic_ns
from agent.telemetry.medium import Medium
from agent.telemetry.processes import Processes
from agent.telemetry.wear import Wear


class Writing:
    """See the module. ``budget_mb``: for 24 hours, None: none. ``changed`` is called where a problem comes or goes."""

    def __init__(
        self,
        processes: Processes,
        medium: Medium,
        *,
        budget_mb: float | None = None,
        changed: Callable[[], None] = lambda: None,
        clock_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._processes = processes
        self.medium = medium
        self._budget_mb = budget_mb
        self._changed = changed
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._own, self._all = Wear(), Wear()
        self._problem: str | None = None
        self.own_mb()
        self.all_mb()

    def allow(self, budget_mb: float | None) -> None:
        """Go by another budget, at once; any thread."""
        self._budget_mb = budget_mb
        self.own_mb()

    def problem(self) -> str | None:
        """Say that more is written than may be, or that the medium says itself that it is worn; None while neither."""
        return self._problem

    def own_mb(self) -> float | None:
        """Return what the agent's processes wrote since it was started, and judge it."""
        written = self._processes.written_mb()
        if written is not None:
            self._take(written)
        return written

    def own_mb_per_day(self) -> float | None:
        """Return what they would write in a day, by the last hour."""
        return self._rate(self._own, self._processes.written_mb())

    def all_mb(self) -> float | None:
        """Return what was written to the medium since the host was started."""
        written = self.medium.written_mb()
        if written is not None:
            with self._lock:
                self._all.add(self._clock_ns(), written)
        return written

    def all_mb_per_day(self) -> float | None:
        """Return what would be written to it in a day, by the last hour."""
        return self._rate(self._all, self.medium.written_mb())

    def _rate(self, wear: Wear, written: float | None) -> float | None:
        with self._lock:
            return None if written is None else wear.mb_per_day(self._clock_ns(), written)

    def _take(self, written: float) -> None:
        now_ns, budget_mb = self._clock_ns(), self._budget_mb
        worn = self.medium.worn()
        with self._lock:
            self._own.add(now_ns, written)
            today = self._own.last_day_mb(now_ns, written)
            over = budget_mb is not None and today > budget_mb
            problem = _worn(self.medium.name) if worn else _spent(today, budget_mb) if over else None
            changed, self._problem = (self._problem is None) != (problem is None), problem
        if changed:
            self._changed()


def _worn(disk: str | None) -> str:
    return f"wear: {disk} says that it nears its end (pre_eol_info); replace it before it refuses to be written"


def _spent(today_mb: float, budget_mb: float | None) -> str:
    return (
        f"wear: Lookout wrote {today_mb:.0f} MB in the last 24 hours, more than report.wear_budget_mb_per_day "
        f"({budget_mb:g}) allows: write less (docs/telemetry.md says what writes), or allow more"
    )
