"""How hot the processor is, and how busy its GPU: what sysfs says on the boards that Lookout runs on.

Sensors are looked for once, and again when none of those found can be read any more. A Jetson's own daemon
(jetson-stats) is not asked: it needs a service of its own and says of these no more than the kernel does.
"""

from __future__ import annotations

from pathlib import Path

from agent.telemetry import sysfs

CPU_SENSORS = ("cpu-therm", "soc-therm", "tj-therm", "coretemp", "k10temp", "zenpower", "x86-pkg-temp")
"""What the names of the processor's sensors begin with, the best first: Raspberry Pi and Jetson, other boards, the
hottest spot of a Jetson, Intel, AMD."""

COLDEST_C, HOTTEST_C = -60.0, 200.0
"""No processor that can still tell it is outside of these."""

GPU_LOADS = (
    "class/devfreq/*gpu*/device/load",
    "class/devfreq/*ga10b*/device/load",
    "class/devfreq/*gv11b*/device/load",
    "devices/gpu.0/load",
    "devices/platform/gpu.0/load",
    "devices/platform/*.gpu/load",
    "devices/platform/*/*.gpu/load",
    "devices/platform/*.ga10b/load",
    "devices/platform/*.gv11b/load",
)
"""Where the kernels of JetPack have had a Jetson's GPU load, per mille."""


class Thermometer:
    """The processor's sensor. Not for several threads at once."""

    def __init__(self, sys: Path) -> None:
        self._sys = sys
        self._sensors = self._find()

    def read(self) -> float | None:
        """Return the temperature in °C (the hottest reading of the best sensor), None without a sensor."""
        found = _hottest(self._sensors)
        if found is None:
            self._sensors = self._find()
            found = _hottest(self._sensors)
        return found

    def _find(self) -> tuple[Path, ...]:
        """Return the files of the best sensor that can be read."""
        known: dict[str, list[Path]] = {}
        for folder, name, pattern in (
            ("class/thermal/thermal_zone*", "type", "temp"),
            ("class/hwmon/hwmon*", "name", "temp*_input"),
        ):
            for sensor in sysfs.matching(self._sys, folder):
                called = (sysfs.text(sensor / name) or "").lower().replace("_", "-")
                known.setdefault(called, []).extend(sysfs.matching(sensor, pattern))
        readable = {name: tuple(paths) for name, paths in known.items() if _hottest(tuple(paths)) is not None}
        best = [name for start in CPU_SENSORS for name in readable if name.startswith(start)]
        return readable[(best or list(readable))[0]] if readable else ()


def _hottest(paths: tuple[Path, ...]) -> float | None:
    degrees = (milli / 1000 for milli in sysfs.numbers(paths))
    return max((one for one in degrees if COLDEST_C <= one <= HOTTEST_C), default=None)


class GpuLoad:
    """A Jetson's GPU."""

    def __init__(self, sys: Path) -> None:
        self._path = next((one for one in sysfs.matching(sys, *GPU_LOADS) if _load(one) is not None), None)

    def read(self) -> float | None:
        """Return how busy it is, percent; None where there is none, or while it cannot be read."""
        return None if self._path is None else _load(self._path)


def _load(path: Path) -> float | None:
    found = sysfs.number(path)
    return found / 10 if found is not None and 0 <= found <= 1000 else None
