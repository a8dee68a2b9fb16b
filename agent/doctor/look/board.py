"""Reads what kernel and firmware say of the board: power, heat, clocks, memory, control groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from agent.doctor.case import Case
from agent.doctor.judge.kernel import Groups
from agent.doctor.judge.memory import Memory, Swap, read_swaps
from agent.doctor.judge.power import UNDERVOLTED, Board
from agent.doctor.judge.storage import read_mounts
from agent.doctor.look.programs import ask
from agent.loop.rings import slots_for
from agent.process.ring import CHANNELS
from agent.telemetry import sysfs
from agent.telemetry.heat import Thermometer
from agent.telemetry.power import CLOCK_COOLERS, PI_FLAGS, Power
from agent.types import MB

BOOT_FILES = ("boot/firmware/cmdline.txt", "boot/cmdline.txt")
UNKNOWN_SIZE = (1280, 720)
"""Taken for a camera whose frames nobody has said the size of."""


def look(host: Path, governed_c: float | None) -> Board:
    """Return what the board says of power, heat and clocks."""
    sys = host / "sys"
    mode, modes = _power_mode(host)
    capped, fastest = _clock_bounds(sys)
    events = Power(sys).supply_events()
    return Board(
        name=(sysfs.text(host / "proc/device-tree/model") or "").rstrip("\0"),
        flags=_flags(host),
        coolers=_coolers(sys),
        overcurrent=None if events is None else int(events),
        temperature_c=Thermometer(sys).read(),
        mode=mode,
        modes=modes,
        governors=frozenset(_cpu(sys, "scaling_governor")),
        capped_to=capped,
        fastest=fastest,
        governed_c=governed_c,
    )


def _flags(host: Path) -> int | None:
    """Return a Raspberry Pi's flags, from its kernel, its firmware's own program, or its voltage monitor."""
    found = next(iter(sysfs.matching(host / "sys", *PI_FLAGS)), None)
    flags = None if found is None else sysfs.number(found, 16)
    if flags is None and host == Path("/"):
        flags = sysfs.integer((ask("vcgencmd", "get_throttled") or "").strip().partition("=")[2], 16)
    if flags is not None and flags >= 0:
        return flags
    low = Power(host / "sys").undervoltage()
    return None if low is None else UNDERVOLTED * int(low)


def _coolers(sys: Path) -> dict[str, int]:
    """Return those that lower a clock, and how far they do."""
    found: dict[str, int] = {}
    for cooler in sysfs.matching(sys, "class/thermal/cooling_device*"):
        kind = sysfs.text(cooler / "type") or ""
        state = sysfs.number(cooler / "cur_state")
        if kind.startswith(CLOCK_COOLERS) and state is not None:
            found[kind] = max(state, found.get(kind, 0))
    return found


def _cpu(sys: Path, name: str) -> list[str]:
    files = sysfs.matching(sys, f"devices/system/cpu/cpufreq/policy*/{name}")
    return [said for said in map(sysfs.text, files) if said]


def _clock_bounds(sys: Path) -> tuple[int | None, int | None]:
    """Return the most kHz that the cores may take and could take; of several kinds those that are held back most."""
    pairs = [
        (sysfs.integer(may), sysfs.integer(could))
        for may, could in zip(_cpu(sys, "scaling_max_freq"), _cpu(sys, "cpuinfo_max_freq"), strict=False)
    ]
    known = [(may, could) for may, could in pairs if may and could]
    return min(known, key=lambda pair: pair[0] / pair[1], default=(None, None)) if known else (None, None)


def _power_mode(host: Path) -> tuple[str, tuple[str, ...]]:
    """Return a Jetson's power mode and the names of all, empty elsewhere."""
    names = read_modes(sysfs.text(host / "etc/nvpmodel.conf") or "")
    now = re.search(r"pmode:0*(\d+)", sysfs.text(host / "var/lib/nvpmodel/status") or "")
    if not names or now is None:
        return "", ()
    return names.get(int(now[1]), f"mode {now[1]}"), tuple(names.values())


def read_modes(said: str) -> dict[int, str]:
    """Read the numbers and names of the power modes of ``nvpmodel.conf``."""
    return {int(number): name for number, name in re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", said)}


def look_at_groups(host: Path) -> Groups:
    """Return what the kernel says of counting memory."""
    return Groups(
        controllers=sysfs.text(host / "sys/fs/cgroup/cgroup.controllers") or "",
        listed=sysfs.text(host / "proc/cgroups") or "",
        command_line=sysfs.text(host / "proc/cmdline") or "",
        boot_file=next((f"/{name}" for name in BOOT_FILES if (host / name).exists()), ""),
    )


def look_at_memory(case: Case) -> Memory:
    """Return memory and swap, and what the rings of the configured cameras take."""
    said = _meminfo(sysfs.text(case.host / "proc/meminfo") or "")
    status = case.status
    return Memory(
        total_mb=said.get("MemTotal", 0) * 1024 / MB,
        available_mb=said.get("MemAvailable", 0) * 1024 / MB,
        frames_mb=_frames_mb(case),
        running_mb=sum(status.memory_mb.values()) if status and status.memory_mb else None,
        swaps=_swaps(case.host),
    )


def _meminfo(said: str) -> Mapping[str, int]:
    pairs = (line.split() for line in said.splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in pairs if len(words) >= 2 and words[1].isdecimal()}


def _swaps(host: Path) -> tuple[Swap, ...]:
    mounts = read_mounts(sysfs.text(host / "proc/self/mountinfo") or "")
    return read_swaps(sysfs.text(host / "proc/swaps") or "", [(mount.point, mount.source) for mount in mounts])


def _frames_mb(case: Case) -> float:
    if case.loaded is None:
        return 0.0
    config = case.loaded.config
    found = 0.0
    for pipeline in config.pipelines.values():
        for name in pipeline.cameras:
            source = config.cameras[name].source
            width = getattr(source, "width", None) or UNKNOWN_SIZE[0]
            height = getattr(source, "height", None) or UNKNOWN_SIZE[1]
            found += slots_for(pipeline.in_flight) * width * height * CHANNELS / MB
    return found
