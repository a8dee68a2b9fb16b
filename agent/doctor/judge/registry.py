"""The registry: is it there, is this device told to trust it, and how long does its metadata live. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.clock import rfc3339
from agent.doctor.findings import Finding, Value, failed, ok, skipped, warning

DAY_MS = 24 * 3600 * 1000
ROLES = ("timestamp", "snapshot", "targets", "root")
SOON_DAYS: Mapping[str, float] = {"timestamp": 3, "snapshot": 7, "targets": 30, "root": 30}
"""So many days before its end somebody should do something; it is renewed long before where all is well."""

RENEW: Mapping[str, str] = {
    "timestamp": "lookout registry refresh",
    "snapshot": "lookout registry refresh",
    "targets": "lookout registry publish, channel or yank (they sign the targets anew)",
    "root": "lookout registry rotate",
}


@dataclass(frozen=True)
class Role:
    """One role's metadata. ``believed`` False: as the registry offers it, not as it was verified."""

    version: int
    ends_ms: int
    believed: bool = True


@dataclass(frozen=True)
class Registry:
    """What asking it brought. ``code`` and ``problem``: the error, empty where it is believed.

    ``provisioned`` None: this user may not look. ``anchor``: version of the root that the device was given.
    ``answers``: something there answered with metadata. ``private``: this user may not read what it is shown.
    """

    shown: str
    provisioned: bool | None
    anchor: int = 0
    code: str = ""
    problem: str = ""
    answers: bool = False
    roles: Mapping[str, Role] = field(default_factory=dict)
    took_s: float = 0.0
    private: bool = False


def judge(found: Registry | None, now_ms: int, file: str) -> tuple[Finding, ...]:
    """Return whether it answers, is trusted, and how long its metadata lives; None: none is configured in ``file``."""
    if found is None:
        return (skipped("registry", "registry.url is not set: nothing new can be deployed", "registry.url: https://…"),)
    return (_there(found), _trust(found, file), *_lives(found, now_ms))


def _there(found: Registry) -> Finding:
    if found.answers:
        return ok("registry", f"{found.shown} answers ({found.took_s:.1f} s)", took_s=round(found.took_s, 2))
    if found.private:
        return skipped("registry", f"{found.shown}: {found.problem}", "sudo lookout doctor")
    said, remedy = _parted(found.problem)
    return failed("registry", said, remedy or "check registry.url and the network")


def _trust(found: Registry, file: str) -> Finding:
    name = "registry trust"
    if found.provisioned is None:
        return skipped(name, "this user may not look into the state folder", "sudo lookout doctor")
    if not found.provisioned:
        return failed(
            name,
            "this device trusts no registry yet: nothing new can be deployed",
            f"sudo lookout provision --root root.json -c {file} (root.json in a way that you trust)",
        )
    if found.code == "metadata_expired":
        said = "its metadata has expired: nothing new is resolved; what is stored serves on"
        return failed(
            name, said, f"the publisher: lookout registry refresh; or this device's clock is wrong ({_why(found)})"
        )
    if found.answers and found.problem:
        said, remedy = _parted(found.problem)
        return failed(name, said, remedy or "restore the newest registry")
    if not found.answers:  # it could not be asked
        return ok(name, f"provisioned, root version {found.anchor}", root=found.anchor)
    return ok(name, f"provisioned (root version {found.anchor}), and what it offers is signed", root=found.anchor)


def _why(found: Registry) -> str:
    return found.problem.partition("; ")[0]


def _lives(found: Registry, now_ms: int) -> tuple[Finding, ...]:
    """Return one finding of all roles: how many days each lives; the remedy is of the one that ends first."""
    if not found.roles:
        return ()
    left = {role: (found.roles[role].ends_ms - now_ms) / DAY_MS for role in ROLES if role in found.roles}
    values: dict[str, Value] = {f"days_left.{role}": round(days, 1) for role, days in left.items()}
    said = ", ".join(_span(role, days, found.roles[role]) for role, days in left.items())
    soon = [role for role, days in left.items() if days < SOON_DAYS[role]]
    if not soon:
        return (ok("registry metadata", f"days left: {said}", **values),)
    first = min(soon, key=lambda role: left[role])
    remedy = f"the publisher: {RENEW[first]}"
    make = failed if left[first] < 0 else warning
    return (make("registry metadata", f"days left: {said}", remedy, **values),)


def _span(role: str, days: float, found: Role) -> str:
    if days < 0:
        return f"{role} expired {rfc3339(found.ends_ms)[:10]}"
    return f"{role} {days:.0f}" if days >= 1 else f"{role} {days * 24:.0f} h"


def _parted(problem: str) -> tuple[str, str]:
    """Return what is wrong, and what to do: our messages say both."""
    said, _, remedy = problem.rpartition("; ")
    return (said, remedy) if said else (problem, "")
