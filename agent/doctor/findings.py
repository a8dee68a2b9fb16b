"""What a check found: one frozen record each, and what all of them together mean. Pure.

``failed`` is something that does not work or will be lost; ``warning`` is worth a look and costs nothing yet, unless it
``blinds``. ``skipped`` says why there was nothing to look at, or why this user may not. A finding is ``broken`` where
the check itself came to grief: that says nothing about the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["ok", "warning", "failed", "skipped"]
Value = str | int | float | bool | None

FINE, BROKEN, BAD_INPUT, DEGRADED = 0, 1, 2, 3
"""Exit codes."""


@dataclass(frozen=True)
class Finding:
    """``found`` says what is so, with its value; ``remedy`` what to do. ``values`` are for programs."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    blinds: bool = False
    broken: bool = False

    @property
    def degrades(self) -> bool:
        """Whether the device does not do all that it should."""
        return not self.broken and (self.verdict == "failed" or (self.verdict == "warning" and self.blinds))


def ok(name: str, found: str, **values: Value) -> Finding:
    """Return that all is well."""
    return Finding(name, "ok", found, values=values)


def warning(name: str, found: str, remedy: str, **values: Value) -> Finding:
    """Return that something is worth a look."""
    return Finding(name, "warning", found, remedy, values)


def blinding(name: str, found: str, remedy: str, **values: Value) -> Finding:
    """Return a warning about something for which the device sees nothing."""
    return Finding(name, "warning", found, remedy, values, blinds=True)


def failed(name: str, found: str, remedy: str, **values: Value) -> Finding:
    """Return that something does not work."""
    return Finding(name, "failed", found, remedy, values)


def skipped(name: str, found: str, remedy: str = "", **values: Value) -> Finding:
    """Return that there was nothing to look at."""
    return Finding(name, "skipped", found, remedy, values)


def exit_code(findings: Iterable[Finding], *, usable: bool) -> int:
    """Return the command's exit code; ``usable``: the configuration is, or none was named."""
    found = tuple(findings)
    if not usable:
        return BAD_INPUT
    if any(one.degrades for one in found):
        return DEGRADED
    return BROKEN if any(one.broken for one in found) else FINE


def state(findings: Iterable[Finding], *, usable: bool) -> str:
    """Return the same as a word: ok, broken, bad_config, degraded."""
    return ("ok", "broken", "bad_config", "degraded")[exit_code(findings, usable=usable)]


def counted(findings: Iterable[Finding]) -> dict[Verdict, int]:
    """Return how many there are of each verdict, the worst first."""
    found = [one.verdict for one in findings]
    order: tuple[Verdict, ...] = ("failed", "warning", "ok", "skipped")
    return {verdict: found.count(verdict) for verdict in order}
