"""Whether the kernel counts memory by group, which the service's bounds need. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent.doctor.findings import Finding, ok, skipped, warning

NAME = "memory limits"


@dataclass(frozen=True)
class Groups:
    """What the kernel says. ``controllers``: of cgroup v2; ``listed``: ``/proc/cgroups``; both empty where absent.

    ``boot_file``: where this host's kernel is given its command line, empty where that is not known.
    """

    controllers: str
    listed: str
    command_line: str
    boot_file: str = ""


def memory_counted(found: Groups) -> bool | None:
    """Tell whether memory is counted by group; None where the kernel tells nothing."""
    if "memory" in found.controllers.split():
        return True
    for line in found.listed.splitlines():
        fields = line.split()
        if len(fields) >= 4 and fields[0] == "memory":
            return fields[3] == "1"
    return False if found.controllers.split() or found.listed.strip() else None


def judge(found: Groups) -> tuple[Finding, ...]:
    """Return whether the unit's bounds on memory hold."""
    counted = memory_counted(found)
    if counted is None:
        return (skipped(NAME, "this kernel tells nothing of its control groups"),)
    if counted:
        return (ok(NAME, "the kernel counts memory by group: MemoryMax= of the service holds"),)
    words = found.command_line.split()
    why = " (cgroup_disable=memory on its command line)" if "cgroup_disable=memory" in words else ""
    where = found.boot_file or "/boot/firmware/cmdline.txt"
    remedy = f"append cgroup_enable=memory to the one line of {where}, then reboot"
    if "cgroup_enable=memory" in words:
        remedy = "this kernel does not know it: update the system, or do without MemoryMax="
    said = f"the kernel does not count memory by group{why}: MemoryMax= of the service does nothing"
    return (warning(NAME, said, remedy),)
