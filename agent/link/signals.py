"""A flag that a thread can wait for beside its sockets: readable from :meth:`Flag.raise_` until :meth:`Flag.lower`."""

from __future__ import annotations

import contextlib
import select
import socket


class Flag:
    """Any thread raises it; one thread waits for it, at :attr:`reading`, and lowers it."""

    def __init__(self) -> None:
        self.reading, self._writing = socket.socketpair()
        self.reading.setblocking(False)
        self._writing.setblocking(False)

    def raise_(self) -> None:
        """Make :attr:`reading` readable; never blocks."""
        with contextlib.suppress(OSError):  # full: it is readable already; closed: nobody waits any more
            self._writing.send(b"\0")

    def lower(self) -> None:
        """Make it unreadable; what was raised for is to be looked at after this."""
        with contextlib.suppress(BlockingIOError):
            while self.reading.recv(4096):
                pass

    def wait(self, timeout_s: float) -> None:
        """Wait until it is raised, ``timeout_s`` at most."""
        select.select([self.reading], [], [], timeout_s)

    def close(self) -> None:
        """Free both ends."""
        self.reading.close()
        self._writing.close()
