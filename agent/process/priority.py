"""How much of the host a child gets: nice and idle I/O of its whole process group, and its rank for the OOM killer.

``setpriority(PRIO_PROCESS)`` would move one thread only, so everything here moves the group. Raising nice is always
allowed; coming back is not (``RLIMIT_NICE``, ``LimitNICE=`` in a systemd unit), so whoever wants to come back asks
:func:`may_lower_nice` first.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
from pathlib import Path

from agent.errors import ChildError

IDLE_NICE = 10
"""From this nice on, a group's disk I/O is idle-class too: candidate, fetch and inspection."""

_CAP_SYS_NICE = 23
_IOPRIO_WHO_PGRP = 2
_IOPRIO_IDLE = 3 << 13
_IOPRIO_NONE = 0  # follow the CPU's nice
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # syscall numbers; glibc has no wrapper


def may_lower_nice(to: int = 0) -> bool:
    """Tell whether a child of this process that runs at a higher nice may come back to ``to``."""
    if _has_sys_nice():
        return True
    soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
    return soft == resource.RLIM_INFINITY or 20 - soft <= to


def set_nice(group: int, nice: int, child: str) -> None:
    """Move a whole process group to ``nice``. Raises :class:`ChildError` where it is not allowed; gone is fine."""
    try:
        os.setpriority(os.PRIO_PGRP, group, nice)
    except ProcessLookupError:
        return
    except OSError as error:
        raise ChildError(
            f"{child}: nice cannot be set to {nice}: {error.strerror}; "
            "set LimitNICE=0 in the unit, or start the child at 0"
        ) from error
    _set_io_class(group, idle=nice >= IDLE_NICE)


def set_oom_score_adj(pid: int, value: int, child: str) -> None:
    """Set the rank for the OOM killer, -1000 to 1000, higher dies first. Raises :class:`ChildError`; gone is fine."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(value))
    except (FileNotFoundError, ProcessLookupError):
        return
    except OSError as error:
        raise ChildError(f"{child}: oom_score_adj cannot be set to {value}: {error.strerror}") from error


def _has_sys_nice() -> bool:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SYS_NICE & 1)
    return False


def _set_io_class(group: int, *, idle: bool) -> None:
    """Best effort: a kernel or sandbox without I/O classes changes nothing that must hold."""
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ioprio = _IOPRIO_IDLE if idle else _IOPRIO_NONE
        ctypes.CDLL(None, use_errno=True).syscall(number, _IOPRIO_WHO_PGRP, group, ioprio)
