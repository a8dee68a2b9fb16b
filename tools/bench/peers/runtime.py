"""A peer's runtime in the place of ONNX Runtime's session, with our preprocessing, decoder and NMS around it.

A runtime is no pipeline: somebody must write what stands before and behind it. Each gets the product's own, which is
as fast as we know how to write it; so what differs is the runtime, and how frames are kept flowing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.types import TensorInfo
from tools.bench.peers.film import reader
from tools.bench.peers.job import Answer, Job, paced, rows_of

Run = Callable[[np.ndarray], list[np.ndarray]]


class Runtime:
    """What a :class:`~agent.infer.detector.Detector` needs of a session. ``run`` answers in the file's order."""

    first_run_ms = 0.0

    def __init__(self, run: Run, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        self.run = run
        self.inputs = inputs
        self.outputs = outputs


def detector(job: Job, run: Run) -> Detector:
    """Return the product's detector around a runtime."""
    inputs, outputs = _interface(job.files["onnx"])
    return Detector(job.spec, cast("Session", Runtime(run, inputs, outputs)), score_floor=job.floor)


def in_a_row(job: Job, run: Run, versions: dict[str, str]) -> Answer:
    """Do one frame after the other: read, preprocess, run, decode."""
    made, read = detector(job, run), reader(job.film, ahead=job.ahead)
    buffer = made.buffer()

    def step() -> np.ndarray | None:
        made.preprocess(read(), buffer)
        return made.postprocess(made.run(buffer), buffer).detections

    if job.mode == "detect":
        return Answer(rows=tuple(rows_of(step()) for _ in range(job.frames)), versions=versions)
    return paced(step, job)


def _interface(file: str) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """Return inputs and outputs as the ONNX file names them."""
    import onnx  # here: a process that is measured is freed of nothing else by it, but imports are slow

    graph = onnx.load(file).graph
    return tuple(map(_tensor, graph.input)), tuple(map(_tensor, graph.output))


def _tensor(value: object) -> TensorInfo:
    shape = value.type.tensor_type.shape.dim  # type: ignore[attr-defined]  # onnx's protobuf has no types
    return TensorInfo(value.name, "tensor(float)", tuple(one.dim_value or -1 for one in shape))  # type: ignore[attr-defined]
