"""A report as a person reads it: a table, and a plot."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tools.model.bench.records import Figures, Report

Column = Callable[[Figures], str]


def table(report: Report) -> Table:
    """Return a row a cell, milliseconds and 10^6 bytes; a column that says the same in every row is left out.

    The ratio is the first model's p50 over this one's: same host, provider and threads.
    """
    shown = Table(title="session.run, milliseconds", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    named: dict[str, Column] = {
        "host": lambda row: row.host,
        "model": lambda row: row.model.removesuffix(".onnx"),
        "provider": lambda row: row.provider.removesuffix("ExecutionProvider"),
        "threads": lambda row: "-" if row.threads is None else str(row.threads),
    }
    names = {name: of for name, of in named.items() if name == "model" or len({of(row) for row in report.figures}) > 1}
    for name in names:
        shown.add_column(name, overflow="fold")
    for column in (*NUMBERS, "ratio"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row, ratio in zip(report.figures, ratios(report.figures), strict=True):
        numbers = [of(row) for of in NUMBERS.values()]
        shown.add_row(*(of(row) for of in names.values()), *numbers, "-" if ratio is None else f"{ratio:.2f}x")
    return shown


def ratios(rows: Sequence[Figures]) -> Iterator[float | None]:
    """Yield how many times faster each is than the first of its host, provider and threads; None: it is the first."""
    first: dict[tuple[str, str, int | None], Figures] = {}
    for row in rows:
        reference = first.setdefault((row.host, row.provider, row.threads), row)
        yield None if reference is row or not row.p50_ms else reference.p50_ms / row.p50_ms


def hosts_table(report: Report) -> Table:
    """Return where it was measured."""
    shown = Table(title="hosts", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("host", "machine", "processor", "cores", "ONNX Runtime", "how"):
        shown.add_column(column)
    for host in report.hosts:
        shown.add_row(host.name, host.machine, host.cpu, str(host.cores), host.onnxruntime, host.how)
    return shown


def plot(report: Report) -> bytes:
    """Return a PNG: a bar a cell from 0 to p50, a line on to p95 and a dot at p99; each host has its colour."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(report.figures)
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.45 * len(rows)), layout="constrained")
    colours = {host.name: f"C{number}" for number, host in enumerate(report.hosts)}
    for place, row in enumerate(rows):
        axes.barh(place, row.p50_ms, color=colours.get(row.host, "C0"), height=0.6)
        axes.plot([row.p50_ms, row.p95_ms], [place, place], color="black", linewidth=1.5)
        axes.plot([row.p99_ms], [place], "o", color="black", markersize=3)
        axes.annotate(
            f"{row.p50_ms:.1f}",
            (row.p50_ms, place),
            (-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color="white",
            fontsize=9,
        )
    axes.set_yticks(range(len(rows)), [_label(row, many=len(report.hosts) > 1) for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(left=0, right=1.12 * max(row.p99_ms for row in rows))
    axes.set_xlabel("milliseconds a run: bar to p50, line to p95, dot at p99")
    axes.set_title(f"session.run, {report.rounds} interleaved rounds, one process a cell")
    output = io.BytesIO()
    figure.savefig(output, format="png", dpi=110)
    plt.close(figure)
    return output.getvalue()


def _label(row: Figures, *, many: bool) -> str:
    words = [row.model, row.provider.removesuffix("ExecutionProvider")]
    if row.threads is not None:
        words.append(f"{row.threads} thr.")
    return " · ".join([row.host, *words] if many else words)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


NUMBERS: dict[str, Column] = {
    "p50": lambda row: f"{row.p50_ms:.2f}",
    "p95": lambda row: f"{row.p95_ms:.2f}",
    "p99": lambda row: f"{row.p99_ms:.2f}",
    "runs/s": lambda row: f"{row.throughput_s:.1f}",
    "load": lambda row: _number(row.load_ms),
    "MB": lambda row: _number(row.memory_mb),
}
