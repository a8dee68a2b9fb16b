"""The road as a table: what each step made of size, nodes, answers and time."""

from __future__ import annotations

from rich.table import Table

from tools.model.optimize.road import Done, Optimized


def table(made: Optimized) -> Table:
    """Return one row a step."""
    shown = Table(title=f"{made.source}, answers compared on {made.samples}", caption="median of one run at one thread")
    shown.add_column("step")
    for name in ("bytes", "nodes", "max difference", "mean", "of the range", "allowed", "ms"):
        shown.add_column(name, justify="right")
    for before, step in zip((None, *made.steps), made.steps, strict=False):
        shown.add_row(step.step, _size(before, step), _nodes(before, step), *_parity(step), _milliseconds(step))
    return shown


def _size(before: Done | None, step: Done) -> str:
    return (
        f"{step.size_bytes:,}"
        if before is None
        else f"{step.size_bytes:,} ({step.size_bytes / before.size_bytes - 1:+.1%})"
    )


def _nodes(before: Done | None, step: Done) -> str:
    if step.nodes is None:
        return "—"
    if before is None or before.nodes is None:
        return str(step.nodes)
    return f"{step.nodes} ({step.nodes - before.nodes:+d})"


def _parity(step: Done) -> tuple[str, str, str, str]:
    if step.parity is None:
        return "", "", "", ""
    found = step.parity
    return f"{found.max_abs:.2g}", f"{found.mean_abs:.2g}", f"{found.judged:.1e}", f"{found.bound:.0e}"


def _milliseconds(step: Done) -> str:
    return "—" if step.latency_ms is None else f"{step.latency_ms:.2f}"
