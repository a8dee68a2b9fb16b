"""The configuration: is it right, and is it what runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.doctor.findings import Finding, Value, failed, ok, skipped, warning
from agent.errors import Problem
from agent.supervise.status import ConfigStatus

NAME = "configuration"


def judge(
    file: str | None,
    problems: Sequence[Problem],
    counts: tuple[int, int],
    running: ConfigStatus | None,
    notes: str = "",
) -> tuple[Finding, ...]:
    """Return what is so of ``file`` (None: there is none), and of what the agent runs.

    ``counts``: of cameras and pipelines; ``notes``: what of the remote overlay could not be taken into account.
    """
    if file is None:
        said = "none was named, and there is no /etc/lookout/agent.yaml: the checks that need one are left out"
        return (skipped(NAME, said, "lookout doctor -c agent.yaml"),)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return (failed(NAME, f"{file}: {problems[0]}{more}", _remedy(file, problems), problems=len(problems)),)
    said = f"{file}: {counts[0]} camera{'s' * (counts[0] != 1)}, {counts[1]} pipeline{'s' * (counts[1] != 1)}"
    if notes:
        said += f"; {notes}"
    if running is None:
        return (warning(NAME, said, "sudo lookout doctor") if notes else ok(NAME, said),)
    values: dict[str, Value] = {"revision": running.revision, "state": running.state}
    said += f"; revision {running.revision} runs"
    if running.errors or running.state == "reverted":
        why = running.errors[0] if running.errors else f"the last change was undone: {running.reason}"
        return (warning(NAME, f"{said}; refused: {why}", f"lookout check -c {file}; lookout status", **values),)
    if running.restart_needed:
        keys = ", ".join(running.restart_needed)
        return (warning(NAME, f"{said}; after a restart: {keys}", "sudo systemctl restart lookout", **values),)
    if notes:
        return (warning(NAME, said, "sudo lookout doctor", **values),)
    return (ok(NAME, said, **values),)


def _remedy(file: str, problems: Sequence[Problem]) -> str:
    unreadable = any("Permission denied" in problem.message for problem in problems)
    return "sudo lookout doctor" if unreadable else f"lookout check -c {file} lists all of it"
