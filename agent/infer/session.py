"""One loaded model: an ONNX Runtime session, warmed up, and every way to fail turned into one clear error.

The only module of the agent that imports ONNX Runtime, because its telemetry must be off before that import (it would
write a device id under the home folder). ``run`` may be called from several threads at once: each call's outputs are
arrays of their own, and the calls share the session's threads. Plain ``run`` is used because an IO binding gains less
than the noise on a CPU; the memory arena is on unless it was measured to be a loss: without it a YOLOX-Nano is slower
and larger (92 against 78 MB).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import numpy as np
import onnxruntime
import structlog

from agent.errors import ModelError
from agent.infer import optimised, reasons
from agent.infer.providers import CPU, choose_providers
from agent.types import TensorInfo

log = structlog.get_logger(part="infer")

NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
"""ONNX Runtime's words for element types, in numpy's."""

_QUIET = 3  # errors only: what we can act on comes as an exception, and a child's stderr is kept for last words
onnxruntime.set_default_logger_severity(_QUIET)


Operator = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
"""A graph's outputs, in its order, of its inputs by name."""


def available_providers() -> tuple[str, ...]:
    """Return the execution providers that this ONNX Runtime was built with."""
    return tuple(onnxruntime.get_available_providers())


def runtime_version() -> str:
    """Return ONNX Runtime's version."""
    return str(onnxruntime.__version__)


class Session:
    """A model that is loaded and has run once. Get one from :meth:`load`.

    ``providers`` are those that really took part, ``inputs`` and ``outputs`` as ONNX Runtime reports them, ``warnings``
    say in words what was wished for and is not there. ``first_run_ms`` is None while the model, whose input has no
    fixed size, waits for :meth:`warm_up`.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, path: Path, warnings: tuple[str, ...], load_ms: float
    ) -> None:
        self.path = path
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.inputs = tuple(_describe(tensor) for tensor in session.get_inputs())
        self.outputs = tuple(_describe(tensor) for tensor in session.get_outputs())
        self.warnings = warnings
        self.load_ms = load_ms
        self.first_run_ms: float | None = None
        self._session = session
        self._output_names = [output.name for output in self.outputs]

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        providers: Sequence[str],
        threads: int,
        spin: bool,
        arena: bool = True,
        optimized: Path | None = None,
        optimize_to: Path | None = None,
    ) -> Session:
        """Load the model file at ``path`` and run it once on zeros.

        ``providers`` in order of preference, names or aliases; ``threads`` for one operator (0: one fewer than the
        cores this process may use, at least 1); ``spin`` lets threads busy-wait for one another during a run, never
        between two; ``arena`` keeps freed tensors for the next run. An accelerator that is missing or fails is a
        warning, and the CPU serves. ``optimized`` is the same model as ``optimize_to`` left it on this host, and takes
        its place where it can be loaded; both are for the CPU alone. Raises :class:`ModelError` naming the file and the
        cause.
        """
        _check_file(path)
        choice = choose_providers(providers, available_providers())
        started = time.perf_counter()
        options = partial(_options, threads, spin=spin, arena=arena)
        inner: onnxruntime.InferenceSession | None = None
        warnings: list[str] = []
        if choice.providers == (CPU,):
            inner, warnings = optimised.create(path, optimized, optimize_to, options)
        if inner is None:
            inner, more = _create(path, choice.providers, options())
            warnings += more
        load_ms = (time.perf_counter() - started) * 1e3
        session = cls(inner, path, (*choice.warnings, *warnings), load_ms)
        if len(session.inputs) != 1:
            names = ", ".join(tensor.name for tensor in session.inputs) or "none"
            raise ModelError(f"{path.name}: a model with one input is needed, this one's inputs are: {names}")
        for warning in session.warnings:
            log.warning("session.provider", warning=warning)
        only = session.inputs[0]
        if all(size > 0 for size in only.shape) and only.dtype in NUMPY_TYPES:
            session.warm_up(only.shape)
        return session

    def warm_up(self, shape: tuple[int, ...]) -> None:
        """Run once on zeros of this shape, so that no frame pays for the first run. Raises :class:`ModelError`."""
        dtype = NUMPY_TYPES.get(self.inputs[0].dtype)
        if dtype is None:
            raise ModelError(f"{self.path.name}: inputs of type {self.inputs[0].dtype} are not supported")
        started = time.perf_counter()
        self.run(np.zeros(shape, dtype))
        self.first_run_ms = (time.perf_counter() - started) * 1e3

    def run(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Return the outputs in the graph's order; ``tensor`` is read in place. Raises :class:`ModelError`."""
        try:
            outputs: list[np.ndarray] = self._session.run(self._output_names, {self.inputs[0].name: tensor})
        except reasons.ORT_ERRORS as error:
            raise ModelError(f"{self.path.name}: the model cannot run: {reasons.explain(error)}") from error
        return outputs


def operator(graph: bytes) -> Operator:
    """Return a small graph of our own as a function of its inputs: one thread, on the CPU, no arena; any thread."""
    session = onnxruntime.InferenceSession(graph, _options(1, spin=False, arena=False), providers=[CPU])
    return partial(session.run, None)


def _create(
    path: Path, providers: tuple[str, ...], options: onnxruntime.SessionOptions
) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """Build the session, giving up the first provider each time that one fails, down to the CPU alone."""
    warnings: list[str] = []
    while True:
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=list(providers), enable_fallback=0)
        except reasons.ORT_ERRORS as error:
            reason = reasons.explain(error)
            if providers == (CPU,):
                raise ModelError(f"{path.name}: the model cannot be loaded: {reason}") from error
            warnings.append(f"{providers[0]} failed and is left out, {providers[1]} comes next: {reason}")
            providers = providers[1:]
            continue
        absent = [provider for provider in providers if provider not in session.get_providers()]
        warnings += [
            f"{provider} did not start (its libraries are missing or do not fit): "
            f"running on {session.get_providers()[0]}"
            for provider in absent
        ]
        return session, warnings


def _options(threads: int, *, spin: bool, arena: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads or max(1, len(os.sched_getaffinity(0)) - 1)
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    if spin:  # a pool at rest must not keep cores hot: that is for whoever runs flat out, whose runs leave no rest
        options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _check_file(path: Path) -> None:
    """Refuse what is no file with content, for which ONNX Runtime's own words are misleading."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise ModelError(f"{path}: the model file cannot be read: {error.strerror}") from error
    if empty:
        raise ModelError(f"{path.name}: the model file is empty")


def _describe(tensor: Any) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    return TensorInfo(name=tensor.name, dtype=tensor.type, shape=shape)
