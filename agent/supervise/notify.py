"""What systemd is told: ready, status, alive, stopping (sd_notify(3)), over the datagram socket it names.

Without ``$NOTIFY_SOCKET`` everything here does nothing. Telling must never harm what is told of: failures are logged
once and forgotten. Any thread may call.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

log = structlog.get_logger(part="supervise")

SEND_TIMEOUT_S = 1.0
"""systemd may be slow to read; the watchdog's thread must not wait for it for ever."""

MAX_STATUS_CHARS = 512


class Notifier:
    """The way to the service manager; ``address`` is None where there is none."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = _socket_name(address) if address else None
        self.watchdog_s = watchdog_s
        self.said = ""
        """The newest status line."""
        self._failed = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], pid: int | None = None) -> Notifier:
        """Return the notifier that systemd's variables ask for; ``watchdog_s`` is None where no watchdog waits."""
        own = str(os.getpid() if pid is None else pid)
        usec = environ.get("WATCHDOG_USEC", "")
        watched = usec.isdecimal() and int(usec) > 0 and environ.get("WATCHDOG_PID", own) == own
        return cls(environ.get("NOTIFY_SOCKET"), int(usec) / 1_000_000 if watched else None)

    @property
    def heard(self) -> bool:
        """Whether a service manager listens."""
        return self._address is not None

    def ready(self, status: str) -> bool:
        """Tell that the agent does its work from now on."""
        self.said = status
        return self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> bool:
        """Tell in a line how things stand; ``systemctl status`` shows it."""
        self.said = status
        return self._send(f"STATUS={_line(status)}")

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Tell that the agent ends on purpose."""
        return self._send("STOPPING=1")

    def restarting(self) -> bool:
        """Tell that the agent ends and starts again in its own place; what follows is another :meth:`ready`.

        Not ``STOPPING=1``, which would be the end of the service.
        """
        return self._send("STATUS=starting again")

    def _send(self, text: str) -> bool:
        """Return whether the message was handed over."""
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(SEND_TIMEOUT_S)
                out.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("notify.failed", error=str(error), remedy="is NotifyAccess=main set in the unit?")
            self._failed = True
            return False
        self._failed = False
        return True


def _socket_name(address: str) -> str | None:
    """Return the address as Python wants it: ``@`` stands for the null byte of an abstract socket."""
    if address.startswith("@"):
        return "\0" + address[1:]
    if address.startswith("/"):
        return address
    log.warning("notify.unknown_address", address=address)  # vsock and the like: not for a service on this host
    return None


def _line(text: str) -> str:
    return " ".join(text.split())[:MAX_STATUS_CHARS]
