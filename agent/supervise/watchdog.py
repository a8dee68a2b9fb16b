"""Feeds systemd's watchdog only while every loop progresses or is in a declared, bounded wait.

One thread, ``lookout-watchdog``, owned by whoever starts it. A dead camera, model or broker is never a reason to
withhold the food: their loops go on and say so. A loop that hangs is; systemd then kills and restarts the agent.
Without systemd it only says which loop is late.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog

from agent.errors import ProgrammingError
from agent.supervise.heartbeat import Heartbeats
from agent.supervise.notify import Notifier

log = structlog.get_logger(part="supervise")

UNWATCHED_INTERVAL_S = 5.0
"""How often lateness is looked for where systemd does not ask for food."""


@dataclass(frozen=True)
class WatchdogStatistics:
    """``fed`` and ``withheld`` count looks; ``late`` names the loops that were late at the last one."""

    fed: int
    withheld: int
    late: tuple[str, ...]


class Watchdog:
    """The thread that looks at all heartbeats twice in each period of systemd's watchdog."""

    def __init__(self, heartbeats: Heartbeats, notifier: Notifier) -> None:
        self._heartbeats = heartbeats
        self._notifier = notifier
        self._interval_s = UNWATCHED_INTERVAL_S if notifier.watchdog_s is None else notifier.watchdog_s / 2
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout-watchdog", daemon=True)
        self._statistics = WatchdogStatistics(0, 0, ())

    def start(self) -> None:
        """Begin to look; the first food goes out at once."""
        if self._thread.ident is not None:
            raise ProgrammingError("the watchdog can be started once only")
        self._thread.start()

    def stop(self) -> None:
        """End the thread; fine where it never started."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def statistics(self) -> WatchdogStatistics:
        """Return a snapshot; any thread may ask."""
        return self._statistics

    def look(self) -> tuple[str, ...]:
        """Look once: feed where nobody is late, else say who is. Called by the thread, and by tests."""
        before = self._statistics
        late = self._heartbeats.late()
        if late:
            self._statistics = WatchdogStatistics(before.fed, before.withheld + 1, late)
        else:
            self._notifier.alive()
            self._statistics = WatchdogStatistics(before.fed + 1, before.withheld, ())
        if late != before.late:
            self._tell(late)
        return late

    def _tell(self, late: tuple[str, ...]) -> None:
        if late:
            log.error("watchdog.late", loops=list(late), withheld=self._notifier.watchdog_s is not None)
            self._notifier.status(f"hangs: {', '.join(late)}")
        else:
            log.info("watchdog.recovered")
            self._notifier.status("running")

    def _run(self) -> None:
        self.look()
        while not self._stop.wait(self._interval_s):
            self.look()
