"""The broker, as far as the way to it went: name, port, certificate, login. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agent.clock import rfc3339
from agent.doctor.findings import Finding, Value, failed, ok, skipped, warning
from agent.supervise.status import BrokerStatus

DAY_MS = 24 * 3600 * 1000
SOON_DAYS = 14.0
SOON_SHARE = 0.25

Step = Literal["settings", "name", "port", "certificate", "login"]
STEPS: tuple[Step, ...] = ("name", "port", "certificate", "login")


@dataclass(frozen=True)
class Certificate:
    """One on the way. ``whose``: the broker's, its authority's (mqtt.tls.ca_file), this device's (cert_file)."""

    whose: str
    subject: str
    begins_ms: int
    ends_ms: int


@dataclass(frozen=True)
class Way:
    """How far it went. ``stopped``: the step that failed, ``problem`` why, in words; None: all the way.

    ``private``: this user may not read what the connection shows (``stopped`` is then settings). ``protocol``: what the
    broker speaks. ``agent``: how the running agent stands with it.
    """

    broker: str
    tls: bool
    stopped: Step | None = None
    problem: str = ""
    private: bool = False
    addresses: tuple[str, ...] = ()
    tls_version: str = ""
    certificates: tuple[Certificate, ...] = ()
    protocol: str = ""
    wanted_protocol: str = "auto"
    client_id: str = ""
    username: str = ""
    agent: BrokerStatus | None = None


def judge(found: Way | None, now_ms: int) -> tuple[Finding, ...]:
    """Return a finding for each step; ``found`` None: no broker is configured."""
    if found is None:
        return (skipped("broker", "mqtt.host is not set: the device detects and reports to nobody"),)
    if found.stopped == "settings":
        return (_settings(found),)
    steps = [step for step in STEPS if step != "certificate" or found.tls]
    findings = []
    for step in steps:
        if step == found.stopped:
            findings.append(_broken(step, found))
            break
        findings.append(_passed(step, found, now_ms))
    return tuple(findings)


def _settings(found: Way) -> Finding:
    if not found.private:
        return failed("broker", found.problem, "put the file right, or the key that names it")
    connected = found.agent is not None and found.agent.state == "connected"
    said = f"{found.broker}: this user may not read its credentials"
    said += "; the agent is connected" if connected else f" ({found.problem})"
    return skipped("broker", said, "sudo lookout doctor")


def _broken(step: Step, found: Way) -> Finding:
    said, _, remedy = found.problem.partition("; ")
    remedy = remedy or "check mqtt.host and mqtt.port"
    if step == "login" and found.agent is not None and found.agent.state == "connected":
        note = "the agent itself is connected: the broker may take no other client id than the device's"
        return warning(f"broker {step}", f"{said} (as {found.client_id})", f"{remedy}; {note}")
    return failed(f"broker {step}", said, remedy)


def _passed(step: Step, found: Way, now_ms: int) -> Finding:
    name = f"broker {step}"
    if step == "name":
        return ok(name, f"{found.broker} is {', '.join(found.addresses[:3])}", addresses=", ".join(found.addresses))
    if step == "port":
        return ok(name, f"{found.broker} takes connections")
    if step == "certificate":
        return lifetimes(name, found.certificates, now_ms, f"{found.tls_version}, its chain is trusted")
    return _login(name, found)


def _login(name: str, found: Way) -> Finding:
    who = f"as {found.username}" if found.username else "without a user name"
    said = f"taken {who}, MQTT {found.protocol} (client id {found.client_id}: the agent's session is left alone)"
    values: dict[str, Value] = {"protocol": found.protocol}
    agent = found.agent
    if agent is not None and agent.state != "connected":
        why = f": {agent.reason}" if agent.reason else ""
        remedy = "lookout logs --part link; the agent may use other credentials than this file says"
        return warning(name, f"{said}, yet the agent is not connected{why}", remedy, **values)
    if found.wanted_protocol not in ("auto", found.protocol):
        said = f"speaks MQTT {found.protocol}, while mqtt.protocol is {found.wanted_protocol}"
        return failed(name, said, "mqtt.protocol: auto", **values)
    if not found.tls and found.username:
        return warning(
            name, f"{said}; the password crosses the network unencrypted", "set mqtt.tls and mqtt.port", **values
        )
    return ok(name, said, **values)


def lifetimes(name: str, certificates: Sequence[Certificate], now_ms: int, said: str) -> Finding:
    """Return how long the certificate lives that ends first."""
    if not certificates:
        return ok(name, said)
    first = min(certificates, key=lambda one: one.ends_ms)
    days = (first.ends_ms - now_ms) / DAY_MS
    shown = f"{first.whose} certificate ({first.subject})"
    values: dict[str, Value] = {
        f"days_left.{one.whose}": round((one.ends_ms - now_ms) / DAY_MS, 1) for one in certificates
    }
    if days < 0:
        return failed(name, f"{shown} ended {rfc3339(first.ends_ms)[:10]}", "have it renewed", **values)
    whole = (first.ends_ms - first.begins_ms) / DAY_MS
    ends = f"{said}; {shown} ends in {days:.0f} days ({rfc3339(first.ends_ms)[:10]})"
    if days < min(SOON_DAYS, whole * SOON_SHARE):
        return warning(name, ends, "have it renewed; the agent takes it up by itself", **values)
    return ok(name, ends, **values)
