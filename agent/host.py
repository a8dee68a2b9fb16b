"""What kind of host this is, read once: for measurements, ``info`` and the journal."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MODEL = Path("/proc/device-tree/model")
_CPUINFO = Path("/proc/cpuinfo")


def boot_id() -> str:
    """Return the kernel's id of this boot, ``unknown`` where it tells none: then every start looks like a reboot's."""
    return _read(_BOOT_ID).strip() or "unknown"


def cpu() -> str:
    """Return the processor's name; on ARM the kernel gives only its part number."""
    lines = [line.partition(":") for line in _read(_CPUINFO).splitlines()]
    found = {key.strip(): value.strip() for key, _, value in reversed(lines) if value}
    return found.get("model name") or found.get("CPU part") or platform.machine()


def host_key() -> str:
    """Return what measurements of a model are good for: the same processor and number of cores."""
    return f"{platform.machine()} {cpu()} x{os.cpu_count() or 1}"


def describe() -> dict[str, str | int | float | None]:
    """Return the facts that ``info`` tells."""
    return {
        "machine": platform.machine(),
        "board": _read(_MODEL).rstrip("\0 \n") or None,
        "cpu": cpu(),
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
    }


def _read(path: Path) -> str:
    """Return a kernel file's text, empty where the host has none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
