"""What the parts of a frame's way cost, each alone on one thread: preprocess, decode and NMS, track, serialise.

Real frames of plaza.avi, and what real models answer to them; a part is timed frame by frame, and the median over the
frames counts. The crowd in that film is dense: decode and NMS have some two hundred candidates a frame there. As in the
loop, what a part reads was written a moment ago: capture has just put the frame into its ring, and the model its
outputs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import msgspec
import numpy as np
import typer

from agent.clock import NS_PER_MS, NS_PER_S
from agent.infer.detector import Detector
from agent.infer.preprocess import Buffer
from agent.infer.session import Session
from agent.link.messages import detections_message, encode
from agent.types import CameraName, Detection, FrameRef, Result, Timings
from agent.vision.track import Tracker, TrackSettings
from tools.bench.case import Bench, Case, Figure, Outcome, Wanted
from tools.bench.footage import VIDEO
from tools.bench.models import NANODET_M, SCORE_FLOOR, YOLOX_NANO, BenchModel
from tools.bench.quiet import Others

OBJECTS = 25
FPS = 25
MODELS = {"YOLOX-Nano": YOLOX_NANO, "NanoDet-m": NANODET_M}

WANTED_MS = {"preprocess": 0.25, "decode and NMS": 0.15, f"track {OBJECTS} objects": 0.3, "serialise": 0.1}


class Step(NamedTuple):
    """One part's work on the frame of a number. ``ready`` comes before it and is not timed."""

    work: Callable[[int], object]
    ready: Callable[[int], object] = lambda _: None


class Settings(msgspec.Struct, frozen=True):
    """How much is measured."""

    frames: Annotated[int, typer.Option(min=10, help="frames of the film")] = 60
    rounds: Annotated[int, typer.Option(min=1, help="times that they are gone through")] = 7


class PartsReport(msgspec.Struct, frozen=True):
    """Milliseconds a frame: part → the median of each round. ``candidates``: boxes before NMS, a frame, by model."""

    frames: int
    rounds_ms: dict[str, tuple[float, ...]]
    rows: dict[str, float]
    others_cores: float


def steps(shared: Path, frames: int) -> tuple[dict[str, Step], dict[str, float]]:
    """Return every part as a step to be done for each frame, and the boxes a frame that each model answers."""
    cv2.setNumThreads(1)  # as in a worker
    film = read_film(shared, frames)
    found: dict[str, Step] = {}
    rows: dict[str, float] = {}
    for name, model in MODELS.items():
        detector = load(shared, model)
        answered = [_outputs(detector, picture) for picture in film]
        found[f"preprocess, {name}"] = _preprocess(detector, film)
        found[f"decode and NMS, {name}"] = _postprocess(detector, answered)
        seen = [detector.postprocess(*one).detections for one in answered]
        boxes = [np.zeros((0, 6), np.float32) if one is None else one for one in seen]
        rows[name] = statistics.fmean(len(one) for one in boxes)
        if name == "YOLOX-Nano":
            found[f"track {OBJECTS} objects"] = _track(boxes)
    told = result()
    found["serialise"] = Step(lambda _: encode(detections_message(told)))
    return found, rows


def read_film(shared: Path, frames: int) -> list[np.ndarray]:
    """Return the film's first frames."""
    video = cv2.VideoCapture(str(shared / VIDEO))
    film = [video.read()[1] for _ in range(frames)]
    video.release()
    return film


def load(shared: Path, model: BenchModel) -> Detector:
    """Return a loaded model, as a worker has it."""
    session = Session.load(shared / "models" / model.file, providers=("CPUExecutionProvider",), threads=1, spin=False)
    return Detector(model.spec, session, score_floor=SCORE_FLOOR)


def _outputs(detector: Detector, picture: np.ndarray) -> tuple[list[np.ndarray], Buffer]:
    buffer = detector.buffer()
    detector.preprocess(picture, buffer)
    return detector.run(buffer), buffer


def _preprocess(detector: Detector, film: Sequence[np.ndarray]) -> Step:
    buffer, slot = detector.buffer(), film[0].copy()
    return Step(
        work=lambda _: detector.preprocess(slot, buffer),
        ready=lambda number: np.copyto(slot, film[number % len(film)]),
    )


def _postprocess(detector: Detector, answered: Sequence[tuple[list[np.ndarray], Buffer]]) -> Step:
    buffer = answered[0][1]
    outputs = [output.copy() for output in answered[0][0]]

    def write(number: int) -> None:
        for output, answer in zip(outputs, answered[number % len(answered)][0], strict=True):
            np.copyto(output, answer)

    return Step(work=lambda _: detector.postprocess(outputs, buffer), ready=write)


def _track(boxes: Sequence[np.ndarray]) -> Step:
    """Follow the best boxes of each frame; the film begins anew with each round, as a camera that was cut."""
    tracker = Tracker(TrackSettings())
    best = [rows[np.argsort(-rows[:, 4])[:OBJECTS]].astype(float) for rows in boxes]
    count = iter(range(10**9))
    return Step(lambda number: tracker.update(best[number % len(best)], next(count) * NS_PER_S // FPS))


def result() -> Result:
    """Return what a crowd is told as."""
    frame = FrameRef(CameraName("front"), 1, 0, 123_456, 123_456, 10 * NS_PER_S, 1_790_000_000_000, 1280, 720)
    found = tuple(
        Detection(number % 80, "person", 0.87, (100.1 + number, 200.2, 300.3 + number, 400.4), number)
        for number in range(OBJECTS)
    )
    return Result(frame, YOLOX_NANO.spec.release, found, None, Timings(0.1, 0.5, 6.5, 0.1), 21.3)


def parts_case(shared: Path, settings: Settings, progress: Callable[[str], None]) -> PartsReport:
    """Measure."""
    progress("two models look at the film once")
    with Others() as others:
        found, rows = steps(shared, settings.frames)
        rounds: dict[str, list[float]] = {name: [] for name in found}
        for number in range(settings.rounds):
            for name, step in found.items():
                rounds[name].append(_median_ms(step, settings.frames))
            progress(f"round {number + 1} of {settings.rounds}")
    return PartsReport(settings.frames, {name: tuple(ms) for name, ms in rounds.items()}, rows, others.cores)


def _median_ms(step: Step, frames: int) -> float:
    times = []
    for number in range(frames):
        step.ready(number)
        began = time.perf_counter_ns()
        step.work(number)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / NS_PER_MS


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure and tell."""
    report = parts_case(bench.shared, settings, bench.progress)
    figures = tuple(
        Figure(name, statistics.median(ms), "ms", ms, Wanted(WANTED_MS[name.partition(",")[0]], "at_most"))
        for name, ms in report.rounds_ms.items()
    )
    rows = ", ".join(f"{name} {count:.0f}" for name, count in report.rows.items())
    remark = f"1280x720 frames of a crowd; boxes a frame after NMS: {rows}. Messages hold {OBJECTS} detections."
    return Outcome(figures, report, remarks=(remark,), others_cores=report.others_cores)


CASE = Case(
    name="parts",
    title="The parts of a frame's way",
    help="Measure preprocess, decode and NMS, track and serialise, each alone on one thread.",
    settings=Settings(),
    quick=Settings(frames=20, rounds=2),
    run=run,
    needs=(VIDEO, *(f"models/{model.file}" for model in MODELS.values())),
)
