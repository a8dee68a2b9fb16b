"""How the agent is told to stop (SIGTERM, SIGINT) or to reload (SIGHUP), whichever thread the kernel gives them to.

An event set by a Python signal handler is not enough: the handler runs on the main thread, and a main thread that waits
on a lock is not woken when the kernel has delivered the signal to another one. The wake-up descriptor is written to by
the C handler, on any thread.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RELOAD_SIGNAL = signal.SIGHUP
"""Look at the configuration file again: ``systemctl reload``."""


class StopSignals:
    """Catches the signals from its construction on. Main thread only; lives as long as the process."""

    def __init__(self) -> None:
        self._told, told_by = socket.socketpair()
        told_by.setblocking(False)
        self._told_by = told_by  # kept: the descriptor must stay open
        signal.set_wakeup_fd(told_by.fileno(), warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, RELOAD_SIGNAL):
            signal.signal(number, lambda *_: None)

    def wait(self, reload: Callable[[], None] | None = None) -> signal.Signals:
        """Return the first of the signals, also one that came before; other signals are passed over.

        For each :data:`RELOAD_SIGNAL`, ``reload`` is called here, on this thread. Without it that signal means what it
        does to a program in a terminal that was closed: stop.
        """
        while True:
            number = signal.Signals(self._told.recv(1)[0])
            if number == RELOAD_SIGNAL and reload is not None:
                reload()
            elif number in (*STOP_SIGNALS, RELOAD_SIGNAL):
                return number
