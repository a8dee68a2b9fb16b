"""One run on this machine: whether ONNX Runtime loads the file, what it makes of the graph, and how long it takes."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import msgspec
import numpy as np
import onnx
import onnxruntime

from agent.infer import reasons
from agent.infer.session import NUMPY_TYPES

_RUNS = 10
_OPEN_SIZE = 64
"""What an open height or width is tried with; a batch, or anything else, is tried with 1."""


class Trial(msgspec.Struct, frozen=True):
    """``problem``: why it did not run, None where it did. ``median_ms``: one run, one thread, on ``machine``.

    ``finite``: every number of its answer to a grey picture is. ``shapes``: what open inputs were tried with.
    """

    problem: str | None
    loaded: bool
    finite: bool
    median_ms: float | None
    machine: str
    shapes: dict[str, tuple[int, ...]]


def try_out(path: Path) -> tuple[Trial, onnx.GraphProto | None]:
    """Load, run on grey, and return the trial and the graph as ONNX Runtime optimised it. Never raises for a model."""
    with tempfile.TemporaryDirectory(prefix="lookout-check-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.optimized_model_filepath = str(optimised)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except reasons.ORT_ERRORS as error:
            return Trial(reasons.explain(error), False, False, None, machine(), {}), None
        graph = onnx.load(optimised, load_external_data=False).graph if optimised.exists() else None
        return _run(session), graph


def _run(session: onnxruntime.InferenceSession) -> Trial:
    shapes = {one.name: tuple(map(_size, range(len(one.shape)), one.shape)) for one in session.get_inputs()}
    kinds = {one.name: NUMPY_TYPES.get(one.type, "float32") for one in session.get_inputs()}
    feed = {name: np.full(shape, _grey(kinds[name]), kinds[name]) for name, shape in shapes.items()}
    times = []
    try:
        outputs = session.run(None, feed)
        for _ in range(_RUNS):
            started = time.perf_counter()
            session.run(None, feed)
            times.append((time.perf_counter() - started) * 1e3)
    except reasons.ORT_ERRORS as error:
        return Trial(reasons.explain(error), True, False, None, machine(), shapes)
    numbers = [one for one in outputs if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
    finite = all(np.isfinite(one).all() for one in numbers)
    return Trial(None, True, bool(finite), statistics.median(times), machine(), shapes)


def _size(axis: int, size: object) -> int:
    if isinstance(size, int) and size > 0:
        return size
    return _OPEN_SIZE if axis > 1 else 1


def _grey(kind: str) -> float:
    return 0.5 if kind.startswith("float") else 0


def machine() -> str:
    """Name this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(names, platform.processor() or platform.machine())
