"""Ends a candidate that eats the host's memory while it is on trial, and says how much a worker may hold when.

The agent looks at the worker's PSS ten times a second on a thread of its own, because the job that runs the trial is
blocked in the worker. What happens before a worker is ready nobody can watch from outside: there a limit on its own
allocations holds (``Load.data_limit_bytes``). :meth:`MemoryWatch.stop` ends the thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import structlog

from agent.deploy.ports import WorkerPort
from agent.deploy.records import DeploySettings
from agent.errors import LookoutError
from agent.registry.manifest import Budget
from agent.types import MB

PERIOD_S = 0.1
GROSS = 2.0
"""A trial shares the host and warms up: the budget itself is probation's to judge."""

log = structlog.get_logger(part="deploy")


def memory_bound(settings: DeploySettings, budget: Budget | None) -> tuple[int, str]:
    """Return the most bytes a worker may hold in its trial, and where that comes from."""
    return _tightest(_of_trial(settings, budget))


def serving_bound(settings: DeploySettings, budget: Budget | None) -> tuple[int, str]:
    """Return the most bytes a worker may hold while it serves, committed, and where that comes from.

    Where nobody stated one it keeps the device alive and judges nobody.
    """
    return _tightest(_of_service(settings, budget))


def is_bounded(settings: DeploySettings, budget: Budget | None) -> bool:
    """Return whether anybody stated how much memory a worker may hold, in its trial or in service."""
    return bool(_of_trial(settings, budget) or _of_service(settings, budget))


class MemoryWatch:
    """Watches one worker from now on; ``bound_bytes`` and ``why`` are :func:`memory_bound`'s."""

    def __init__(self, worker: WorkerPort, bound_bytes: int, why: str) -> None:
        self.peak_bytes = 0
        self.reason: str | None = None
        self._worker = worker
        self._bound_bytes = bound_bytes
        self._why = why
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout-trial-memory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End watching; idempotent."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            if self._look():
                return

    def _look(self) -> bool:
        """Take one sample; True when there is nothing more to watch."""
        try:
            now_bytes = self._worker.memory_bytes()
        except (LookoutError, OSError):  # it has just ended: the trial learns that by itself
            return True
        self.peak_bytes = max(self.peak_bytes, now_bytes)
        if now_bytes <= self._bound_bytes:
            return False
        self.reason = (
            f"memory grew to {now_bytes / MB:.0f} MB in its trial, at most "
            f"{self._bound_bytes / MB:.0f} MB are allowed ({self._why}); publish a smaller model"
        )
        log.warning("trial.memory", reason=self.reason)
        self._worker.kill(self.reason)
        return True


Bound = tuple[float, str]
"""Megabytes, and where they come from."""


def _of_trial(settings: DeploySettings, budget: Budget | None) -> list[Bound]:
    found: list[Bound] = []
    if settings.trial_memory_mb is not None:
        found.append((settings.trial_memory_mb, "deploy.trial_memory_mb"))
    if budget is not None and budget.memory_mb is not None:
        found.append((GROSS * budget.memory_mb, f"{GROSS:g} times the manifest's budget of {budget.memory_mb:g} MB"))
    return found


def _of_service(settings: DeploySettings, budget: Budget | None) -> list[Bound]:
    found: list[Bound] = []
    if settings.memory_mb is not None:
        found.append((settings.memory_mb, "deploy.memory_mb"))
    if budget is not None and budget.memory_mb is not None:
        found.append((budget.memory_mb, "the manifest's budget"))
    return found


def _tightest(stated: Sequence[Bound]) -> tuple[int, str]:
    """Return the least of them, in bytes; half of the host's memory where there is none."""
    if not stated:
        return _host_bytes() // 2, "half of this host's memory"
    megabytes, why = min(stated)
    return round(megabytes * MB), why


def _host_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
