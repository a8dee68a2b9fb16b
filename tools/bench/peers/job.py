"""What a runner's process is told and what it answers, and how it measures itself. No runtime is imported here.

``python -m tools.bench.peers.runners.<name> JOB`` reads the job (JSON) from that file, and prints an :class:`Answer` as
the last line of its output. A job is either ``time`` (frames a second on the film, after a warm-up) or ``detect`` (the
first ``frames`` frames' detections, for the check that all runners see the same).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from agent.types import ModelSpec

Row = tuple[float, float, float, float, float, int]
"""``x1 y1 x2 y2 score class``, pixels of the frame."""


class Job(msgspec.Struct, frozen=True):
    """``threads``: of the runtime, 0 for as it comes. ``ahead``: frames are decoded in a thread beside.

    ``files``: of the model, by kind (``onnx``, ``param``, ``bin``). ``floor``: detections below it need not be
    answered. ``options``: the runner's own.
    """

    mode: Literal["time", "detect"]
    files: dict[str, str]
    spec: ModelSpec
    film: str
    threads: int
    floor: float
    ahead: bool = False
    frames: int = 0
    warm_s: float = 0.2
    seconds: float = 1.0
    options: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True):
    """``fps`` of a timed run; ``rows`` of each frame of the other kind."""

    fps: float = 0.0
    frames: int = 0
    rows: tuple[tuple[Row, ...], ...] = ()
    versions: dict[str, str] = {}


def rows_of(found: np.ndarray | None) -> tuple[Row, ...]:
    """Return an answer's array as rows."""
    if found is None:
        return ()
    return tuple((x1, y1, x2, y2, score, int(class_id)) for x1, y1, x2, y2, score, class_id in found.tolist())


def paced(step: Callable[[], object], job: Job) -> Answer:
    """Call ``step``, which does one frame, for the job's time after its warm-up."""
    until = time.perf_counter() + job.warm_s
    while time.perf_counter() < until:
        step()
    count, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < job.seconds:
        step()
        count += 1
    return Answer(fps=count / took, frames=count)


def counted(count: Callable[[], int], job: Job) -> Answer:
    """Measure something that runs by itself: ``count`` returns how many frames it has answered."""
    time.sleep(job.warm_s)
    first, started = count(), time.perf_counter()
    time.sleep(job.seconds)
    frames = count() - first
    return Answer(fps=frames / (time.perf_counter() - started), frames=frames)


def serve(run: Callable[[Job], Answer]) -> None:
    """Be the runner's process. It ends at once when it has answered: threads of a runtime are not waited for."""
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    answer = run(job)
    sys.stdout.write("\n" + msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()
    os._exit(0)
