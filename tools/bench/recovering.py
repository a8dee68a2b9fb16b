"""``lookout bench recovery``: what :mod:`tools.bench.recovery` measures, as figures."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import typer

from tools.bench.case import CRITICAL, Bench, Case, Figure, Outcome, Wanted
from tools.bench.footage import VIDEO
from tools.bench.recovery import PACES, PaceReport, recovery_case


class Settings(msgspec.Struct, frozen=True):
    """How often, and with which cameras."""

    kills: Annotated[int, typer.Option(min=1, help="kills and rollbacks of each kind")] = 8
    frames: Annotated[int, typer.Option(min=2, help="results before and after each")] = 20
    pace: Annotated[Literal["lossless", "live", "both"], typer.Option(help="kind of camera")] = "lossless"


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure."""
    paces = PACES if settings.pace == "both" else (settings.pace,)
    report = recovery_case(
        bench.shared, kills=settings.kills, frames=settings.frames, paces=paces, progress=bench.progress
    )
    return Outcome(figures=tuple(figure for one in report.paces for figure in _figures(one)), report=report)


def _figures(one: PaceReport) -> tuple[Figure, ...]:
    warm, cold, back = one.warm, one.cold, one.rollback
    camera = "a camera that waits" if one.pace == "lossless" else "a live camera"
    return (
        Figure(f"{camera}: frame time", one.steady.median_ms, "ms"),
        Figure(
            f"{camera}: worker killed, previous warm: longest to the next result",
            warm.max_ms,
            "ms",
            samples=warm.next_ms,
            wanted=Wanted(warm.allowed_ms, "at_most"),
            note="a frame time and 50 ms",
        ),
        Figure(f"{camera}: the only worker killed: to its successor's result", cold.median_ms, "ms", cold.next_ms),
        Figure(f"{camera}: of it beside the worker's start", cold.beyond_median_ms, "ms"),
        Figure(f"{camera}: rollback in probation: gap", back.gap_median_ms, "ms", back.gaps_ms),
        Figure(f"{camera}: rollback: decision to result", back.decided_median_ms, "ms", back.decided_ms),
        Figure(f"{camera}: frames lost", warm.lost + cold.lost + back.lost, wanted=Wanted(0, "at_most")),
    )


CASE = Case(
    name="recovery",
    title="Seeing again",
    help="Kill workers and reject candidates, with a camera that waits or a live one; measure the time to see again.",
    settings=Settings(),
    quick=Settings(kills=1, frames=10),
    run=run,
    needs=(VIDEO, "models/yolox_nano.onnx", "models/nanodet_m_320.onnx"),
    log_level=CRITICAL,
)
