"""Two pictures of a finding: SQNR along the network, and the blocks that hurt the answer most."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no display: before pyplot, or rather instead of it

from matplotlib.figure import Figure

from tools.model.debug.analyse import Debugged

_WIDTH = 9.0
_BLOCKS_SHOWN = 15
_TOP_DB = 75.0  # what is exact lies above: the rest would be a flat line
_OWN, _TOTAL, _PROPOSED, _OTHER = "#2a7f9e", "#c8553d", "#c8553d", "#8a9ba8"


def along_the_network(found: Debugged, order: list[str]) -> bytes:
    """Draw SQNR of every quantized activation, in the order of the graph (tensor names), as PNG."""
    position = {name: number for number, name in enumerate(order)}
    layers = sorted(found.layers, key=lambda layer: position.get(layer.tensor, -1))
    figure, axes = _figure(4.0)
    places = range(len(layers))
    axes.plot(places, [layer.own_db for layer in layers], ".", color=_OWN, label="its own rounding")
    totals = [float("nan") if layer.total_db is None else layer.total_db for layer in layers]
    axes.plot(places, totals, "-", color=_TOTAL, label="everything up to it")
    axes.set_xlabel("quantized activations, from input to output")
    axes.set_ylabel("SQNR, dB (more is better)")
    axes.set_ylim(top=_TOP_DB)
    axes.legend(loc="upper right")
    return _png(figure)


def worst_blocks(found: Debugged) -> bytes:
    """Draw the share of the answer's error that each of the worst blocks brings when quantized alone, as PNG."""
    shown = found.blocks[:_BLOCKS_SHOWN][::-1]
    proposed = set(found.proposed)
    figure, axes = _figure(1.0 + 0.3 * len(shown))
    colours = [_PROPOSED if block in proposed else _OTHER for block in shown]
    axes.barh([block.nodes[0] for block in shown], [block.share * 100 for block in shown], color=colours)
    axes.set_xlabel("share of all blocks' error in the answer, % (quantized one at a time)")
    return _png(figure)


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()
