"""What the running agent says of its pipelines: does a model serve, and how did the last deployment end. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.doctor.findings import Finding, Value, blinding, failed, ok, warning
from agent.supervise.status import PipelineStatus

WRONG = frozenset({"failed", "rolled_back"})
WAITING = frozenset({"waiting_for_clock", "deferred"})


def judge(found: Sequence[PipelineStatus]) -> tuple[Finding, ...]:
    """Return a finding for each."""
    return tuple(_pipeline(one) for one in found)


def _pipeline(found: PipelineStatus) -> Finding:
    name = f"pipeline {found.name}"
    values: dict[str, Value] = {"deployment": found.deployment, "model": found.model, "version": found.version}
    wanted = f" {found.reference}" if found.reference else ""
    state = f"{found.deployment}{wanted}" + (f": {found.reason}" if found.reason else "")
    if found.model is None:
        if found.deployment in ("idle", *WRONG):
            remedy = f"pipelines.{found.name}.model: NAME@stable, or the command model/deploy; pipelines.*.factory"
            return failed(name, f"no model serves ({state})", remedy, **values)
        return blinding(
            name, f"no model serves yet ({state})", "look again in a moment; lookout status --watch", **values
        )
    serves = f"{found.model}:{found.version} serves on {', '.join(found.providers) or 'an unknown provider'}"
    if found.latency_ms_p95 is not None:
        serves += f", p95 {found.latency_ms_p95:.0f} ms"
        values["latency_ms_p95"] = found.latency_ms_p95
    if found.deployment in WRONG:
        return warning(name, f"{serves}; the last deployment {state}", "docs/bad-models.md", **values)
    if found.deployment in WAITING:
        return warning(name, f"{serves}; {state}", "see the row of the clock, or wait", **values)
    return ok(name, serves, **values)
