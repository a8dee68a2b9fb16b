"""How the agent is told to stop (SIGTERM, SIGINT), to reload (SIGHUP), or to start again.

Signals count whichever thread the kernel gives them to.

An event set by a Python signal handler is not enough: the handler runs on the main thread, and a main thread that waits
on a lock is not woken when the kernel has delivered the signal to another one. The wake-up descriptor is written to by
the C handler, on any thread.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RESTART = 0
"""Written where a signal's number would be: there is no signal 0."""
RELOAD_SIGNAL = signal.SIGHUP
"""Look at the configuration file again: ``systemctl reload``."""

CAUGHT = (*STOP_SIGNALS, RELOAD_SIGNAL)


class StopSignals:
    """Catches the signals from its construction on. Main thread only, but for :meth:`restart`; lives as the process."""

    def __init__(self) -> None:
        self._told, told_by = socket.socketpair()
        told_by.setblocking(False)
        self._told_by = told_by  # kept: the descriptor must stay open
        self.reason = ""
        """Why :meth:`restart` was called."""
        signal.set_wakeup_fd(told_by.fileno(), warn_on_full_buffer=False)
        for number in CAUGHT:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)  # one that came while the agent started again

    def restart(self, reason: str) -> None:
        """Have the agent end in order and start again. Any thread; returns at once."""
        self.reason = reason
        self._told_by.send(bytes((RESTART,)))

    def wait(self, reload: Callable[[], None] | None = None) -> signal.Signals | None:
        """Return the first of the signals, also one that came before; None: start again. Others are passed over.

        For each :data:`RELOAD_SIGNAL`, ``reload`` is called here, on this thread. Without it that signal means what it
        does to a program in a terminal that was closed: stop.
        """
        while True:
            number = self._told.recv(1)[0]
            if number == RESTART:
                return None
            if number == RELOAD_SIGNAL and reload is not None:
                reload()
            elif number in CAUGHT:
                return signal.Signals(number)

    def may_start_again(self) -> bool:
        """Hold the signals back from now on, for the process that follows; return whether none came meanwhile."""
        signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)
        self._told.setblocking(False)
        try:
            return not set(self._told.recv(4096)) & set(STOP_SIGNALS)
        except BlockingIOError:
            return True
