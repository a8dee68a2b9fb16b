"""The unit of systemd, and the agents that run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.doctor.findings import Finding, Value, failed, ok, skipped, warning
from agent.supervise.status import Status

MANY_RESTARTS = 3
LOG = "journalctl -u lookout -n 50"


@dataclass(frozen=True)
class Service:
    """``manager``: systemd runs this host. ``unit``: its properties, None where it cannot be asked."""

    manager: bool
    unit: Mapping[str, str] | None
    problem: str = ""
    answers: bool = False


@dataclass(frozen=True)
class Running:
    """A process that runs an agent."""

    pid: int
    words: str


@dataclass(frozen=True)
class Agents:
    """``status``: what the agent at ``socket`` answered; else ``silence`` says why there is no answer.

    ``forbidden``: this user may not ask. ``others``: every process that looks like an agent; ``version`` is this
    command's own.
    """

    socket: str
    status: Status | None
    silence: str
    forbidden: bool
    others: tuple[Running, ...]
    version: str


def judge_service(found: Service) -> tuple[Finding, ...]:
    """Return how the unit stands."""
    name = "service"
    if not found.manager:
        return (skipped(name, "systemd does not run this host"),)
    if found.unit is None:
        return (skipped(name, f"systemd does not answer: {found.problem}"),)
    unit = found.unit
    if unit.get("LoadState") == "not-found":
        remedy = "sudo systemd/install.sh --config agent.yaml --root root.json"
        if found.answers:
            return (skipped(name, "not installed; an agent that was started by hand runs"),)
        return (warning(name, "not installed: nothing starts the agent with this host", remedy),)
    return (_unit(name, unit),)


def _unit(name: str, unit: Mapping[str, str]) -> Finding:
    active, enabled = unit.get("ActiveState", ""), unit.get("UnitFileState", "")
    restarts = int(unit["NRestarts"]) if unit.get("NRestarts", "").isdecimal() else 0
    values: dict[str, Value] = {"active": active, "enabled": enabled, "restarts": restarts}
    detail = f" ({unit['SubState']})" if unit.get("SubState") else ""
    said = f"{active}{detail}, {enabled}"
    said += f", restarted {restarts} times" if restarts else ""
    text = unit.get("StatusText", "")
    said += f": {text}" if text else ""
    if unit.get("LoadState") == "masked" or enabled == "masked":
        return failed(name, "masked: it cannot be started", "sudo systemctl unmask lookout", **values)
    if active == "activating" and unit.get("SubState") == "start":
        return warning(name, f"{said}; it is being started", LOG, **values)
    if active != "active":
        result = unit.get("Result", "")
        why = f" (its last end: {result})" if result not in ("", "success") else ""
        return failed(name, f"{said}{why}", f"{LOG}; then sudo systemctl restart lookout", **values)
    if restarts >= MANY_RESTARTS:
        return warning(name, said, f"{LOG} says why it ended", **values)
    if enabled not in ("enabled", "enabled-runtime", "static", "linked"):
        return warning(name, f"{said}: it does not start with this host", "sudo systemctl enable lookout", **values)
    return ok(name, said, **values)


def judge_agents(found: Agents) -> tuple[Finding, ...]:
    """Return whether an agent answers, what it says of itself, and whether it is the only one."""
    return (_agent(found), *_others(found))


def _agent(found: Agents) -> Finding:
    name, status = "agent", found.status
    if found.forbidden:
        return skipped(name, found.silence, "sudo lookout doctor, or join the group lookout")
    if status is None:
        remedy = "sudo systemctl start lookout, or lookout run -c agent.yaml"
        return warning(name, f"none runs: {found.silence}", remedy, running=False)
    values: dict[str, Value] = {"running": True, "pid": status.pid, "version": status.version, "device": status.device}
    who = f"{status.device}, lookout {status.version}, pid {status.pid}"
    if status.degraded:
        remedy = "the other rows say more; lookout logs --level warning"
        return failed(name, f"{who}, degraded: {'; '.join(status.degraded)}", remedy, **values)
    if status.version != found.version:
        said = f"{who} runs on, while version {found.version} is installed"
        return warning(name, said, "sudo systemctl restart lookout", **values)
    return ok(name, f"{who}: all is well", **values)


def _others(found: Agents) -> tuple[Finding, ...]:
    if len(found.others) < 2:
        return ()
    named = ", ".join(f"{one.pid} ({one.words})" for one in found.others[:4])
    more = f" and {len(found.others) - 4} more" if len(found.others) > 4 else ""
    said = f"{len(found.others)} agents on this host: {named}{more}"
    remedy = "fine where each has cameras, paths.state and a device.id of its own; else stop one: kill PID"
    return (warning("other agents", said, remedy, agents=len(found.others)),)
