"""Whether another client uses this device's id. Pure: what was heard and when come in.

A broker lets one client of a name in and throws the other out; not every one says so (``taken_over``). So each start of
an agent has an ``instance`` of its own, a random word that stands in its ``info``. The session reads its own ``info``
back: another instance there, in a session newer than the one that stood there when this process first looked, can only
be a second living device. (What stood there first may be this device before its restart.)

It is over when a connection was left alone for longer than either of the two then waits, and :data:`MARGIN_S`.
"""

from __future__ import annotations

import msgspec

MARGIN_S = 60.0

MAX_KNOWN = 16


class Who(msgspec.Struct, frozen=True):
    """What is read of an ``info`` message."""

    instance: str = ""
    session: int = 0


_DECODER = msgspec.json.Decoder(Who)


class Twins:
    """Judges by what one session hears; used by one thread."""

    def __init__(self, instance: str, patience_s: float) -> None:
        """``instance`` is this process' own; ``patience_s`` how long such a device waits at most until it is back."""
        self._instance = instance
        self._quiet_s = patience_s + MARGIN_S
        self._known: dict[str, int] = {}
        self._connections = 0
        self._quiet_since: float | None = None
        self.found = False

    def connected(self, now_s: float) -> None:
        """Take note of a new connection."""
        self._connections += 1
        self._quiet_since = now_s

    def lost(self) -> None:
        """Take note that the connection ended."""
        self._quiet_since = None

    def taken_over(self) -> None:
        """Take note that the broker named another client of our name."""
        self.found = True

    def heard(self, info: bytes, now_s: float) -> None:
        """Take note of what stands at the broker as our ``info``; what cannot be read says nothing."""
        try:
            who = _DECODER.decode(info)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if not who.instance or who.instance == self._instance:
            return
        before = self._known.get(who.instance)
        if before is None and self._connections <= 1:
            self._know(who)
        elif before is None or who.session > before:
            self._know(who)
            self.found = True
            self._quiet_since = now_s

    def look(self, now_s: float) -> None:
        """Take note of the time: a connection that was left alone for long says that it is over."""
        if self.found and self._quiet_since is not None and now_s - self._quiet_since >= self._quiet_s:
            self.found = False

    def _know(self, who: Who) -> None:
        self._known[who.instance] = who.session
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
