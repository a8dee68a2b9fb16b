"""Reads the clock, what the kernel says of it, and the floor below which it is wrong for certain."""

from __future__ import annotations

from agent.clock import synchronised, utc_ms
from agent.deploy.clockfloor import BUILT_MS
from agent.doctor.case import Case
from agent.doctor.judge.clock import Clock
from agent.doctor.look import records


def look(case: Case) -> Clock:
    """Return the facts."""
    config = None if case.loaded is None else case.loaded.config
    return Clock(
        now_ms=utc_ms(),
        floor_ms=max(BUILT_MS, records.clock_floor_ms(case.places.state)),
        synchronised=synchronised(),
        trusted=config is not None and config.registry.trust_clock,
        matters=config is not None and bool(config.registry.url or config.mqtt.host),
        battery=any((case.host / "sys/class/rtc").glob("rtc*")),
    )
