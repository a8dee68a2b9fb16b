"""The motion gate on a still scene: what it saves, and whether it misses anybody who comes in.

What it saves: one photograph of people who stand about, with sensor noise, as a camera of 25 frames a second; the
processor time of each process with the gate over that without. What it must not miss: objects of several sizes come
in, stay a second and leave. Each one that the model sees without the gate, looking at every frame, counts; it must be
seen with the gate too.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, cast

import cv2
import msgspec
import psutil
import typer

from agent.clock import NS_PER_S
from agent.loop.plan import CameraPlan
from agent.loop.records import PipelineStatistics
from agent.process.messages import MotionSpec, SourceSpec
from agent.types import Result
from agent.vision.gate import GateSettings
from agent.vision.motion import Motion
from tools.bench.case import Bench, Case, Figure, Outcome, Progress, Wanted
from tools.bench.models import YOLOX_NANO
from tools.bench.quiet import Others
from tools.bench.rig import Rig
from tools.bench.scene import Picture, Scene, Tempo, Visit, overlap

CAMERA = "still"
FPS = 25.0
SIGMA = 2.0
PHOTOGRAPH = "000000000192"
"""Four people on a baseball field, 640 by 480; the grass at the left, where objects come in, is empty."""

VISITORS = (
    ("000000000419", 0, 1.0), ("000000000510", 0, 0.5), ("000000000589", 0, 0.8), ("000000000382", 0, 1.0),
    ("000000000419", 0, 0.6), ("000000000419", 0, 0.4),
)  # fmt: skip
"""Photograph, class and scale: the largest object of that class in it."""

TOP, REACH = 60, 190
TEMPO = Tempo(come=20, stay=25, leave=12, rest=75)
SEEN_IOU = 0.5
STILL_WANTED = 0.15
WARM_S = 5.0
"""What start-up costs, and the time until the gate first closes, is not measured."""


class Settings(msgspec.Struct, frozen=True):
    """How long, and with how many threads."""

    seconds: Annotated[float, typer.Option(min=1, help="time to measure with the gate, and without")] = 12.0
    threads: Annotated[int, typer.Option(min=1, help="ONNX Runtime's threads")] = 1


class Usage(msgspec.Struct, frozen=True):
    """Processor time of the processes, percent of one core, and what became of the frames, over the same time."""

    worker: float
    capture: float
    agent: float
    captured: int
    answered: int
    gated: int
    skipped: int
    lost: int
    others_cores: float


class StillReport(msgspec.Struct, frozen=True):
    """``worker_ratio``: the worker's processor time with the gate over that without. ``motion_ms``: one measurement.

    ``missed``: visits that were seen when every frame was looked at and not with the gate. ``delays_ms``: of each visit
    that both saw, how much later (in the scene's own time) the gate's first sight of it was.
    """

    model: str
    seconds: float
    fps: float
    sigma: float
    without_gate: Usage
    with_gate: Usage
    worker_ratio: float
    motion_ms: float
    visits: int
    seen_without_gate: int
    missed: int
    delays_ms: tuple[float, ...]
    entry_gated: int
    entry_answered: int
    entry_skipped: int


def still_case(shared: Path, *, seconds: float, threads: int, progress: Progress) -> StillReport:
    """Measure both; see the module."""
    with tempfile.TemporaryDirectory(prefix="lookout-bench-") as folder:
        calm = Scene(Path(folder) / "calm", photograph(shared, PHOTOGRAPH), sigma=SIGMA)
        calm.rest(50)
        without = _usage(shared, Path(folder) / "calm", seconds, threads, gate=False)
        progress(f"without the gate: worker {without.worker:.1f} %, {without.answered} frames answered")
        gated = _usage(shared, Path(folder) / "calm", seconds, threads, gate=True)
        progress(f"with the gate: worker {gated.worker:.1f} %, {gated.answered} answered, {gated.gated} gated")
        busy = Path(folder) / "busy"
        visits = write_visits(shared, busy)
        reference, _ = _watch(shared, SourceSpec("images", str(busy), pace="lossless"), threads, gate=False)
        progress(f"every frame looked at: {len(first_sights(visits, reference))} of {len(visits)} visits seen")
        live = SourceSpec("images", str(busy), fps=FPS, motion=MotionSpec())
        results, counts = _watch(shared, live, threads, gate=True)
        motion_ms = measure_motion(Path(folder) / "calm")
    wanted, seen = first_sights(visits, reference), first_sights(visits, results)
    progress(f"with the gate: {len(set(seen) & set(wanted))} of {len(wanted)} visits seen")
    return StillReport(
        model=YOLOX_NANO.file,
        seconds=seconds,
        fps=FPS,
        sigma=SIGMA,
        without_gate=without,
        with_gate=gated,
        worker_ratio=gated.worker / without.worker,
        motion_ms=motion_ms,
        visits=len(visits),
        seen_without_gate=len(wanted),
        missed=len(set(wanted) - set(seen)),
        delays_ms=tuple((seen[visit] - wanted[visit]) * 1000 / FPS for visit in wanted if visit in seen),
        entry_gated=counts.gated,
        entry_answered=counts.answered,
        entry_skipped=counts.skipped,
    )


def photograph(shared: Path, name: str) -> Picture:
    """Return one of the shared photographs. Raises :class:`FileNotFoundError`."""
    path = shared / "data/coco128/images" / f"{name}.jpg"
    picture = cv2.imread(str(path))
    if picture is None:
        raise FileNotFoundError(f"{path} is absent: give --shared the folder of models and pictures")
    return cast("Picture", picture)


def visitor(shared: Path, name: str, class_id: int, scale: float) -> Picture:
    """Cut the largest object of a class out of a photograph."""
    picture = photograph(shared, name)
    height, width = picture.shape[:2]
    lines = (shared / "data/coco128/labels" / f"{name}.txt").read_text().splitlines()
    rows = [[float(word) for word in line.split()] for line in lines]
    _, x, y, across, down = max((row for row in rows if row[0] == class_id), key=lambda row: row[3] * row[4])
    left, right = round((x - across / 2) * width), round((x + across / 2) * width)
    top, bottom = round((y - down / 2) * height), round((y + down / 2) * height)
    cut = picture[max(0, top) : bottom, max(0, left) : right]
    return cast("Picture", cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def write_visits(shared: Path, folder: Path) -> list[Visit]:
    """Write the scene into which objects come; return their visits."""
    scene = Scene(folder, photograph(shared, PHOTOGRAPH), sigma=SIGMA)
    scene.rest(TEMPO.rest)
    return [scene.visit(visitor(shared, *which), top=TOP, reach=REACH, tempo=TEMPO) for which in VISITORS]


def first_sights(visits: Sequence[Visit], results: Iterable[Result]) -> dict[int, int]:
    """Return the frame in which each visit, by number, was first seen where it was; those never seen are missing."""
    found: dict[int, int] = {}
    for result in results:
        index = result.frame.source_index
        for number, visit in enumerate(visits):
            box = visit.boxes.get(index)
            hit = box is not None and any(overlap(box, one.box) >= SEEN_IOU for one in result.detections or ())
            if hit and index < found.get(number, index + 1):
                found[number] = index
    return found


def measure_motion(folder: Path) -> float:
    """Return the median time of one measurement of motion on the frames of a folder, milliseconds."""
    pictures = [cast("Picture", cv2.imread(str(path))) for path in sorted(folder.glob("0*.bmp"))]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as in the capture process
    motion, times = Motion(contrast=MotionSpec().contrast), []
    for number in range(4 * len(pictures)):
        picture = pictures[number % len(pictures)]
        started = time.perf_counter()
        motion(picture, round(number * NS_PER_S / FPS))
        times.append(time.perf_counter() - started)
    cv2.setNumThreads(threads)
    return 1000 * statistics.median(times)


def _plan(*, gate: bool) -> dict[str, CameraPlan]:
    return {CAMERA: CameraPlan(gate=GateSettings() if gate else None)}


def _watch(shared: Path, source: SourceSpec, threads: int, *, gate: bool) -> tuple[list[Result], PipelineStatistics]:
    """Look at a scene once, from its first frame to its last."""
    with Rig({CAMERA: source}, plans=_plan(gate=gate)) as rig:
        rig.swap(rig.start_worker(YOLOX_NANO.load(shared, threads=threads)))
        rig.open_cameras()
        rig.wait_ended(timeout_s=300.0)
        return list(rig.results), rig.pipeline.statistics()


def _usage(shared: Path, folder: Path, seconds: float, threads: int, *, gate: bool) -> Usage:
    """Look at the scene at rest for a while, and measure."""
    source = SourceSpec("images", str(folder), loop=True, fps=FPS, motion=MotionSpec() if gate else None)
    with Rig({CAMERA: source}, plans=_plan(gate=gate)) as rig:
        worker = rig.start_worker(YOLOX_NANO.load(shared, threads=threads))
        rig.swap(worker)
        rig.open_cameras()
        rig.wait_results(1)
        time.sleep(WARM_S)
        assert rig.capture.pid is not None
        processes = [psutil.Process(pid) for pid in (worker.pid, rig.capture.pid, os.getpid())]
        began, before = rig.pipeline.statistics(), [_cpu_s(process) for process in processes]
        started = time.monotonic()
        with Others() as others:
            time.sleep(seconds)
        used = [_cpu_s(process) - early for process, early in zip(processes, before, strict=True)]
        ended, took = rig.pipeline.statistics(), time.monotonic() - started
    percent = [100 * one / took for one in used]
    return Usage(
        worker=percent[0],
        capture=percent[1],
        agent=percent[2],
        captured=ended.captured - began.captured,
        answered=ended.answered - began.answered,
        gated=ended.gated - began.gated,
        skipped=ended.skipped - began.skipped,
        lost=ended.lost - began.lost,
        others_cores=max(0.0, others.cores - (percent[0] + percent[1]) / 100),  # living children count as others there
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure."""
    report = still_case(bench.shared, seconds=settings.seconds, threads=settings.threads, progress=bench.progress)
    before, after = report.without_gate, report.with_gate
    return Outcome(
        figures=(
            Figure(
                "the worker's processor time over that without the gate",
                report.worker_ratio,
                "x",
                wanted=Wanted(STILL_WANTED, "at_most"),
            ),
            Figure("worker, without", before.worker, "%"),
            Figure("worker, with", after.worker, "%"),
            Figure("capture, without", before.capture, "%"),
            Figure("capture, with", after.capture, "%"),
            Figure("one measurement of motion", report.motion_ms, "ms"),
            Figure("objects that came in and were seen without", report.seen_without_gate),
            Figure("of those missed with it", report.missed, wanted=Wanted(0, "at_most")),
        ),
        report=report,
    )


CASE = Case(
    name="still",
    title="A still scene",
    help="Measure what the motion gate saves on a still scene (25 fps, YOLOX-Nano), and whether it misses anybody.",
    settings=Settings(),
    quick=Settings(seconds=3.0),
    run=run,
    needs=("data/coco128/images", "data/coco128/labels", "models/yolox_nano.onnx"),
)
