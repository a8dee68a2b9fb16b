"""Which frames of one camera are worth inference: those in which something moves, and some others. Pure.

A frame passes where

- the share of the watched area that moved is at least ``min_area``, or was within the last ``hold_s`` seconds;
- nothing passed for ``every_s`` seconds (for ``recheck_s`` where objects are known: what stands still is looked at
  again, so that it stays known, and an object without motion that was found once is confirmed or forgotten);
- somebody needs frames whatever they show: a release on probation, a candidate in the shadow.

Every doubt opens the gate: motion that is no number, a clock that went back. One owner thread: the pipeline's.
"""

from __future__ import annotations

import msgspec

from agent.clock import NS_PER_S


class GateSettings(msgspec.Struct, frozen=True):
    """When a frame passes; see the module."""

    min_area: float = 0.0005
    hold_s: float = 2.0
    every_s: float = 10.0
    recheck_s: float = 1.0


class Gate:
    """One camera's gate."""

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self._moved_ns: int | None = None
        self._passed_ns: int | None = None

    def passes(self, motion: float, now_ns: int, *, known: bool, needed: bool = False) -> bool:
        """Return whether a frame goes to inference.

        ``motion`` is the share that moved (1.0 where it was not measured), ``known``: objects were seen of late,
        ``needed``: frames are needed whatever they show. A frame that passes is taken as one that is answered.
        """
        if not motion < self._settings.min_area:
            self._moved_ns = now_ns
        settings = self._settings
        every_s = min(settings.recheck_s, settings.every_s) if known else settings.every_s
        still = _past(self._moved_ns, now_ns, settings.hold_s) and not _past(self._passed_ns, now_ns, every_s)
        if still and not needed:
            return False
        self._passed_ns = now_ns
        return True


def _past(since_ns: int | None, now_ns: int, duration_s: float) -> bool:
    """Return whether more than ``duration_s`` has passed; so it has where it never began, or where time went back."""
    return since_ns is None or not 0 <= now_ns - since_ns < duration_s * NS_PER_S
