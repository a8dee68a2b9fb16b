"""When systemd is told that the agent is ready, and how things stand in its status line.

Ready is said once the first frame was answered: from then on the device sees. Where none is within a stated time (no
camera, no model) the agent is ready all the same, since a restart mends neither, and the status line says why it sees
nothing. Later the line changes with what is degraded. One thread, ``lookout-readiness``, asks for that and sends; the
pipelines only set a flag.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ProgrammingError
from agent.supervise.notify import Notifier

log = structlog.get_logger(part="supervise")

PATIENCE_S = 20.0
"""How long the first answer is waited for; below the unit's TimeoutStartSec=."""

EVERY_S = 15.0
"""How often it is asked what is degraded."""

ASKING_S = 10.0
"""How long asking may take: a second a pipeline."""


class Waits(Protocol):
    """The part of a heartbeat that this loop calls."""

    def waiting(self, bound_s: float) -> None:
        """Say that the loop waits for at most so long."""


class Readiness:
    """Tells ready once, and how things stand whenever that changed. ``start`` and ``stop`` once each.

    ``summary`` is what the agent has to do, in a few words, ``problems`` all that does not work; both are asked on the
    thread. The line is sent anew where somebody else (the watchdog) has sent another.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        summary: Callable[[], str],
        problems: Callable[[], Sequence[str]],
        pulse: Waits,
        patience_s: float = PATIENCE_S,
        every_s: float = EVERY_S,
    ) -> None:
        self._notifier = notifier
        self._summary = summary
        self._problems = problems
        self._pulse = pulse
        self._patience_s = patience_s
        self._every_s = every_s
        self._changed = threading.Condition()
        self._seen = self._news = self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lookout-readiness", daemon=True)

    def seen(self, _: object) -> None:
        """Take note that a frame was answered: a sink, on any pipeline's thread, and free after the first."""
        if not self._seen:
            with self._changed:
                self._seen = True
                self._changed.notify_all()

    def changed(self, _: object = None) -> None:
        """Take note that the line may have to change, which would be seen later anyway; any thread."""
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def start(self) -> None:
        """Begin to wait for the first answer."""
        if self._thread.ident is not None:
            raise ProgrammingError("readiness can be started once only")
        self._thread.start()

    def stop(self) -> None:
        """End the thread; fine where it never started."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    # --- on the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._notifier.status(f"{self._summary()}; waiting for the first answered frame")
        began_ns = monotonic_ns()
        if self._wait(self._patience_s, until_seen=True, until_news=False):
            return
        seeing = self._seen  # read once a round: an answer that comes meanwhile ends the next wait
        line = self._line(seeing=seeing)
        self._notifier.ready(line)
        log.info("agent.ready", seeing=seeing, after_s=(monotonic_ns() - began_ns) / NS_PER_S, status=line)
        while not self._wait(self._every_s, until_seen=not seeing, until_news=True):
            seeing = self._seen
            line = self._line(seeing=seeing)
            if line != self._notifier.said:
                self._notifier.status(line)

    def _wait(self, bound_s: float, *, until_seen: bool, until_news: bool) -> bool:
        """Wait for the end, or for the first answer or for news as well; return whether this is the end."""
        self._pulse.waiting(bound_s + ASKING_S)
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or (until_seen and self._seen) or (until_news and self._news), bound_s
            )
            self._news = False
            return self._stopping

    def _line(self, *, seeing: bool) -> str:
        problems = list(self._problems())
        if not seeing:
            problems.append("no frame was answered yet")
        summary = self._summary()
        return f"{summary}; degraded: {'; '.join(problems)}" if problems else summary
