"""When a device under strain works less: the frame rate goes down in steps, and up again once it has recovered. Pure.

Strain is the processor's temperature, its throttling, and the load, each where there is a bound and a reading. A step
down is taken at once, the next ones ``settle_s`` apart, for a step takes that long to show. A step up needs
``recover_s`` in which every reading was clearly below its bound (``cool_c`` degrees, a fifth of the load): between
those two nothing changes. Without any reading there is no strain.
"""

from __future__ import annotations

import math

import msgspec

from agent.clock import NS_PER_S

LOAD_RECOVERED = 0.8
"""Of its bound: below this part the load has recovered."""


class GovernorSettings(msgspec.Struct, frozen=True):
    """Bounds (None: not looked at) and steps; ``steps_fps`` are the frame rates of one camera, falling."""

    temperature_c: float | None = 80.0
    cool_c: float = 5.0
    throttling: bool = True
    load: float | None = None
    steps_fps: tuple[float, ...] = (10.0, 5.0, 2.0, 1.0)
    settle_s: float = 15.0
    recover_s: float = 60.0


class Strain(msgspec.Struct, frozen=True):
    """What the host says; None where it cannot be read. ``load``: runnable tasks a core."""

    temperature_c: float | None = None
    throttled: bool | None = None
    load: float | None = None


class Governed(msgspec.Struct, frozen=True):
    """What the governor asks for. ``level`` 0: nothing; else the steps down, why, and the rate they lead to."""

    level: int = 0
    reason: str = ""
    max_fps: float | None = None


class Governor:
    """One device's. One thread."""

    def __init__(self, settings: GovernorSettings) -> None:
        self._settings = settings
        self._level = 0
        self._reason = ""
        self._changed_ns: int | None = None
        self._calm_since_ns: int | None = None

    def reconfigure(self, settings: GovernorSettings) -> None:
        """Go by other bounds and steps from the next reading on; the device stays as slow as it is until then."""
        self._settings = settings
        self._level = min(self._level, len(settings.steps_fps))

    def sees(self, strain: Strain) -> bool:
        """Return whether there is a reading that has a bound."""
        settings = self._settings
        return (
            (strain.temperature_c is not None and settings.temperature_c is not None)
            or (strain.throttled is not None and settings.throttling)
            or (strain.load is not None and settings.load is not None)
        )

    def judge(self, strain: Strain, now_ns: int) -> Governed:
        """Take a reading, and return what holds from now on."""
        settings, reasons = self._settings, self._excesses(strain)
        if reasons:
            self._calm_since_ns = None
            self._reason = "; ".join(reasons)
            if self._level < len(settings.steps_fps) and _since(self._changed_ns, now_ns, settings.settle_s):
                self._step(1, now_ns)
        elif not self._recovered(strain):
            self._calm_since_ns = None
        elif self._calm_since_ns is None:
            self._calm_since_ns = now_ns
        elif self._level and _since(self._calm_since_ns, now_ns, settings.recover_s):
            self._step(-1, now_ns)
            self._calm_since_ns = now_ns
        return self._governed()

    def _step(self, by: int, now_ns: int) -> None:
        self._level += by
        self._changed_ns = now_ns

    def _governed(self) -> Governed:
        if not self._level:
            return Governed()
        return Governed(self._level, self._reason, self._settings.steps_fps[self._level - 1])

    def _excesses(self, strain: Strain) -> list[str]:
        """Say which bounds are exceeded."""
        settings = self._settings
        found = []
        if _exceeds(strain.temperature_c, settings.temperature_c):
            found.append(f"the processor has {strain.temperature_c:.0f} °C, its bound is {settings.temperature_c:g} °C")
        if settings.throttling and strain.throttled:
            found.append("the processor is throttled")
        if _exceeds(strain.load, settings.load):
            found.append(f"the load is {strain.load:.1f} a core, its bound is {settings.load:g}")
        return found

    def _recovered(self, strain: Strain) -> bool:
        settings = self._settings
        cool = None if settings.temperature_c is None else settings.temperature_c - settings.cool_c
        idle = None if settings.load is None else settings.load * LOAD_RECOVERED
        return not _exceeds(strain.temperature_c, cool) and not _exceeds(strain.load, idle)


def _since(at_ns: int | None, now_ns: int, duration_s: float) -> bool:
    return at_ns is None or now_ns - at_ns >= duration_s * NS_PER_S


def _exceeds(value: float | None, bound: float | None) -> bool:
    """Return whether a reading is at its bound or above; one that is missing or no number is not."""
    return value is not None and bound is not None and math.isfinite(value) and value >= bound
