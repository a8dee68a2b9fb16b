"""Plots as PNG bytes, drawn without a display: lines, bars beside one another, and a matrix of counts.

Colours are told apart by people who cannot tell red from green; the background is white on light and dark pages alike.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, one a series, in this order everywhere."""

_DPI = 110
_MOST_COUNTED = 25  # larger matrices have no room for numbers in their cells

Line = tuple[Sequence[float], Sequence[float]]


def lines(
    series: Mapping[str, Line],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> bytes:
    """Draw one line a series: name to (x values, y values)."""
    figure, axes = _figure(6.5, 4.0)
    for number, (name, (x, y)) in enumerate(series.items()):
        axes.plot(x, y, label=_short(name), color=COLOURS[number % len(COLOURS)], linewidth=1.8)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=x_range, ylim=y_range)
    axes.grid(color="#e3e6e9", linewidth=0.8)
    if len(series) > 1:
        axes.legend(frameon=False)
    return _png(figure)


def bars(names: Sequence[str], series: Mapping[str, Sequence[float]], *, x_label: str) -> bytes:
    """Draw horizontal bars: for each of ``names`` (top first) one bar a series, side by side."""
    thick = 0.8 / max(1, len(series))
    figure, axes = _figure(6.5, 1.0 + len(names) * (0.16 + 0.13 * len(series)))
    places = np.arange(len(names))
    for number, (name, values) in enumerate(series.items()):
        offset = (number - (len(series) - 1) / 2) * thick
        axes.barh(places + offset, values, height=thick, label=_short(name), color=COLOURS[number % len(COLOURS)])
    axes.set_yticks(places, [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    axes.set_xlabel(x_label)
    axes.grid(axis="x", color="#e3e6e9", linewidth=0.8)
    axes.set_axisbelow(True)
    if len(series) > 1:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(series))
    return _png(figure)


def matrix(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, x_label: str, y_label: str) -> bytes:
    """Draw counts ``(rows, columns)``: a cell is the darker the greater its share of its row."""
    side = 2.0 + 0.3 * max(counts.shape)
    figure, axes = _figure(side, side * max(0.5, counts.shape[0] / counts.shape[1]))
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [_short(name) for name in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [_short(name) for name in rows])
    axes.set(xlabel=x_label, ylabel=y_label)
    if max(counts.shape) <= _MOST_COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.55 else "#1c2128"
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=7, color=colour)
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _short(name: str) -> str:
    short = name if len(name) <= 24 else name[:23] + "…"
    return short.replace("$", r"\$")  # else matplotlib reads a formula


def _png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()
