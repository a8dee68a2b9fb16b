"""Power, heat and clocks of the board. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.doctor.findings import Finding, failed, ok, skipped, warning

UNDERVOLTED, CAPPED, THROTTLED, WARM = 1, 2, 4, 8
SINCE = 16
"""A Raspberry Pi's flags: what is so now, and, so many bits higher, what has been so since it was started."""

_SLOWED = {CAPPED: "its clock is capped", THROTTLED: "it is throttled", WARM: "it is at its soft temperature limit"}
HOT_C = 80.0
SUPPLY = "use the official supply (5 V 3 A for a Pi 4, 5 V 5 A for a Pi 5) and a short cable; unplug USB devices"
COOLER = "give it a heat sink, in a closed case a fan"


@dataclass(frozen=True)
class Board:
    """What the board says of itself. ``flags``: a Pi's, None elsewhere. ``coolers``: those that lower clocks, how far.

    ``overcurrent``: how often a Jetson's supply was overdrawn since it was started. ``mode``: its power mode, ``modes``
    the names of all. ``governors``: how the cores' clocks are chosen; ``capped_to``: most kHz they may take of
    ``fastest``. ``governed_c``: the temperature from which the agent works less.
    """

    name: str
    flags: int | None = None
    coolers: Mapping[str, int] = field(default_factory=dict)
    overcurrent: int | None = None
    temperature_c: float | None = None
    mode: str = ""
    modes: tuple[str, ...] = ()
    governors: frozenset[str] = frozenset()
    capped_to: int | None = None
    fastest: int | None = None
    governed_c: float | None = HOT_C


def judge(found: Board) -> tuple[Finding, ...]:
    """Return what is so of supply, heat and clocks."""
    return _supply(found), _heat(found), _mode(found)


def _supply(found: Board) -> Finding:
    name = "power supply"
    if found.flags is not None:
        values = {"throttled": f"{found.flags:#x}"}
        if found.flags & UNDERVOLTED:
            return failed(name, "too little voltage at this moment: slow, and it corrupts cards", SUPPLY, **values)
        if found.flags & UNDERVOLTED << SINCE:
            return warning(name, "too little voltage at some time since it was started", SUPPLY, **values)
        return ok(name, f"enough voltage since it was started (get_throttled {found.flags:#x})", **values)
    if found.overcurrent is not None:
        times = {"overcurrent_events": found.overcurrent}
        if found.overcurrent:
            said = f"overdrawn {found.overcurrent} times since it was started: its clocks were lowered"
            return warning(name, said, "a lower power mode (sudo nvpmodel -m 1), or a stronger supply", **times)
        return ok(name, "never overdrawn since it was started", **times)
    return skipped(name, "this board does not say")


def _heat(found: Board) -> Finding:
    name = "heat"
    now, since = _throttling(found)
    temperature = "" if found.temperature_c is None else f"{found.temperature_c:.0f} °C"
    values = {"temperature_c": found.temperature_c, "throttled_now": bool(now), "throttled_since_start": bool(since)}
    if now:
        return warning(name, ", ".join(filter(None, (temperature, *now))), f"{COOLER}; docs/motion.md", **values)
    if found.temperature_c is not None and found.governed_c is not None and found.temperature_c >= found.governed_c:
        said = f"{temperature}, from governor.temperature_c ({found.governed_c:g}) on it works less"
        return warning(name, said, COOLER, **values)
    if since:
        said = ", ".join(filter(None, (temperature, f"since it was started {', '.join(since)}")))
        return warning(name, said, COOLER, **values)
    if not temperature and found.flags is None and not found.coolers:
        return skipped(name, "no sensor", "", **values)
    return ok(name, ", ".join(filter(None, (temperature, "not throttled"))), **values)


def _throttling(found: Board) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what slows it down now, and what did at some time since it was started."""
    flags = found.flags or 0
    now = [said for bit, said in _SLOWED.items() if flags & bit]
    now += [f"{kind} in force (step {state})" for kind, state in found.coolers.items() if state > 0]
    since = [said.replace("is ", "was ", 1) for bit, said in _SLOWED.items() if flags & bit << SINCE]
    return tuple(now), tuple(since)


def _mode(found: Board) -> Finding:
    name = "power mode"
    governors = ", ".join(sorted(found.governors))
    clocks = f"clocks by {governors}" if governors else ""
    values = {"mode": found.mode or None, "governor": governors or None}
    held = _held_back(found)
    if held and not found.mode:
        return warning(name, held, "sudo cpupower frequency-info says why", **values)
    others = [mode for mode in found.modes if mode != found.mode]
    shown = f"{found.mode} (others: {', '.join(others)})" if found.mode and others else found.mode
    said = "; ".join(filter(None, (shown, held, clocks)))
    return ok(name, said, **values) if said else skipped(name, "this host does not say", "", **values)


def _held_back(found: Board) -> str:
    """Return by how much the cores' clocks are held back, empty where they are not; a power mode does so by purpose."""
    if found.capped_to is None or found.fastest is None or found.capped_to >= found.fastest:
        return ""
    return f"the processor may take {found.capped_to / 1e6:.2f} of its {found.fastest / 1e6:.2f} GHz"
