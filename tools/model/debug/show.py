"""A finding for people: a table on the terminal, a page with pictures, and the arguments for ``quantize``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import onnx
from rich.table import Table

from tools.model.debug.analyse import Debugged
from tools.model.debug.errors import MOST_DB

_BLOCKS_SHOWN = 12
_ROWS_ON_PAGE = 60


def decibels(value: float | None) -> str:
    """Say an SQNR."""
    if value is None:
        return "—"
    return "exact" if value >= MOST_DB else f"{value:.1f}"


def arguments(found: Debugged) -> str:
    """Return what to add to ``lookout model quantize``."""
    return " ".join(f"--keep-float {shlex.quote(name)}" for name in found.kept_float)


def advice(found: Debugged) -> str:
    """Say in one paragraph what the finding means."""
    answer = f"The answer of {found.int8_model} has an SQNR of {decibels(found.answer_db)} dB"
    if not found.proposed:
        return (
            f"{answer}. No block brings a tenth of the error: leaving single blocks float will not help much; "
            "try other ranges (percentile, entropy) or another model."
        )
    share = sum(block.share for block in found.proposed)
    names = ", ".join(" + ".join(block.nodes) for block in found.proposed)
    return (
        f"{answer}; with {names} left float {decibels(found.proposed_db)} dB. Quantized one at a time, these bring "
        f"{share:.0%} of all blocks' error. What that is worth in accuracy, `lookout model evaluate` measures."
    )


def block_table(found: Debugged) -> Table:
    """Return the worst blocks as a table."""
    table = Table(title=f"{found.int8_model} against {found.float_model}, {found.images} images: worst blocks first")
    table.add_column("block")
    table.add_column("operators")
    table.add_column("answer's SQNR when\nonly it is INT8, dB", justify="right")
    table.add_column("share of\nthe error", justify="right")
    for block in found.blocks[:_BLOCKS_SHOWN]:
        style = "bold" if block in found.proposed else ""
        table.add_row(" ".join(block.nodes), " ".join(block.operators), decibels(block.alone_db), f"{block.share:.1%}",
                      style=style)  # fmt: skip
    return table


def write_page(found: Debugged, float_path: Path, target: Path) -> None:
    """Write the finding as one HTML file. Raises :class:`~agent.errors.StorageError`."""
    from tools.model.debug import plots  # matplotlib only where a page is asked for
    from tools.model.report.page import Page

    page = Page(f"INT8 error of {found.int8_model}")
    page.text(advice(found))
    if found.proposed:
        page.text(f"lookout model quantize … {arguments(found)}")
    page.heading("Blocks: what each does to the answer")
    page.picture(plots.worst_blocks(found), "Quantized one at a time; red: proposed to be left float.", "bar chart")
    page.table(["block", "operators", "answer's SQNR, dB", "share"], _block_rows(found))
    page.heading("Activations")
    order = [name for node in onnx.load(float_path).graph.node for name in node.output]
    page.picture(
        plots.along_the_network(found, order), "SQNR of every quantized activation, from input to output.", "plot"
    )
    page.table(
        ["made by", "operator", "everything up to it, dB", "its own rounding, dB"],
        [
            [row.node, row.operator, decibels(row.total_db), decibels(row.own_db)]
            for row in found.layers[:_ROWS_ON_PAGE]
        ],
        caption=_caption(len(found.layers)),
    )
    page.heading("Weights")
    page.table(
        ["node", "operator", "tensor", "SQNR, dB"],
        [[row.node, row.operator, row.tensor, decibels(row.db)] for row in found.weights[:_ROWS_ON_PAGE]],
        caption=_caption(len(found.weights)),
    )
    page.write(target)


def _block_rows(found: Debugged) -> Sequence[Sequence[str]]:
    return [
        [" ".join(block.nodes), " ".join(block.operators), decibels(block.alone_db), f"{block.share:.1%}"]
        for block in found.blocks[:_ROWS_ON_PAGE]
    ]


def _caption(count: int) -> str:
    return f"The worst {min(count, _ROWS_ON_PAGE)} of {count}."
