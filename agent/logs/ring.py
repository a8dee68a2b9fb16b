"""The last log records, in memory, for whoever asks how it came to this: ``lookout logs``, ``diagnose``, a remote tail.

Kept as their lines of JSON, bounded by count and by bytes. Any thread may call.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.logs.entry import Entry, Wanted

DEFAULT_RECORDS = 1000
DEFAULT_BYTES = 1024 * 1024


class LogRing:
    """Keeps the newest ``capacity`` records, of ``max_bytes`` together; older ones fall out and are counted."""

    def __init__(self, capacity: int = DEFAULT_RECORDS, max_bytes: int = DEFAULT_BYTES) -> None:
        self._lock = threading.Lock()
        self._lines: collections.deque[bytes] = collections.deque()
        self._capacity, self._max_bytes = capacity, max_bytes
        self._bytes = 0
        self._seen = 0

    def append(self, entry: Entry) -> None:
        """Keep a record."""
        with self._lock:
            self._lines.append(entry.json)
            self._bytes += len(entry.json)
            self._seen += 1
            while len(self._lines) > self._capacity or (self._bytes > self._max_bytes and len(self._lines) > 1):
                self._bytes -= len(self._lines.popleft())

    def newest(self, n: int, wanted: Wanted | None = None) -> tuple[Entry, ...]:
        """Return at most ``n`` of the newest that are wanted, the oldest first."""
        with self._lock:
            lines = tuple(self._lines)
        wanted = wanted or Wanted()
        found: list[Entry] = []
        for line in reversed(lines):
            if len(found) >= n:
                break
            record = msgspec.json.decode(line)
            if wanted.takes(record, line):
                found.append(Entry(record, line))
        return tuple(reversed(found))

    def tail(self, n: int, level: str = "debug") -> tuple[Mapping[str, Any], ...]:
        """Return at most ``n`` of the newest records of at least ``level``, the oldest first."""
        return tuple(entry.record for entry in self.newest(n, Wanted(level)))

    def parts(self) -> frozenset[str]:
        """Return the parts and children whose records are kept."""
        found = {str(entry.record.get(key)) for entry in self.newest(self._capacity) for key in ("part", "child")}
        return frozenset(found - {"None"})

    @property
    def dropped(self) -> int:
        """How many records fell out since the start."""
        with self._lock:
            return self._seen - len(self._lines)
