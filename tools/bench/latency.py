"""From the camera to the result at half of the load that the worker could take: how long, and how much of it waiting.

The film plays at half the frame rate that one YOLOX-Nano worker reaches here flat out, which is measured first. The
latency is the product's own: from the moment at which capture has a frame to the result at the sinks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.process.messages import SourceSpec
from tools.bench.case import Bench, Case, Figure, Outcome, Wanted
from tools.bench.footage import VIDEO, lossless
from tools.bench.models import YOLOX_NANO
from tools.bench.quiet import Others
from tools.bench.rig import Rig

WANTED_TIMES = 2.0
WARM_FRAMES = 40
LOAD = 0.5


class Settings(msgspec.Struct, frozen=True):
    """How long is measured."""

    frames: Annotated[int, typer.Option(min=100, help="frames at half load")] = 600
    threads: Annotated[int, typer.Option(min=1, help="ONNX Runtime's threads")] = 1


class LatencyReport(msgspec.Struct, frozen=True):
    """Milliseconds. ``inference``: preprocess, run and postprocess of the frames; ``latency``: camera to result."""

    flat_out_fps: float
    fps: float
    frames: int
    skipped: int
    inference_p50_ms: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    others_cores: float

    @property
    def times(self) -> float:
        """The p99 over the inference time."""
        return self.latency_p99_ms / self.inference_p50_ms


def latency_case(shared: Path, settings: Settings, progress: Callable[[str], None]) -> LatencyReport:
    """Measure."""
    with Others() as others:
        flat_out_fps = _flat_out(shared, settings.threads)
        fps = LOAD * flat_out_fps
        progress(f"flat out {flat_out_fps:.0f} fps; now {settings.frames} frames at {fps:.0f}")
        source = SourceSpec("file", str(shared / VIDEO), pace="realtime", loop=True, fps=fps)
        with Rig({"plaza": source}) as rig:
            rig.swap(rig.start_worker(YOLOX_NANO.load(shared, threads=settings.threads)))
            rig.open_cameras()
            rig.wait_results(WARM_FRAMES)
            skipped = rig.pipeline.statistics().skipped
            begin = len(rig.results)
            rig.wait_results(begin + settings.frames, timeout_s=60 + 4 * settings.frames / fps)
            seen = rig.results[begin : begin + settings.frames]
            skipped = rig.pipeline.statistics().skipped - skipped
    ages = statistics.quantiles([one.latency_ms for one in seen], n=100, method="inclusive")
    inference = [one.timings.preprocess_ms + one.timings.run_ms + one.timings.postprocess_ms for one in seen]
    return LatencyReport(
        flat_out_fps=flat_out_fps,
        fps=fps,
        frames=len(seen),
        skipped=skipped,
        inference_p50_ms=statistics.median(inference),
        latency_p50_ms=ages[49],
        latency_p95_ms=ages[94],
        latency_p99_ms=ages[98],
        others_cores=others.cores,
    )


def _flat_out(shared: Path, threads: int) -> float:
    with Rig({"plaza": lossless(shared)}) as rig:
        rig.swap(rig.start_worker(YOLOX_NANO.load(shared, threads=threads)))
        rig.open_cameras()
        rig.wait_results(WARM_FRAMES)
        began, before = time.perf_counter(), len(rig.results)
        rig.wait_results(before + 3 * WARM_FRAMES)
        return (len(rig.results) - before) / (time.perf_counter() - began)


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure and tell."""
    report = latency_case(bench.shared, settings, bench.progress)
    figures = (
        Figure(
            "camera to result, p99, over the inference time", report.times, "x", wanted=Wanted(WANTED_TIMES, "at_most")
        ),
        Figure("camera to result, p50", report.latency_p50_ms, "ms"),
        Figure("camera to result, p95", report.latency_p95_ms, "ms"),
        Figure("camera to result, p99", report.latency_p99_ms, "ms"),
        Figure("inference, median", report.inference_p50_ms, "ms"),
        Figure("frames a second", report.fps, "fps", note=f"half of {report.flat_out_fps:.0f}"),
        Figure("frames skipped", report.skipped),
    )
    return Outcome(figures, report, others_cores=report.others_cores)


CASE = Case(
    name="latency",
    title="From the camera to the result at half load",
    help="Measure the time from capture to result at half of what the worker can do (YOLOX-Nano).",
    settings=Settings(),
    quick=Settings(frames=100),
    run=run,
    needs=(VIDEO, f"models/{YOLOX_NANO.file}"),
)
