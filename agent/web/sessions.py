"""Who has shown the token, and who tried too often: both bounded, both on the page's own thread. Pure.

A session is a random word in a cookie, known here by its digest alone; it ends with the agent. Wrong tokens are counted
by peer (of IPv6 the /64, which is what one gets): after :data:`FREE` of them nothing more is heard from there until
:data:`LOCK_S` have passed since the last. A token is not looked at meanwhile, so a right one does not help; sessions go
on. One that was shown right forgets what was wrong.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict

SESSION_S = 24 * 3600
MAX_SESSIONS = 64

FREE = 5
LOCK_S = 60.0
MAX_PEERS = 1024


class Sessions:
    """Sessions that are open; beyond :data:`MAX_SESSIONS` the oldest ends."""

    def __init__(self) -> None:
        self._ends: OrderedDict[bytes, float] = OrderedDict()

    def open(self, word: str, now_s: float) -> None:
        """Begin one, whose cookie holds ``word``."""
        self._ends[_digest(word)] = now_s + SESSION_S
        while len(self._ends) > MAX_SESSIONS:
            self._ends.popitem(last=False)

    def knows(self, word: str, now_s: float) -> bool:
        """Tell whether a cookie's word is that of an open session."""
        return self._ends.get(_digest(word), now_s) > now_s

    def close(self, word: str) -> None:
        """End one; unknown ones are fine."""
        self._ends.pop(_digest(word), None)


class Attempts:
    """Wrong tokens by peer; beyond :data:`MAX_PEERS` who was wrong longest ago is forgotten."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def locked_s(self, peer: str, now_s: float) -> float:
        """Return for how long nothing more is heard from a peer; 0: it may try."""
        count, last_s = self._wrong.get(party(peer), (0, now_s))
        if count < FREE:
            return 0.0
        return max(0.0, last_s + LOCK_S - now_s)

    def wrong(self, peer: str, now_s: float) -> None:
        """Count a wrong token."""
        name = party(peer)
        count, last_s = self._wrong.pop(name, (0, now_s))
        if now_s - last_s > 10 * LOCK_S:
            count = 0
        self._wrong[name] = (count + 1, now_s)
        while len(self._wrong) > MAX_PEERS:
            self._wrong.popitem(last=False)

    def right(self, peer: str) -> None:
        """Forget what was wrong."""
        self._wrong.pop(party(peer), None)


def party(peer: str) -> str:
    """Return what counts as one peer of an address."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _digest(word: str) -> bytes:
    return hashlib.sha256(word.encode("utf-8", "surrogateescape")).digest()
