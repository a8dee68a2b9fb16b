"""How much memory a process holds: PSS, which counts shared pages by halves, because frames are shared."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def pss_bytes(pid: int | str = "self") -> int:
    """Return the PSS of a process; its RSS where the kernel does not tell that, 0 where there is no such process."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes(pid)


def resident_bytes(pid: int | str = "self") -> int:
    """Return the RSS of a process, which its PSS never exceeds; 0 where there is no such process.

    The kernel has counted it already; for a PSS it looks at every page, which takes milliseconds.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def available_bytes() -> int | None:
    """Return what a new process can take: the host's, or what this one's control group leaves; None: not told."""
    found = [free for free in (_host_available(), _group_available()) if free is not None]
    return min(found, default=None)


def _host_available() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _group_available() -> int | None:
    """Return the room below ``memory.max`` of the control group, where one is set (cgroup v2)."""
    with contextlib.suppress(OSError, ValueError):
        own = Path("/proc/self/cgroup").read_text().split("::", 1)[-1].split()[0].lstrip("/")
        group = Path("/sys/fs/cgroup") / own
        limit = int((group / "memory.max").read_text())  # "max" is no number: no limit
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    return None
