"""Swaps in lossless mode: what they cost, against how long a frame takes when nothing happens.

*Frame time* is the interval between two results while no worker is being loaded or closed. The gap is DESIGN's: from
the last result of the old worker to the first of the new one, less one steady interval, never negative.
"""

from __future__ import annotations

import itertools
import statistics
import threading
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.clock import NS_PER_MS
from tools.bench.case import Bench, Case, Figure, Outcome, Progress, Wanted
from tools.bench.footage import VIDEO, lossless
from tools.bench.models import NANODET_M, YOLOX_NANO
from tools.bench.quiet import Others
from tools.bench.rig import Rig

GAP_MEDIAN_WANTED, GAP_MAX_WANTED = 0.2, 1.0
"""Gaps over the frame time's 99th percentile."""


class Settings(msgspec.Struct, frozen=True):
    """How often, and how far apart."""

    swaps: Annotated[int, typer.Option(min=1, help="swaps, to and fro")] = 20
    frames: Annotated[int, typer.Option(min=1, help="results between two swaps")] = 30


class SwapReport(msgspec.Struct, frozen=True):
    """Gaps of swaps in ms, and whether every frame was answered exactly once and in order.

    A gap of 0 means that the new worker's first result came no later than a steady interval after the old one's last.
    ``steady_p99_ms`` is the frame time's 99th percentile; the ratios are the gaps over it. ``pause_max_ms`` is the
    longest time between any two results of the whole run, the loading of workers beside the current one included.
    ``others_cores`` is what processes other than the bench's used meanwhile.
    """

    swaps: int
    frames: int
    gaps_ms: tuple[float, ...]
    gap_median_ms: float
    gap_max_ms: float
    interval_median_ms: float
    steady_p99_ms: float
    gap_median_ratio: float
    gap_max_ratio: float
    pause_max_ms: float
    lost: int
    in_order: bool
    others_cores: float


def swap_case(shared: Path, *, swaps: int, frames: int, progress: Progress) -> SwapReport:
    """Swap between YOLOX-Nano and NanoDet, a fresh worker each time, ``frames`` results between two swaps."""
    steady: list[float] = []
    with Others() as others, Rig({"plaza": lossless(shared)}) as rig:
        rig.swap(rig.start_worker(YOLOX_NANO.load(shared)))
        rig.open_cameras()
        rig.wait_results(frames)
        for number in range(1, swaps + 1):
            model = NANODET_M if number % 2 else YOLOX_NANO
            worker = rig.start_worker(model.load(shared), candidate=True)
            worker.promote()
            rig.swap(worker)
            rig.wait_swaps(number + 1)
            begin = len(rig.results)
            rig.wait_results(begin + frames)
            steady += _intervals(rig.times_ns[begin : begin + frames])
            _close_retired(rig)
            progress(f"swap {number} of {swaps}: gap {rig.swaps[-1].gap_ms:.1f} ms")
        statistics_ = rig.pipeline.statistics()
        sequence = [result.frame.sequence for result in rig.results]
        times_ns = rig.times_ns[: len(sequence)]
        gaps = tuple(swap.gap_ms for swap in rig.swaps if swap.gap_ms is not None)
    p99_ms = statistics.quantiles(steady, n=100)[98]
    return SwapReport(
        swaps=len(gaps),
        frames=len(sequence),
        gaps_ms=gaps,
        gap_median_ms=statistics.median(gaps),
        gap_max_ms=max(gaps),
        interval_median_ms=statistics.median(steady),
        steady_p99_ms=p99_ms,
        gap_median_ratio=statistics.median(gaps) / p99_ms,
        gap_max_ratio=max(gaps) / p99_ms,
        pause_max_ms=max(_intervals(times_ns)),
        lost=statistics_.lost,
        in_order=sequence == list(range(len(sequence))),
        others_cores=others.cores,
    )


def _intervals(times_ns: list[int]) -> list[float]:
    return [(b - a) / NS_PER_MS for a, b in itertools.pairwise(times_ns)]


def _close_retired(rig: Rig) -> None:
    """Close what the pipeline handed back, away from here, as the agent does."""
    for worker in rig.retired_workers:
        threading.Thread(target=worker.close, name=f"lookout-close-{worker.name}").start()
    rig.retired_workers.clear()


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure."""
    report = swap_case(bench.shared, swaps=settings.swaps, frames=settings.frames, progress=bench.progress)
    return Outcome(
        figures=(
            Figure(
                "gap, median, over the frame time's p99",
                report.gap_median_ratio,
                "x",
                wanted=Wanted(GAP_MEDIAN_WANTED, "at_most"),
            ),
            Figure(
                "gap, longest, over the frame time's p99",
                report.gap_max_ratio,
                "x",
                wanted=Wanted(GAP_MAX_WANTED, "at_most"),
            ),
            Figure("gap", report.gap_median_ms, "ms", report.gaps_ms),
            Figure("frame time, median", report.interval_median_ms, "ms"),
            Figure("frame time, p99", report.steady_p99_ms, "ms"),
            Figure("longest pause of the run", report.pause_max_ms, "ms"),
            Figure("frames lost", report.lost, wanted=Wanted(0, "at_most")),
            Figure("frames out of order", 0 if report.in_order else 1, wanted=Wanted(0, "at_most")),
        ),
        report=report,
        others_cores=report.others_cores,
    )


CASE = Case(
    name="swap",
    title="Swaps under load",
    help="Swap between YOLOX-Nano and NanoDet in lossless mode and measure the gaps.",
    settings=Settings(),
    quick=Settings(swaps=4, frames=15),
    run=run,
    needs=(VIDEO, "models/yolox_nano.onnx", "models/nanodet_m_320.onnx"),
)
