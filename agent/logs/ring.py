"""The last log records, in memory, for whoever asks how it came to this: ``status``, ``diagnose``, a remote tail.

Bounded by count, and each record is bounded by :mod:`agent.logs.processors`. Any thread may call.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping
from typing import Any

from agent.logs.processors import LEVELS

DEFAULT_RECORDS = 1000


class LogRing:
    """Keeps the newest ``capacity`` records; the older ones fall out and are counted."""

    def __init__(self, capacity: int = DEFAULT_RECORDS) -> None:
        self._lock = threading.Lock()
        self._records: collections.deque[Mapping[str, Any]] = collections.deque(maxlen=capacity)
        self._seen = 0

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep a copy of a cleaned record."""
        with self._lock:
            self._records.append(dict(record))
            self._seen += 1

    def tail(self, n: int, level: str = "debug") -> tuple[Mapping[str, Any], ...]:
        """Return at most ``n`` of the newest records of at least ``level``, the oldest first."""
        with self._lock:
            records = tuple(self._records)
        kept = [record for record in records if LEVELS.get(str(record.get("level")), 50) >= LEVELS[level]]
        return tuple(kept[max(0, len(kept) - n) :]) if n > 0 else ()

    @property
    def dropped(self) -> int:
        """How many records fell out since the start."""
        with self._lock:
            return self._seen - len(self._records)
