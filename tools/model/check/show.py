"""The report as tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from tools.model.check.facts import Facts, Tensor
from tools.model.check.report import Checked
from tools.model.check.support import Support
from tools.model.check.targets import Judged

_STYLES = {"fine": "green", "works with doubts": "yellow", "will not run": "red"}
_SIGNS = {"blocks": "✗", "doubt": "?", "note": "·"}
_OPERATORS_SHOWN = 12


def tables(checked: Checked) -> Iterable[Table]:
    """Yield facts, providers, patterns where there are any, and verdicts."""
    yield _facts(checked)
    yield _providers(checked)
    if checked.patterns:
        yield _patterns(checked)
    yield _verdicts(checked.verdicts)


def _facts(checked: Checked) -> Table:
    facts = checked.facts
    table = Table(title=escape(facts.file), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = [
        ("format", f"opset {facts.opset}, IR {facts.ir_version}, by {facts.producer or 'an unknown exporter'}"),
        ("precision", facts.precision + (f", activations {facts.activations}" if facts.activations else "")),
        ("inputs", _ends(facts.inputs)),
        ("outputs", _ends(facts.outputs)),
        ("nodes", f"{facts.nodes}: {_operators(facts)}"),
        ("parameters", f"{facts.parameters:,} in {_megabytes(facts.weight_bytes)}"),
        ("multiply-adds", _macs(facts)),
        ("activations", _activations(facts)),
        ("shape inference", facts.shape_inference),
        ("ONNX Runtime", f"{checked.runtime}: {_tried(checked)}"),
    ]  # fmt: skip
    if facts.external:
        rows.append(("external data", ", ".join(facts.external)))
    for name, words in rows:
        table.add_row(name, escape(words))
    return table


def _tried(checked: Checked) -> str:
    trial = checked.trial
    if trial.problem is not None:
        return trial.problem
    return f"runs in {trial.median_ms:.1f} ms at one thread on {trial.machine}"


def _ends(tensors: tuple[Tensor, ...]) -> str:
    return "; ".join(f"{one.name} {one.dtype} [{', '.join(map(str, one.shape))}]" for one in tensors) or "none"


def _operators(facts: Facts) -> str:
    shown = list(facts.operators.items())[:_OPERATORS_SHOWN]
    more = f", {len(facts.operators) - len(shown)} more" if len(facts.operators) > len(shown) else ""
    return ", ".join(f"{name} {count}" for name, count in shown) + more


def _macs(facts: Facts) -> str:
    unknown = f" and {facts.uncounted} layers of open shape" if facts.uncounted else ""
    return f"{facts.macs / 1e9:.3g} G{unknown}" if facts.macs or facts.uncounted else "none"


def _activations(facts: Facts) -> str:
    return "unknown: shapes are open" if facts.peak_bytes is None else f"{_megabytes(facts.peak_bytes)} at most"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _providers(checked: Checked) -> Table:
    table = Table(title="operators")
    for name in ("provider", "takes", "does not take", "to look at"):
        table.add_column(name, overflow="fold")
    for support in (*checked.providers, *checked.mobile):
        table.add_row(support.provider, _share(support), escape(_missing(support)), escape(_notes(support)))
    return table


def _share(support: Support) -> str:
    pieces = "" if support.partitions is None else f", {support.partitions} pieces"
    return f"{support.taken} of {support.nodes}{pieces}"


def _notes(support: Support) -> str:
    """Return the restrictions; the mobile packages' long ones are left to the JSON."""
    return "; ".join(support.notes) if support.partitions is None else ""


def _missing(support: Support) -> str:
    return ", ".join(f"{name} {count}" for name, count in support.missing.items())


def _patterns(checked: Checked) -> Table:
    table = Table(title="patterns")
    for name in ("pattern", "in the file", "left by ONNX Runtime", ""):
        table.add_column(name)
    for pattern in checked.patterns:
        left = "—" if pattern.left is None else str(pattern.left)
        table.add_row(pattern.name, str(pattern.found), left, escape(pattern.advice) if pattern.left != 0 else "")
    return table


def _verdicts(verdicts: Iterable[Judged]) -> Table:
    table = Table(title="verdicts")
    for name in ("target", "verdict", "why"):
        table.add_column(name, overflow="fold")
    for judged in verdicts:
        reasons = [f"{_SIGNS[reason.weight]} {reason.words}" for reason in judged.reasons]
        time = (
            f"· {judged.measured_ms:.1f} ms at one thread, measured on this machine"
            if judged.measured_ms is not None
            else "· no time is known: measure it there with `lookout model bench --on HOST`"
        )
        table.add_row(
            judged.target, f"[{_STYLES[judged.verdict]}]{judged.verdict}[/]", escape("\n".join([*reasons, time]))
        )
    return table
