"""What goes over the network, by the interfaces that are hardware.

Loopback, bridges and tunnels are left out: what goes through them goes over hardware too, or never leaves the host.
A container has no hardware; there every interface but loopback counts.
"""

from __future__ import annotations

from pathlib import Path

from agent.clock import NS_PER_S, monotonic_ns
from agent.telemetry import sysfs
from agent.types import MB

FRESH_S = 2.0


class Network:
    """The interfaces of this host. They may come and go, so they are looked for every :data:`FRESH_S`."""

    def __init__(self, sys: Path) -> None:
        self._sys = sys
        self._found: tuple[Path, ...] = ()
        self._found_ns: int | None = None

    def received_mb(self) -> float | None:
        """Return what came in since the interfaces were set up; None without an interface."""
        return self._sum("rx_bytes")

    def sent_mb(self) -> float | None:
        """Return what went out since then."""
        return self._sum("tx_bytes")

    def _sum(self, counter: str) -> float | None:
        found = [one for one in sysfs.numbers(path / "statistics" / counter for path in self._interfaces()) if one >= 0]
        return sum(found) / MB if found else None

    def _interfaces(self) -> tuple[Path, ...]:
        now_ns = monotonic_ns()
        if self._found_ns is None or now_ns - self._found_ns >= FRESH_S * NS_PER_S:
            found = tuple(path for path in sysfs.matching(self._sys, "class/net/*") if path.name != "lo")
            self._found = tuple(path for path in found if (path / "device").exists()) or found
            self._found_ns = now_ns
        return self._found
