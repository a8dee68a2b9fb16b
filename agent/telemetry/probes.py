"""What the host and the agent's process are doing, one declarative row each.

A row says everything that telemetry, and whoever else lists values, must know of it. Reading never raises: a row that
fails gives None and is complained about once, in the log. A row that this host cannot have (no temperature sensor)
gives None without complaint.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

from agent.process.memory import pss_bytes
from agent.types import MB

log = structlog.get_logger(part="telemetry")


CPU_SENSORS = ("cpu_thermal", "soc_thermal", "cpu-thermal", "soc-thermal", "coretemp", "k10temp", "zenpower")
"""Sensors of the processor, the best first: Raspberry Pi, Jetson and other boards, Intel, AMD."""

PI_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
PI_SLOWED = 0b1110
"""Of its flags, what is so now: clock capped, throttled, soft temperature limit."""

CLOCK_COOLERS = ("cpufreq", "thermal-cpufreq", "Processor")


@dataclass(frozen=True)
class Probe:
    """A row. ``device_class`` is Home Assistant's word where it has one.

    ``name`` is a person's short word for it. ``shown``: worth a place where only the most telling rows are listed.
    ``may_lack``: some hosts cannot have it.
    """

    key: str
    unit: str
    value: Callable[[], float | None]
    description: str
    device_class: str | None = None
    name: str = ""
    shown: bool = False
    may_lack: bool = False


def host_probes(state_folder: Path) -> tuple[Probe, ...]:
    """Return the rows of this host and this process; ``state_folder`` is the one whose disk matters."""
    process = psutil.Process()
    psutil.cpu_percent()  # both measure since the last call: this is the first
    process.cpu_percent()
    return (
        Probe(
            "cpu_percent",
            "%",
            psutil.cpu_percent,
            "processor time in use, all cores together",
            name="processor",
            shown=True,
        ),
        Probe("load_1m", "", lambda: os.getloadavg()[0], "runnable tasks, mean of the last minute", name="load"),
        Probe("memory_used_mb", "MB", _memory_used_mb, "memory in use", "data_size", "memory used"),
        Probe(
            "memory_available_mb",
            "MB",
            _memory_available_mb,
            "memory to be had without swapping",
            "data_size",
            "memory available",
            shown=True,
        ),
        Probe(
            "agent_cpu_percent",
            "%",
            process.cpu_percent,
            "processor time of the agent's own process, of one core",
            name="agent processor",
        ),
        Probe(
            "agent_pss_mb",
            "MB",
            pss_mb,
            "memory of the agent's own process, shared parts by share",
            "data_size",
            "agent memory",
        ),
        Probe(
            "disk_free_mb",
            "MB",
            lambda: _disk_free_mb(state_folder),
            "room where the state lies",
            "data_size",
            "disk free",
            shown=True,
        ),
        Probe(
            "temperature_c",
            "°C",
            temperature_c,
            "temperature of the processor",
            "temperature",
            "temperature",
            shown=True,
            may_lack=True,
        ),
        Probe(
            "throttled",
            "",
            throttled,
            "1 while the processor is slowed down by heat or want of power, else 0",
            name="throttled",
            may_lack=True,
        ),
        Probe("host_uptime_s", "s", _host_uptime_s, "time since the host was started", "duration", "host uptime"),
    )


class Probes:
    """Rows, and which of them were complained about. One thread."""

    def __init__(self, rows: Iterable[Probe]) -> None:
        self.rows = tuple(rows)
        self._complained: set[str] = set()

    def had(self) -> tuple[Probe, ...]:
        """Return the rows that this host has."""
        return tuple(row for row in self.rows if not row.may_lack or self._value(row) is not None)

    def read(self, keys: Collection[str] | None = None) -> dict[str, float | None]:
        """Return every row's value by key (those of ``keys`` only, where given), None where it cannot be had."""
        return {row.key: self._value(row) for row in self.rows if keys is None or row.key in keys}

    def _value(self, row: Probe) -> float | None:
        try:
            value = row.value()
        except Exception as error:  # rows may be anybody's, and none may cost the others their telemetry
            if row.key not in self._complained:
                self._complained.add(row.key)
                log.warning("probe.failed", key=row.key, error=f"{type(error).__name__}: {error}")
            return None
        return None if value is None else round(float(value), 2)


def pss_mb() -> float:
    """Return this process' proportional set size."""
    return pss_bytes() / MB


def temperature_c() -> float | None:
    """Return the processor's temperature (the hottest reading of the best sensor), None without a sensor."""
    sensors = {
        name: [reading.current for reading in readings] for name, readings in psutil.sensors_temperatures().items()
    }
    sensors = {name: readings for name, readings in sensors.items() if readings}
    if not sensors:
        return None
    best = next((name for name in CPU_SENSORS if name in sensors), None) or next(iter(sensors))
    return max(sensors[best])


def throttled(sys: Path = Path("/sys")) -> float | None:
    """Return 1 while the processor is slowed down, 0 while not, None where nothing tells.

    A Raspberry Pi's firmware says so itself; elsewhere it is the cooling by a lower clock that is in force.
    """
    with contextlib.suppress(OSError, ValueError):
        flags = int((sys / PI_THROTTLED).read_text(), 16)
        return float(bool(flags & PI_SLOWED))
    states = []
    for cooler in (sys / "class/thermal").glob("cooling_device*"):
        with contextlib.suppress(OSError, ValueError):
            if (cooler / "type").read_text().strip().startswith(CLOCK_COOLERS):
                states.append(int((cooler / "cur_state").read_text()))
    return float(max(states) > 0) if states else None


def _memory_used_mb() -> float:
    memory = psutil.virtual_memory()
    return (memory.total - memory.available) / MB


def _memory_available_mb() -> float:
    return psutil.virtual_memory().available / MB


def _disk_free_mb(folder: Path) -> float:
    return shutil.disk_usage(folder).free / MB


def _host_uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
