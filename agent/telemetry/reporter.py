"""Telemetry: every ``telemetry_s`` seconds, what the host, the pipelines and the link did.

The thread ``lookout-telemetry`` takes a look (:class:`~agent.telemetry.look.Senses`), builds one message and publishes
it; it encodes nothing and waits on an event.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from agent.clock import NS_PER_S, monotonic_ns
from agent.link.messages import Telemetry
from agent.telemetry.look import Senses
from agent.telemetry.message import Windows, build
from agent.types import Outgoing

log = structlog.get_logger(part="telemetry")


class Pulse(Protocol):
    """The part of a heartbeat that this loop calls."""

    def progress(self) -> None:
        """Say that the loop went round."""

    def waiting(self, bound_s: float) -> None:
        """Say that the loop waits, for ``bound_s`` at most."""


class Reporter:
    """Owns the thread ``lookout-telemetry``; see the module. ``chore`` is done on it every ``chore_s``."""

    def __init__(
        self,
        publish: Callable[[Outgoing], None],
        senses: Senses,
        *,
        interval_s: float,
        pulse: Pulse | None = None,
        chore: Callable[[], None] | None = None,
        chore_s: float = 5.0,
    ) -> None:
        self._publish = publish
        self._senses = senses
        self._interval_s = interval_s
        self._pulse = pulse
        self._chore = chore
        self._chore_s = chore_s
        self._windows = Windows()
        self._stopping = False
        self._nudge = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout-telemetry", daemon=True)
        self.last: Telemetry | None = None
        """The newest message, for whoever shows it on the device; None before the first."""

    def start(self) -> None:
        """Begin to report, the first time after one interval."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End; idempotent."""
        self._stopping = True
        self._nudge.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def set_interval(self, interval_s: float) -> None:
        """Report every ``interval_s`` from now on, and once at once; any thread."""
        self._interval_s = interval_s
        self.nudge()

    def nudge(self) -> None:
        """Report now (a connection has just been made); any thread."""
        self._nudge.set()

    def _run(self) -> None:
        reported_ns = monotonic_ns()
        while True:
            due_s = max(0.0, self._interval_s - (monotonic_ns() - reported_ns) / NS_PER_S)
            wait_s = due_s if self._chore is None else min(due_s, self._chore_s)
            if self._pulse is not None:
                self._pulse.waiting(wait_s)
            nudged = self._nudge.wait(wait_s)
            self._nudge.clear()
            if self._stopping:
                return
            if self._chore is not None:
                self._safely(self._chore)
            if nudged or wait_s >= due_s:
                reported_ns = monotonic_ns()
                self._safely(self._report)

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # the thread's last line: one bad provider must not end all telemetry
            log.exception("telemetry.failed")

    def _report(self) -> None:
        message = build(self._senses.look(), self._windows)
        self.last = message
        self._publish(Outgoing("telemetry", message, stream="telemetry", replaces="telemetry"))
        if self._pulse is not None:
            self._pulse.progress()
