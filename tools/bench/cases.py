"""The benchmarks: what is measured, and how. Each returns a frozen record with its raw numbers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec
import numpy as np

from agent.infer.preprocess import Preprocessor
from agent.process.messages import SourceSpec
from tools.bench.models import YOLOX_NANO, BenchModel
from tools.bench.quiet import Others
from tools.bench.rig import Rig

VIDEO = "data/video/plaza.avi"
WARM_FRAMES = 60
BYTES_PER_MB = 1_000_000

BUSY_CORES = 0.1
"""The frame loop keeps more than one core busy: where others want one too, it is slowed more than a bare run."""

TRIES = 3
"""Times as many rounds as asked for are tried to get quiet ones."""

Progress = Callable[[str], None]


class LoopReport(msgspec.Struct, frozen=True):
    """Throughput of the frame loop over that of a bare ``session.run``, frames a second; rounds were interleaved.

    ``others_cores`` is what other processes used meanwhile, round by round. Rounds in which that was more than
    :data:`BUSY_CORES` were repeated; where there were too few quiet ones all count, and ``disturbed`` says so.
    """

    model: str
    threads: int
    frames: int
    bare_fps: tuple[float, ...]
    loop_fps: tuple[float, ...]
    others_cores: tuple[float, ...]
    disturbed: bool
    bare_median: float
    loop_median: float
    ratio: float


class Round(NamedTuple):
    """One turn of each, and what others used of the machine meanwhile."""

    bare_fps: float
    loop_fps: float
    others_cores: float

    @property
    def quiet(self) -> bool:
        """Whether its figures mean something."""
        return self.others_cores <= BUSY_CORES


class MemoryReport(msgspec.Struct, frozen=True):
    """PSS in MB with one 640x480 camera. ``agent_part`` is a process with the loop and no more of the agent."""

    agent_part: float
    capture: float
    worker: float


def lossless(shared: Path, video: str = VIDEO) -> SourceSpec:
    """Return the video as a camera that waits and never ends."""
    return SourceSpec("file", str(shared / video), pace="lossless", loop=True)


def loop_case(shared: Path, *, rounds: int, frames: int, threads: int, progress: Progress) -> LoopReport:
    """Measure bare runs and the frame loop in turns, each in fresh processes."""
    model = YOLOX_NANO
    tried: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="lookout-bench-") as folder:
        tensor = Path(folder) / "input.npy"
        np.save(tensor, input_of(shared, model))
        while sum(one.quiet for one in tried) < rounds and len(tried) < TRIES * rounds:
            with Others() as others:
                bare = _bare_fps(shared, model, tensor, threads, frames)
                loop = _loop_fps(shared, model, threads, frames)
            tried.append(Round(bare, loop, others.cores))
            progress(f"bare {bare:.1f} fps, loop {loop:.1f} fps; others used {others.cores:.2f} cores")
    quiet = [one for one in tried if one.quiet]
    counted = quiet if len(quiet) >= rounds else tried
    bare_median = statistics.median(one.bare_fps for one in counted)
    loop_median = statistics.median(one.loop_fps for one in counted)
    return LoopReport(
        model=model.file,
        threads=threads,
        frames=frames,
        bare_fps=tuple(one.bare_fps for one in counted),
        loop_fps=tuple(one.loop_fps for one in counted),
        others_cores=tuple(one.others_cores for one in counted),
        disturbed=counted is tried,
        bare_median=bare_median,
        loop_median=loop_median,
        ratio=loop_median / bare_median,
    )


def input_of(shared: Path, model: BenchModel) -> np.ndarray:
    """Return the tensor of the video's first frame."""
    video = cv2.VideoCapture(str(shared / VIDEO))
    read, frame = video.read()
    video.release()
    if not read:
        raise FileNotFoundError(f"{shared / VIDEO} has no frame: give --shared the folder of models and videos")
    preprocess = Preprocessor(model.spec.input)
    buffer = preprocess.buffer()
    preprocess(frame, buffer)
    return buffer.tensor


def _bare_fps(shared: Path, model: BenchModel, tensor: Path, threads: int, frames: int) -> float:
    command = [
        sys.executable, "-m", "tools.bench.bare",
        str(shared / "models" / model.file), str(tensor), str(threads), str(frames),
    ]  # fmt: skip
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _loop_fps(shared: Path, model: BenchModel, threads: int, frames: int) -> float:
    with Rig({"plaza": lossless(shared)}) as rig:
        rig.swap(rig.start_worker(model.load(shared, threads=threads)))
        rig.open_cameras()
        rig.wait_results(WARM_FRAMES)
        started, before = time.perf_counter(), len(rig.results)
        rig.wait_results(before + frames)
        return (len(rig.results) - before) / (time.perf_counter() - started)


def memory_case(shared: Path, *, frames: int) -> MemoryReport:
    """Measure with a 640x480 camera at 25 frames a second and YOLOX-Nano, in a process without the bench's imports."""
    with tempfile.TemporaryDirectory(prefix="lookout-bench-") as folder:
        video = Path(folder) / "vga.avi"
        _write_vga(shared, video)
        command = [sys.executable, "-m", "tools.bench.lean", str(shared), str(video), str(frames)]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    agent_part, capture, worker = (int(size) / BYTES_PER_MB for size in lines[-1].split())
    return MemoryReport(agent_part, capture, worker)


def _write_vga(shared: Path, target: Path) -> None:
    """Write two seconds of the shared video at 640x480."""
    video = cv2.VideoCapture(str(shared / VIDEO))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (640, 480))
    for _ in range(50):
        writer.write(cv2.resize(video.read()[1], (640, 480)))
    writer.release()
    video.release()
