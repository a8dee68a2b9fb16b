"""The clock: does anything keep it right, and is it later than what is known to have passed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent.clock import rfc3339
from agent.doctor.findings import Finding, Value, failed, ok, warning

NAME = "clock"


@dataclass(frozen=True)
class Clock:
    """``floor_ms``: a time that has passed for certain. ``trusted``: registry.trust_clock. ``battery``: it has one."""

    now_ms: int
    floor_ms: int
    synchronised: bool
    trusted: bool
    matters: bool
    battery: bool


def judge(found: Clock) -> tuple[Finding, ...]:
    """Return what is so of the clock."""
    shows = rfc3339(found.now_ms)[:19] + "Z"
    values: dict[str, Value] = {"now": shows, "synchronised": found.synchronised, "trusted": found.trusted}
    if found.now_ms < found.floor_ms:
        said = f"shows {shows}, earlier than {rfc3339(found.floor_ms)[:19]}Z, which has passed for certain"
        return (failed(NAME, said, "connect a time server, or set it: sudo date -s 'YYYY-MM-DD HH:MM'", **values),)
    if found.synchronised:
        return (ok(NAME, f"shows {shows}, kept right", **values),)
    if found.trusted:
        return (ok(NAME, f"shows {shows}; nothing keeps it right, registry.trust_clock has it believed", **values),)
    said = f"shows {shows}, and nothing keeps it right"
    lost = "" if found.battery else "; without a battery it is behind after each power cut"
    remedy = "timedatectl; sudo timedatectl set-ntp true. Without a network: registry.trust_clock: true"
    if not found.matters:
        return (warning(NAME, f"{said}{lost}", remedy, **values),)
    waits = ": nothing new is trusted until then, commands that expire are refused"
    return (failed(NAME, f"{said}{waits}{lost}", remedy, **values),)
