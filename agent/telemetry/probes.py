"""Rows of the host: what is to be known of each, how it is read, and reading them all.

A row says everything that telemetry, Prometheus and Home Assistant must know of it; :mod:`agent.telemetry.host` has the
table. Reading never raises: a row that fails gives None and is complained about once, in the log. A row that this host
cannot have (no temperature sensor) is left out without complaint.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import structlog

from agent.telemetry.rows import Column, Kind

log = structlog.get_logger(part="telemetry")


@dataclass(frozen=True)
class Probe:
    """A row. ``device_class`` is Home Assistant's word where it has one.

    ``name`` is a person's short word for it. ``shown``: worth a place where only the most telling rows are listed.
    ``may_lack``: some hosts cannot have it. ``kind``: a counter only grows while the host, or the agent, runs.
    ``needs``: the row without which it cannot be had, for one whose value takes a while to be known.
    """

    key: str
    unit: str
    value: Callable[[], float | None]
    description: str
    device_class: str | None = None
    name: str = ""
    shown: bool = False
    may_lack: bool = False
    kind: Kind = "gauge"
    needs: str = ""

    @property
    def column(self) -> Column:
        """Return what is to be known of it in the words of all rows."""
        name, shown = self.name or self.key, self.shown
        return Column(
            self.description, self.unit, self.kind, self.device_class, name, shown, key=self.key, path=(self.key,)
        )


class Probes:
    """Rows, which of them were complained about, and which were ever had. Any thread, one at a time."""

    def __init__(self, rows: Iterable[Probe]) -> None:
        self.rows = tuple(rows)
        self._lock = threading.Lock()
        self._complained: set[str] = set()
        self._had: set[str] = set()

    def had(self) -> tuple[Probe, ...]:
        """Return the rows that this host has."""
        found = self.read()
        return tuple(row for row in self.rows if row.key in found)

    def read(self, keys: Collection[str] | None = None) -> dict[str, float | None]:
        """Return every row's value by key (those of ``keys`` only, where given), None where it cannot be had just now.

        A row that some hosts lack is left out until it was had once.
        """
        with self._lock:
            found = {row.key: self._value(row) for row in self.rows if keys is None or row.key in keys}
            self._had.update(key for key, value in found.items() if value is not None)
            lacking = {row.key for row in self.rows if row.may_lack and not {row.key, row.needs} & self._had}
            return {key: value for key, value in found.items() if key not in lacking}

    def _value(self, row: Probe) -> float | None:
        try:
            value = row.value()
            number = None if value is None else round(float(value), 2)
        except Exception as error:  # rows may be anybody's, and none may cost the others their telemetry
            if row.key not in self._complained:
                self._complained.add(row.key)
                log.warning("probe.failed", key=row.key, error=f"{type(error).__name__}: {error}")
            return None
        return number if number is not None and math.isfinite(number) else None
