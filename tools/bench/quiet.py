"""How much of the machine others used while something was measured: a figure taken on a busy machine means little."""

from __future__ import annotations

import resource
import time
from types import TracebackType

import psutil


class Others:
    """A context manager: ``cores`` is what processes other than this one and its (reaped) children used meanwhile."""

    def __init__(self) -> None:
        self.cores = 0.0
        self._busy_s = self._own_s = self._started_s = 0.0

    def __enter__(self) -> Others:
        self._busy_s, self._own_s, self._started_s = _busy_s(), _own_s(), time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        used_s = (_busy_s() - self._busy_s) - (_own_s() - self._own_s)
        self.cores = max(0.0, used_s / (time.monotonic() - self._started_s))


def _busy_s() -> float:
    """Return the seconds that all cores have worked, or were withheld by the hypervisor."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _own_s() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
