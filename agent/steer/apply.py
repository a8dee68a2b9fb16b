"""Has the parts of a running agent take up another configuration, each by what concerns it.

A row says what a part needs of the configuration, as a frozen record, and how it takes a new one; a row is told only
where its record differs from the one that it was told last. The rows' order is the order of the table, and it is kept
when something is undone as well: cameras are closed before pipelines change, pipelines before deployments, cameras are
opened after both, what reports follows, and the broker comes last, so that all before it is told to whoever listens
now. Where a row raises, nothing after it is told, and the next configuration, usually the former one, is told to every
row: all of them may be told again what they know. The steward's thread only.

Keys that hold from the next start on are in no row. The records that have some beside others hold those of the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from agent.config.layers import Loaded
from agent.steer.inforce import waiting_for_restart

R = TypeVar("R")

log = structlog.get_logger(part="config")


@dataclass(frozen=True)
class Row(Generic[R]):
    """One part: ``select`` what it needs, ``take`` it. ``take`` raises LookoutError where the part refuses."""

    part: str
    select: Callable[[Loaded], R]
    take: Callable[[R], object]


class Applier:
    """Keeps the rows, and what each was told. ``settled`` is called when all of them have taken something up."""

    def __init__(self, booted: Loaded, rows: Sequence[Row[Any]], *, settled: Callable[[], None] = lambda: None) -> None:
        """``booted`` is the configuration by which the parts were built."""
        self._booted = booted
        self._rows = tuple(rows)
        self._settled = settled
        self._told: dict[str, object] = {row.part: row.select(booted) for row in self._rows}

    def apply(self, before: Loaded, after: Loaded) -> tuple[str, ...]:
        """Tell every part what changed; return the dotted keys that wait for a restart.

        What was told counts, not ``before``: it may not have reached every part. Raises LookoutError; then ``before``
        is to be applied.
        """
        del before
        changed = [row.part for row in self._rows if self._tell(row, after)]
        if changed:
            log.info("config.applied", parts=changed)
            self._settled()
        return waiting_for_restart(self._booted, after)

    def _tell(self, row: Row[Any], after: Loaded) -> bool:
        record = row.select(after)
        if row.part in self._told and self._told[row.part] == record:
            return False
        told, self._told = self._told, {}  # nothing is certain until the row has taken it
        row.take(record)
        self._told = {**told, row.part: record}
        return True
