"""Looks after the memory of the model that serves once it is committed: one that leaks must not take the device down.

Probation judges a candidate's memory itself, with every sample; afterwards this looks now and then. A worker that grew
above its bound is killed with the reason in words, and that counts as a death like any other: it is brought back, and
the third in ten minutes gives the release up for previous. Only growth counts: a bound that was set too low for the
committed model would else kill it for ever, and blind the device. Should a worker grow faster than this looks, the
kernel kills it before the agent (``oom_score_adj``), which ends in the same. Control thread only.
"""

from __future__ import annotations

from agent.clock import NS_PER_S
from agent.deploy.course import Course
from agent.deploy.keeper import Keeper
from agent.deploy.loading import Loaded
from agent.deploy.machine import State
from agent.deploy.memorywatch import serving_bound
from agent.deploy.parts import Parts
from agent.deploy.ports import WorkerPort
from agent.deploy.timers import Timers
from agent.deploy.watching import memory_mb
from agent.types import MB

LOOK_S = 2.0

GROWTH = 1.5
"""A worker that holds less than this times what it held at the first look has not leaked."""


class Guard:
    """The guard of one pipeline."""

    def __init__(self, parts: Parts, timers: Timers, course: Course, keeper: Keeper) -> None:
        self._parts = parts
        self._timers = timers
        self._course = course
        self._keeper = keeper
        self._worker: WorkerPort | None = None
        self._first_mb = 0.0

    def start(self) -> None:
        """Look after every :data:`LOOK_S`, from now on."""
        self._timers.set("guard", self._parts.now_ns() + round(LOOK_S * NS_PER_S), self._due)

    def _due(self) -> None:
        self.start()
        loaded = self._keeper.now
        if loaded is not None and self._course.state is not State.PROBATION:
            self._look(loaded)

    def _look(self, loaded: Loaded) -> None:
        settings = self._parts.settings
        bound_bytes, why = serving_bound(settings, loaded.stored.manifest.budget_for(settings.device_class))
        known = loaded.worker is self._worker
        if known and loaded.worker.resident_bytes() <= bound_bytes:
            return  # then its PSS is below it too, for which the kernel would have to look at every page
        now_mb = memory_mb(loaded)
        if now_mb is None:
            return
        if not known:
            self._worker, self._first_mb = loaded.worker, now_mb
        if now_mb > max(bound_bytes / MB, GROWTH * self._first_mb):
            loaded.worker.kill(
                f"memory grew from {self._first_mb:.0f} to {now_mb:.0f} MB while it served, "
                f"at most {bound_bytes / MB:.0f} MB are allowed ({why})"
            )
