"""The host that was measured: what a reader must know before he compares a figure with his own."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import msgspec

from agent.host import cpu

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_BYTES_PER_KB = 1024
_MB = 1_000_000

FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX-INT8",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "I8MM",
    "sve": "SVE",
}
"""What decides how fast a convolution is, float and INT8: the kernel's word and the page's."""

VNNI = "AVX512-VNNI"
"""Figures for INT8 were promised for processors that have it."""

PACKAGES = ("lookout-agent", "onnxruntime", "opencv-python-headless", "numpy", "msgspec")


class Host(msgspec.Struct, frozen=True):
    """Processor, cores that may be used, features, governor (None: the kernel tells none), and versions."""

    name: str
    machine: str
    cpu: str
    cores: int
    memory_mb: int
    features: tuple[str, ...]
    governor: str | None
    kernel: str
    virtual: bool
    versions: dict[str, str]


def describe(more: dict[str, str] | None = None) -> Host:
    """Return the facts of this host; ``more``: versions of what a case ran besides."""
    flags = _flags()
    return Host(
        name=platform.node(),
        machine=platform.machine(),
        cpu=cpu(),
        cores=cores(),
        memory_mb=_memory_kb() * _BYTES_PER_KB // _MB,
        features=tuple(word for flag, word in FEATURES.items() if flag in flags),
        governor=_read(_GOVERNOR).strip() or None,
        kernel=platform.release(),
        virtual="hypervisor" in flags,
        versions={"python": platform.python_version(), **versions(PACKAGES), **(more or {})},
    )


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def saturates() -> bool:
    """Return whether 8-bit products of unsigned and signed numbers may overflow their sum here: x86 without VNNI."""
    return platform.machine() == "x86_64" and not {"avx512_vnni", "avx_vnni"} & _flags()


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those of these packages that are installed here."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _flags() -> frozenset[str]:
    lines = (line.partition(":") for line in _read(_CPUINFO).splitlines())
    return frozenset(word for key, _, value in lines if key.strip() in ("flags", "Features") for word in value.split())


def _memory_kb() -> int:
    words = _read(_MEMINFO).split()
    return int(words[1]) if words[:1] == ["MemTotal:"] else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
