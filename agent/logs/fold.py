"""Folds records that say the same again: the first is logged at once, the rest once a window, with how often. Pure.

Two records say the same where everything is equal but their time, measurements (numbers with a point) and counters
(:data:`COUNTERS`). The window begins with the first and lasts ``fold_s``; at its end the last of those that came
meanwhile is logged, with ``repeated``, and a window twice as long begins, up to :data:`LONGEST_S`: what never ends is
told ever more seldom, a dead camera some 150 times a day. Once a window has passed without it, it is news again.
Bounded: beyond :data:`MAX_WINDOWS` different records the oldest window is closed early. One thread.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.clock import NS_PER_S

MAX_WINDOWS = 256
LONGEST_S = 600
"""Longer, and the log could for too long show as its last word of a thing what is no more."""

COUNTERS = frozenset({"attempt", "attempts", "failures", "lines", "records", "session"})


@dataclass
class _Window:
    span_ns: int
    ends_ns: int
    last: Mapping[str, Any]
    repeated: int = 0


class Fold:
    """See the module."""

    def __init__(self, fold_s: float) -> None:
        self._fold_ns = 0
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()
        self.configure(fold_s)

    def configure(self, fold_s: float) -> None:
        """Have windows that begin from now on last ``fold_s``; 0: nothing is folded."""
        self._fold_ns = round(fold_s * NS_PER_S)

    def take(self, record: Mapping[str, Any], now_ns: int) -> list[Mapping[str, Any]]:
        """Take a record; return what is to be logged now, the record itself last, unless it is folded."""
        told = self.close(now_ns)
        if self._fold_ns == 0:
            return [*told, record]
        key = _fingerprint(record)
        window = self._windows.get(key)
        if window is not None:
            window.repeated += 1
            window.last = record
            return told
        if len(self._windows) >= MAX_WINDOWS:
            told += _summary(self._windows.popitem(last=False)[1])
        self._windows[key] = _Window(self._fold_ns, now_ns + self._fold_ns, record)
        return [*told, record]

    def close(self, now_ns: int) -> list[Mapping[str, Any]]:
        """End the windows whose time is over; return what is told of them, in the order in which they ended."""
        over = sorted(
            ((key, window) for key, window in self._windows.items() if window.ends_ns <= now_ns),
            key=lambda pair: pair[1].ends_ns,
        )
        for key, window in over:
            del self._windows[key]
            if window.repeated and self._fold_ns:
                span_ns = max(window.span_ns, min(2 * window.span_ns, LONGEST_S * NS_PER_S))
                self._windows[key] = _Window(span_ns, now_ns + span_ns, window.last)
        return [record for _, window in over for record in _summary(window)]

    def finish(self) -> list[Mapping[str, Any]]:
        """End every window; return what is told of them."""
        told = [record for window in self._windows.values() for record in _summary(window)]
        self._windows.clear()
        return told

    def due_ns(self) -> int | None:
        """Return when something will have to be told, None where nothing was folded."""
        return min((window.ends_ns for window in self._windows.values() if window.repeated), default=None)


def _summary(window: _Window) -> list[Mapping[str, Any]]:
    return [{**window.last, "repeated": window.repeated}] if window.repeated else []


def _fingerprint(record: Mapping[str, Any]) -> bytes:
    said = {
        key: value
        for key, value in record.items()
        if key != "at" and not isinstance(value, float) and not (key in COUNTERS and isinstance(value, int))
    }
    return hashlib.blake2b(msgspec.msgpack.encode(said), digest_size=16).digest()
