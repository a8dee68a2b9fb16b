"""Whether the processor is slowed down, and whether it gets the current that it needs.

A Raspberry Pi's firmware says both in its flags (``get_throttled``); where the kernel does not pass those on, its
hardware monitor ``rpi_volt`` still tells of undervoltage. Elsewhere it is the cooling by a lower clock that is in
force. A Jetson counts how often its supply sagged (``oc1``) or gave too little (``oc2``, ``oc3``).
"""

from __future__ import annotations

from pathlib import Path

from agent.telemetry import sysfs

PI_FLAGS = ("devices/platform/soc*/*firmware/get_throttled", "devices/platform/*firmware/get_throttled")
"""Where the kernels of a Raspberry Pi have the firmware's flags."""

UNDERVOLTAGE = 1 << 0
SLOWED = 0b1110
"""What is so now: clock capped, throttled, soft temperature limit."""

SINCE_BOOT = 16
"""By how many bits the flags of what has ever been so since the start are further up."""

VOLTAGE_MONITOR, VOLTAGE_ALARM = "rpi_volt", "in0_lcrit_alarm"
CURRENT_MONITOR, CURRENT_EVENTS = "soctherm_oc", "oc*_event_cnt"
CLOCK_COOLERS = ("cpufreq", "thermal-cpufreq", "Processor")


class Power:
    """The files that tell it; see the module. They are looked for once."""

    def __init__(self, sys: Path) -> None:
        self._flags_path = next((path for path in sysfs.matching(sys, *PI_FLAGS)), None)
        self._alarms = tuple(path / VOLTAGE_ALARM for path in sysfs.named(sys, VOLTAGE_MONITOR))
        self._events = tuple(
            path for monitor in sysfs.named(sys, CURRENT_MONITOR) for path in sysfs.matching(monitor, CURRENT_EVENTS)
        )
        self._coolers = tuple(
            cooler / "cur_state"
            for cooler in sysfs.matching(sys, "class/thermal/cooling_device*")
            if (sysfs.text(cooler / "type") or "").startswith(CLOCK_COOLERS)
        )

    def throttled(self) -> float | None:
        """Return 1 while the processor is slowed down, 0 while not, None where nothing tells."""
        flags = self._flags()
        if flags is not None:
            return float(bool(flags & SLOWED))
        states = tuple(sysfs.numbers(self._coolers))
        return float(max(states) > 0) if states else None

    def throttled_since_boot(self) -> float | None:
        """Return 1 if it was slowed down since the host started; only a Raspberry Pi's firmware remembers it."""
        flags = self._flags()
        return None if flags is None else float(bool((flags >> SINCE_BOOT) & SLOWED))

    def undervoltage(self) -> float | None:
        """Return 1 while the supply's voltage is too low, 0 while not, None where nothing tells."""
        flags = self._flags()
        if flags is not None:
            return float(bool(flags & UNDERVOLTAGE))
        alarms = tuple(sysfs.numbers(self._alarms))
        return float(max(alarms) > 0) if alarms else None

    def undervoltage_since_boot(self) -> float | None:
        """Return 1 if it was too low since the host started; only a Raspberry Pi's firmware remembers it."""
        flags = self._flags()
        return None if flags is None else float(bool((flags >> SINCE_BOOT) & UNDERVOLTAGE))

    def supply_events(self) -> float | None:
        """Return how often a Jetson was slowed down because its supply sagged or gave too little."""
        events = tuple(one for one in sysfs.numbers(self._events) if one >= 0)
        return float(sum(events)) if events else None

    def _flags(self) -> int | None:
        flags = None if self._flags_path is None else sysfs.number(self._flags_path, 16)
        return flags if flags is not None and flags >= 0 else None


def throttled(sys: Path = Path("/sys")) -> float | None:
    """See :meth:`Power.throttled`."""
    return Power(sys).throttled()
