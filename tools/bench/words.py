"""Figures in words, alike on the terminal and on the page. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tools.bench.case import Figure, Wanted
from tools.bench.record import Record

COLUMNS = ("what", "measured", "least to most", "wanted", "")

_SMALL = 10.0
_DIGITS = {"ms": 1, "fps": 1, "x": 2, "MB": 0, "%": 1, "s": 1, "": 0}


def number(value: float, unit: str) -> str:
    """Return a value with as many digits as mean something, and without its unit."""
    digits = _DIGITS.get(unit, 1)
    if unit == "ms" and abs(value) < _SMALL:
        digits = 2 if abs(value) >= 1 else 3
    if unit == "x" and abs(value) < 1:
        digits = 3
    if unit == "" and value != round(value):
        digits = 1
    return f"{value:.{digits}f}"


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit."""
    sign = " x" if unit == "x" else f" {unit}" if unit else ""
    return f"{number(value, unit)}{sign}"


def spread(samples: Sequence[float], unit: str) -> str:
    """Return the least and the greatest of the rounds; empty for fewer than two."""
    if len(samples) < 2:
        return ""
    return f"{number(min(samples), unit)} to {number(max(samples), unit)}"


def wanted(bound: Wanted, unit: str) -> str:
    """Return what was promised, and for which processors."""
    sign = "≥" if bound.side == "at_least" else "≤"
    where = f" ({bound.where})" if bound.where else ""
    return f"{sign} {quantity(bound.bound, unit)}{where}"


def verdict(record: Record, figure: Figure) -> str:
    """Return ``kept``, ``MISSED``, or ``missed, not promised here``; empty without a bound or a value."""
    if figure.kept is None:
        return ""
    if figure.kept:
        return "kept"
    return "MISSED" if record.promised(figure) else "missed; not promised for this processor"


def rows(record: Record) -> list[tuple[str, str, str, str, str]]:
    """Return the figures of a record, a row each."""
    found = []
    for one in record.figures:
        measured = "not measured" if one.value is None else quantity(one.value, one.unit)
        note = f" ({one.note})" if one.note else ""
        bound = "" if one.wanted is None else wanted(one.wanted, one.unit)
        found.append((one.what + note, measured, spread(one.samples, one.unit), bound, verdict(record, one)))
    return found
