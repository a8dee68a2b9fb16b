"""Asks the registry, now and then, what the followed references mean and whether what is held was yanked.

One question for all pipelines, at a random instant of each period of ``registry.poll_s``: a fleet that was switched on
together spreads its questions over the whole period. Control thread only; the question itself runs on the job lane,
briefly, and an operator's order interrupts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from agent.clock import NS_PER_S
from agent.deploy.following import followed, named
from agent.deploy.lanes import Cancel
from agent.deploy.parts import Parts
from agent.deploy.row import Row
from agent.deploy.timers import Timers
from agent.errors import LookoutError
from agent.process.messages import Surveyed
from agent.types import PipelineName

SURVEY_S = 60.0
BUSY_S = 30.0
"""How long a question is put off while a deployment is under way."""

log = structlog.get_logger(part="deploy")


class Follower(Protocol):
    """A driver, as far as polling needs it."""

    @property
    def row(self) -> Row:
        """What is durable of it."""
        ...

    def surveyed(self, found: Surveyed) -> None:
        """Act upon what the registry answered."""
        ...


class Polling:
    """The timer and the question under way. ``poll_s`` 0: never."""

    def __init__(self, parts: Parts, drivers: Mapping[PipelineName, Follower], timers: Timers, poll_s: float) -> None:
        self._timers = timers
        self._parts = parts
        self._drivers = drivers
        self._poll_s = poll_s
        self._period_ns = 0
        self._cancel: Cancel | None = None

    def start(self) -> None:
        """Begin the first period."""
        if self._poll_s > 0:
            self._period_ns = self._parts.now_ns()
            self._set(self._period_ns + self._within())

    def reconfigure(self, poll_s: float) -> None:
        """Ask so often from now on; the next time is chosen anew."""
        if poll_s == self._poll_s:
            return
        self._poll_s = poll_s
        self._timers.cancel("poll")
        if self._cancel is None:  # else it goes on when the answer has come
            self.start()

    def interrupt(self) -> None:
        """Give the question under way up: the lane is needed."""
        if self._cancel is not None:
            self._cancel.cancel("a deployment is wanted")

    def _within(self) -> int:
        return round(self._parts.random() * self._poll_s * NS_PER_S)

    def _set(self, at_ns: int) -> None:
        self._timers.set("poll", at_ns, self._poll)

    def _put_off(self) -> None:
        self._set(self._parts.now_ns() + round(min(BUSY_S, self._poll_s) * NS_PER_S))

    def _next(self) -> None:
        """Choose an instant of the next period; periods that passed meanwhile are left out."""
        if self._poll_s <= 0:
            return
        period_ns = round(self._poll_s * NS_PER_S)
        self._period_ns += period_ns * (1 + max(0, self._parts.now_ns() - self._period_ns) // period_ns)
        self._set(self._period_ns + self._within())

    def _poll(self) -> None:
        rows = [driver.row for driver in self._drivers.values()]
        references = {str(reference) for row in rows if (reference := followed(row)) is not None}
        releases = {named(slot) for row in rows for slot in (row.current, row.previous) if slot is not None}
        if not references and not releases:
            self._next()
        elif self._parts.turn.holder is not None or self._cancel is not None:
            self._put_off()
        elif (doubt := self._parts.clock_doubt()) is not None:
            log.info("registry.not_asked", reason=doubt)
            self._next()
        else:
            self._ask(sorted(references), sorted(releases))

    def _ask(self, references: Iterable[str], releases: Iterable[str]) -> None:
        cancel = self._cancel = Cancel()
        fetch = self._parts.fetch

        def job() -> Surveyed:
            cancel.check()
            return fetch.survey(references, releases, timeout_s=SURVEY_S, cancel=cancel.event)

        self._parts.jobs.submit(job, lambda result: self._parts.post(lambda: self._answered(cancel, result)))

    def _answered(self, cancel: Cancel, result: Surveyed | LookoutError) -> None:
        self._cancel = None
        if cancel.event.is_set():
            self._put_off()
            return
        self._next()
        if isinstance(result, LookoutError):
            log.warning("registry.not_asked", reason=result.message)
            return
        for driver in self._drivers.values():
            driver.surveyed(result)
