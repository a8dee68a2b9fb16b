"""How a row is called where units are base units: in Prometheus. Pure."""

from __future__ import annotations

from typing import NamedTuple

from agent.telemetry.rows import Column

PREFIX = "lookout"


class _Base(NamedTuple):
    """``ending`` is what a key of this unit ends in, ``base`` what a metric's name does instead."""

    ending: str
    base: str
    factor: float = 1.0


BASES = {
    "%": _Base("_percent", "_ratio", 0.01),
    "MB": _Base("_mb", "_bytes", 1e6),
    "MB/d": _Base("_mb_per_day", "_per_day_bytes", 1e6),
    "kB/s": _Base("_kb_s", "_bytes_per_second", 1e3),
    "°C": _Base("_c", "_celsius"),
    "s": _Base("_s", "_seconds"),
    "ms": _Base("_ms", "_seconds", 1e-3),
    "fps": _Base("fps", "frames_per_second"),
    "": _Base("", ""),
}
"""Units of rows. What is no unit of measure (``frames``, ``messages``) is said at the end of a metric's name."""


def metric_name(scope: str, column: Column) -> str:
    """Return a row's name in Prometheus; ``scope`` is what it is told of, empty for the host."""
    base = BASES.get(column.unit)
    if base is None:
        key = column.key if column.key.endswith(column.unit) else f"{column.key}_{column.unit}"
    else:
        key = column.key.removesuffix(base.ending) + base.base
    words = [PREFIX, scope, key, "total" if column.kind == "counter" else ""]
    return "_".join(word for word in words if word)


def scaled(column: Column, value: float) -> float:
    """Return a row's value in the base unit; one that was in thousands or hundredths without a fuzzy tail."""
    base = BASES.get(column.unit)
    return float(value) if base is None or base.factor == 1.0 else round(value * base.factor, 9)
