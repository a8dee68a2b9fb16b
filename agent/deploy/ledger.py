"""What the device has seen of its registry, for the fetch process: it refuses anything older, even if TUF's files go.

Callable from the job lanes, between which the fetch client already chooses one at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agent.deploy.clockfloor import TrustedClock
from agent.deploy.journal import Journal


class TrustLedger:
    """The journal's memory of signed metadata; implements ``registry.client.Ledger``."""

    def __init__(self, journal: Journal, clock: TrustedClock) -> None:
        self._journal = journal
        self._clock = clock

    def seen(self) -> tuple[str, dict[str, int]]:
        """Return the anchor and role → version. Raises :class:`StorageError`."""
        return self._journal.anchor(), self._journal.versions()

    def refreshed(
        self, anchor: str, versions: Mapping[str, int], begun_anew: Collection[str], judged_at_ms: int
    ) -> None:
        """Note what was verified, and the time by which it was unexpired. Raises :class:`TrustError`, StorageError."""
        self._journal.accept_versions(versions, anchor=anchor, begun_anew=begun_anew)
        self._clock.proved(judged_at_ms)
