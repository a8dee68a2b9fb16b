"""What following costs: tracks, zones and events of a crowd, frame by frame, apart from all else.

YOLOX-Nano looks once at plaza.avi; its rows then go through the pipeline's own chain
(:class:`agent.loop.seeing.Seeing`) with two zones, a mask and a line over the square, on one thread, as the frame loop
calls it. A denser scene is made of the same frames: each box stands a second time beside itself.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np
import typer

from agent.clock import NS_PER_S
from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.loop.results import RawAnswer, Reporting
from agent.loop.seeing import Seeing, SeeingSettings
from agent.types import CameraName, Event, FrameRef, Timings
from agent.vision.places import ZoneSpec
from tools.bench.case import Bench, Case, Figure, Outcome, Progress, Wanted
from tools.bench.footage import VIDEO
from tools.bench.models import LABELS, SCORE, SCORE_FLOOR, YOLOX_NANO
from tools.bench.quiet import Others

EVENTS_WANTED_MS = 1.0
FPS = 50
ZONES = (
    ZoneSpec("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), loiter_s=1.0),
    ZoneSpec("middle", ((0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7))),
    ZoneSpec("corner", ((0.9, 0.9), (1, 0.9), (1, 1), (0.9, 1)), mask=True),
    ZoneSpec("gate", ((0.5, 0.0), (0.5, 1.0))),
)
TIMINGS = Timings(0, 0, 0, 0)


class Settings(msgspec.Struct, frozen=True):
    """How much of the film, and how often."""

    frames: Annotated[int, typer.Option(min=10, help="frames of plaza.avi")] = 300
    rounds: Annotated[int, typer.Option(min=1, help="times that they are gone through")] = 5


class Crowd(msgspec.Struct, frozen=True):
    """One density: rows and tracks a frame on the average, and the time a frame, milliseconds."""

    rows: float
    objects: float
    events: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class EventsReport(msgspec.Struct, frozen=True):
    """The crowd as it is, and twice as dense."""

    frames: int
    plain: Crowd
    dense: Crowd
    others_cores: float


def events_case(shared: Path, *, frames: int, rounds: int, progress: Progress) -> EventsReport:
    """Measure; the best of ``rounds`` for each frame counts, since anything else is the machine's doing."""
    progress("YOLOX-Nano looks at the film once")
    size, seen = _rows(shared, frames)
    progress(f"{len(seen)} frames, {rounds} times")
    with Others() as others:
        plain = _crowd(seen, size, rounds)
        dense = _crowd([_doubled(rows) for rows in seen], size, rounds)
    return EventsReport(len(seen), plain, dense, others.cores)


def _rows(shared: Path, frames: int) -> tuple[tuple[int, int], list[np.ndarray]]:
    session = Session.load(
        shared / "models" / YOLOX_NANO.file, providers=("CPUExecutionProvider",), threads=1, spin=False
    )
    detector = Detector(YOLOX_NANO.spec, session, score_floor=SCORE_FLOOR)
    film = cv2.VideoCapture(str(shared / VIDEO))
    seen: list[np.ndarray] = []
    size = (0, 0)
    while len(seen) < frames:
        ok, picture = film.read()
        if not ok:
            break
        size = (picture.shape[1], picture.shape[0])
        rows = detector(picture).detections
        seen.append(np.zeros((0, 6), np.float32) if rows is None else rows)
    film.release()
    return size, seen


def _doubled(rows: np.ndarray) -> np.ndarray:
    beside = rows.copy()
    beside[:, [0, 2]] += (rows[:, 2] - rows[:, 0])[:, None] * 1.1
    return np.concatenate((rows, beside))


def _crowd(seen: Sequence[np.ndarray], size: tuple[int, int], rounds: int) -> Crowd:
    runs = [_run(seen, size) for _ in range(rounds)]
    times = [min(run[0][place] for run in runs) / 1e6 for place in range(len(seen))]
    _, objects, events = runs[0]
    cuts = statistics.quantiles(times, n=100)
    return Crowd(
        rows=statistics.fmean(len(rows) for rows in seen),
        objects=statistics.fmean(objects),
        events=events,
        mean_ms=statistics.fmean(times),
        p50_ms=cuts[49],
        p95_ms=cuts[94],
        p99_ms=cuts[98],
    )


def _run(seen: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[list[int], list[int], int]:
    camera, told = CameraName("plaza"), list[Event]()
    seeing = Seeing(SeeingSettings(zones={camera: ZONES}), tell=told.append)
    reporting = Reporting(LABELS, SCORE)
    times, objects = [], []
    for number, rows in enumerate(seen):
        at_ns = number * NS_PER_S // FPS
        frame = FrameRef(camera, 1, 0, number, number, at_ns, at_ns // 1_000_000, *size)
        answer = RawAnswer(frame, YOLOX_NANO.spec.release, rows, None, TIMINGS, 0.0)
        begun = time.perf_counter_ns()
        result = seeing.see(answer, reporting)
        times.append(time.perf_counter_ns() - begun)
        objects.append(sum(result.scene.counts.values()) if result.scene else 0)
    return times, objects, len(told)


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure."""
    report = events_case(bench.shared, frames=settings.frames, rounds=settings.rounds, progress=bench.progress)
    figures: list[Figure] = []
    for name, crowd in (("the crowd", report.plain), ("twice as dense", report.dense)):
        wanted = Wanted(EVENTS_WANTED_MS, "at_most") if crowd is report.plain else None
        objects = f"{crowd.rows:.0f} boxes and {crowd.objects:.0f} tracks a frame"
        figures += [
            Figure(f"{name}, {objects}: a frame, mean", crowd.mean_ms, "ms", wanted=wanted),
            Figure(f"{name}: a frame, p99", crowd.p99_ms, "ms"),
        ]
    return Outcome(figures=tuple(figures), report=report, others_cores=report.others_cores)


CASE = Case(
    name="events",
    title="Tracks, zones and events",
    help="Measure what tracks, zones and events cost a frame, in the crowd of plaza.avi and in one twice as dense.",
    settings=Settings(),
    quick=Settings(frames=60, rounds=2),
    run=run,
    needs=(VIDEO, "models/yolox_nano.onnx"),
)
