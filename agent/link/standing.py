"""Where the session with the broker stands: a frozen snapshot that any thread may hold. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from agent.link.messages import Failure
from agent.link.wire import Protocols


class SessionStatistics(msgspec.Struct, frozen=True):
    """``session`` counts connections since the start, ``taken_over`` those that another client ended under our id.

    ``state`` is ``off`` where no broker is configured; ``last_error`` says why there is no connection (None while there
    is one), ``retry_s`` how long it then waits. ``duplicate_device_id``: another client uses this device's id now.
    ``credentials_problem``: why renewed files were not taken up, and the old ones are used (empty: they are the same).
    """

    state: Literal["off", "connecting", "connected", "waiting", "stopped"] = "stopped"
    broker: str = ""
    protocol: Protocols | None = None
    session: int = 0
    failures: int = 0
    taken_over: int = 0
    received: int = 0
    malformed: int = 0
    last_error: Failure | None = None
    retry_s: float = 0.0
    not_subscribed: tuple[str, ...] = ()
    duplicate_device_id: bool = False
    credentials_problem: str = ""


Listener = Callable[[SessionStatistics], None]

_TOLD = {"state", "session", "duplicate_device_id", "credentials_problem"}


class Standing:
    """Holds the newest snapshot, and tells ``listeners`` of what they care about, on the session's thread."""

    def __init__(self, listeners: Iterable[Listener], broker: str) -> None:
        self._listeners = tuple(listeners)
        self.now = SessionStatistics(broker=broker)

    def tell(self, **changes: object) -> None:
        """Replace what changed."""
        before, self.now = self.now, msgspec.structs.replace(self.now, **changes)
        if _TOLD & changes.keys() and before != self.now:
            for listener in self._listeners:
                listener(self.now)
