"""``lookout bench int8``: what :mod:`tools.bench.int8` measures, as figures. About ten minutes, so not among all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tools.bench.case import Bench, Case, Figure, Outcome, TextTable


class Settings(msgspec.Struct, frozen=True):
    """Where to go on from."""

    cache: Annotated[Path | None, typer.Option(help="take what was measured already from here")] = None


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure. Raises :class:`~agent.errors.LookoutError`."""
    from tools.bench.int8 import int8_case  # the workshop's extra, needed by no other case

    report = int8_case(bench.shared, progress=bench.progress, cache=settings.cache)
    rows, figures = [], []
    for row in report.rows:
        lost = "" if row.figures is None else f"{row.map_lost:.2f}"
        agreement = "" if row.figures is None else f"{row.figures.agreement:.3f}"
        fast = "not installed" if row.speed_up is None else f"{row.speed_up:.2f}"
        rows.append((row.model, row.way, lost, agreement, fast, f"{row.seconds:.0f}"))
        figures.append(Figure(f"{row.model}, {row.way}: times as fast as float", row.speed_up, "x", note=row.note))
    columns = ("model", "way", "mAP lost", "agreement", "times as fast", "seconds")
    return Outcome(
        figures=tuple(figures),
        report=report,
        tables=(TextTable(f"INT8, cross-fitted on {report.pictures} pictures", columns, tuple(rows)),),
    )


CASE = Case(
    name="int8",
    title="INT8",
    help="Quantize two detectors by the defaults of ONNX Runtime and NNCF, and by our search; about ten minutes.",
    settings=Settings(),
    run=run,
    in_all=False,
    needs=("data/coco128", "models/yolox_nano.onnx", "models/nanodet_m_320.onnx"),
)
