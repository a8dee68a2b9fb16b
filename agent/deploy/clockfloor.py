"""Whether the system clock may be believed where a wrong one does harm: expiry of signed metadata, of commands.

A clock that was set back makes old, withdrawn metadata look fresh. So there is a durable floor: the later of the time
this release was built and of the latest instant at which signed metadata was found unexpired. The second bounds itself:
a clock that somebody set years ahead finds all metadata expired, so it never raises the floor, and the floor never
holds a device up for longer than a signature lasts. Below the floor the clock is wrong; one that nothing keeps right
may be. ``registry.trust_clock`` (local) overrides both, for devices without a source of time. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from agent.clock import rfc3339, synchronised, utc_ms
from agent.errors import StorageError

BUILT_MS = 1_763_942_400_000
"""2025-11-24T00:00:00Z: raised with each release; no clock that shows less is right."""

log = structlog.get_logger(part="deploy")


class FloorMemory(Protocol):
    """Where the floor outlives the agent. Raises :class:`StorageError`."""

    def clock_floor_ms(self) -> int:
        """Return the latest trusted time noted, 0 without one."""
        ...

    def raise_clock_floor(self, at_ms: int) -> None:
        """Note a trusted time, durably, unless a later one is noted."""
        ...


class TrustedClock:
    """The system clock, believed or not."""

    def __init__(
        self,
        memory: FloorMemory,
        *,
        trust: bool,
        now_ms: Callable[[], int] = utc_ms,
        synchronised: Callable[[], bool] = synchronised,
    ) -> None:
        """``trust``: the operator vouches for the clock."""
        self._memory = memory
        self._trust = trust
        self._now_ms = now_ms
        self._synchronised = synchronised

    def reconfigure(self, *, trust: bool) -> None:
        """Take the operator's word for the clock, or no longer."""
        self._trust = trust

    def doubt(self) -> str | None:
        """Say in words why the clock is not believed; None when it is."""
        if self._trust:
            return None
        now_ms, floor_ms = self._now_ms(), self._floor_ms()
        if now_ms < floor_ms:
            return (
                f"the clock shows {rfc3339(now_ms)}, earlier than {rfc3339(floor_ms)}, which has passed for certain: "
                "set it, or connect a time server"
            )
        if not self._synchronised():
            return (
                f"nothing keeps the clock right (it shows {rfc3339(now_ms)}): waiting for a time server; "
                "registry.trust_clock: true makes the device believe it as it is"
            )
        return None

    def utc_ms(self) -> int | None:
        """Return the time, None while it is not believed."""
        return None if self.doubt() is not None else self._now_ms()

    def proved(self, at_ms: int) -> None:
        """Note a time that has passed: signed metadata was found unexpired by it.

        Not the present: the clock may have jumped since, and what it then shows nothing has proved.
        """
        self._memory.raise_clock_floor(at_ms)

    def _floor_ms(self) -> int:
        try:
            return max(BUILT_MS, self._memory.clock_floor_ms())
        except StorageError as error:
            log.warning("clock.floor_unreadable", problem=error.message)
            return BUILT_MS
