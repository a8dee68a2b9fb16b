"""Execution providers: does ONNX Runtime load, and has it what the configuration wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.doctor.findings import Finding, failed, ok, warning
from agent.infer.providers import CPU, choose_providers, full_name

NAME = "providers"


@dataclass(frozen=True)
class Providers:
    """``available``: as ONNX Runtime says, None where it does not load (``problem``: its words).

    ``runs_on``: what each pipeline of the running agent really uses.
    """

    wanted: tuple[str, ...]
    available: tuple[str, ...] | None
    problem: str = ""
    runs_on: Mapping[str, tuple[str, ...]] | None = None


def judge(found: Providers) -> tuple[Finding, ...]:
    """Return whether models run where they should."""
    if found.available is None:
        remedy = "install a build for this Python and NumPy; on a Jetson NVIDIA's for its JetPack: docs/jetson.md"
        return (failed(NAME, f"ONNX Runtime does not load: {found.problem}", remedy),)
    values = {"available": ", ".join(found.available), "wanted": ", ".join(found.wanted)}
    choice = choose_providers(found.wanted, found.available)
    if choice.warnings:
        said, _, remedy = choice.warnings[0].partition("; ")
        more = f" (and {len(choice.warnings) - 1} more)" if len(choice.warnings) > 1 else ""
        return (warning(NAME, f"{said}{more}", remedy, **values),)
    first = full_name(found.wanted[0]) if found.wanted else CPU
    slow = [name for name, used in (found.runs_on or {}).items() if used and first not in used]
    if slow:
        said = f"{', '.join(slow)}: runs on {', '.join((found.runs_on or {})[slow[0]])}, although {first} is there"
        return (
            warning(NAME, said, "lookout logs --part serve says why; the release may have no variant for it", **values),
        )
    wanted = f"; first choice: {first}" if found.wanted else ""
    return (ok(NAME, f"{', '.join(found.available)}{wanted}", **values),)
