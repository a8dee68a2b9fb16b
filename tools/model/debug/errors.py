"""How far INT8 is off, as SQNR in dB: the power of the float signal over that of the difference, over all images.

20 dB: the error is a tenth of the signal; 0 dB: as large as it. ONNX Runtime's own debugging helpers name the tensors
and pair them; sums are kept image by image, because all activations of many images at once would fill the memory.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import numpy as np
import onnxruntime
from onnxruntime.quantization import qdq_loss_debug

from agent.errors import ModelError
from agent.infer import reasons

MOST_DB = 120.0
"""What is called exact: float32 itself ends near it."""

Feed = dict[str, np.ndarray]


@dataclass
class Sums:
    """Powers of a signal and of its error, added up; grows image by image."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: np.ndarray, other: np.ndarray) -> None:
        """Take in one image's tensor."""
        exact = np.asarray(reference, np.float64).reshape(-1)
        difference = exact - np.asarray(other, np.float64).reshape(-1)
        self.signal += float(exact @ exact)
        self.noise += float(difference @ difference)

    @property
    def share(self) -> float:
        """Noise over signal; 0 where there is neither."""
        if not math.isfinite(self.noise):
            return math.inf
        return self.noise / self.signal if self.signal > 0 else float(self.noise > 0)

    @property
    def db(self) -> float:
        """SQNR in dB, between -120 and 120."""
        return decibel(self.share)


def decibel(share: float) -> float:
    """Return the SQNR of noise over signal."""
    if share <= 10 ** (-MOST_DB / 10):
        return MOST_DB
    return max(-MOST_DB, -10 * math.log10(share))


@dataclass
class Activation:
    """One tensor: the error of its own rounding (``own``) and all that has come together up to it (``total``)."""

    own: Sums = field(default_factory=Sums)
    total: Sums = field(default_factory=Sums)


def session(source: Path | bytes, *, optimize: bool) -> onnxruntime.InferenceSession:
    """Load at one thread, optimised as a device would, or node by node as written. Raises :class:`ModelError`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    what = source if isinstance(source, bytes) else str(source)
    try:
        return onnxruntime.InferenceSession(what, options, providers=["CPUExecutionProvider"])
    except reasons.ORT_ERRORS as error:
        name = source.name if isinstance(source, Path) else "a partly quantized model"
        raise ModelError(f"{name}: cannot be loaded: {reasons.explain(error)}") from error


def activation_errors(
    float_path: Path, int8_path: Path, feeds: Sequence[Feed], on_image: Callable[[int], None]
) -> dict[str, Activation]:
    """Return the errors of every tensor that the INT8 model quantizes. Raises :class:`ModelError`."""
    found: dict[str, Activation] = {}
    with tempfile.TemporaryDirectory(prefix="lookout-debug-") as folder:
        exact = _watched(float_path, Path(folder) / "float.onnx")
        rounded = _watched(int8_path, Path(folder) / "int8.onnx")
        for number, feed in enumerate(feeds):
            pairs = qdq_loss_debug.create_activation_matching(_tensors(rounded, feed), _tensors(exact, feed))
            for name, values in pairs.items():
                entry = found.setdefault(name, Activation())
                entry.own.add(values["pre_qdq"][0], values["post_qdq"][0])
                if "float" in values:
                    entry.total.add(values["float"][0], values["post_qdq"][0])
            on_image(number + 1)
    return found


def _watched(path: Path, copy: Path) -> onnxruntime.InferenceSession:
    try:
        qdq_loss_debug.modify_model_output_intermediate_tensors(str(path), str(copy))
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path.name}: its tensors cannot be watched: {error}") from error
    return session(copy, optimize=False)


def _tensors(watched: onnxruntime.InferenceSession, feed: Feed) -> dict[str, list[np.ndarray]]:
    suffix = qdq_loss_debug._TENSOR_SAVE_POSTFIX
    names = [output.name for output in watched.get_outputs() if output.name.endswith(suffix)]
    values = watched.run(names, feed)
    return {name[: -len(suffix)]: [value] for name, value in zip(names, values, strict=True)}


def weight_errors(float_path: Path, int8_path: Path) -> dict[str, float]:
    """Return the SQNR of every quantized weight, dB."""
    pairs: dict[str, Any] = qdq_loss_debug.create_weight_matching(str(float_path), str(int8_path))
    errors: dict[str, float] = qdq_loss_debug.compute_weight_error(pairs)
    return {name: min(MOST_DB, error) for name, error in errors.items()}


def output_error(
    reference: Sequence[Sequence[np.ndarray]], model: bytes | Path, feeds: Iterable[Feed]
) -> tuple[float, ...]:
    """Return noise over signal of each output, against what the float model answered to the same feeds."""
    running = session(model, optimize=True)
    sums = [Sums() for _ in reference[0]]
    for exact, feed in zip(reference, feeds, strict=True):
        for entry, one, other in zip(sums, exact, running.run(None, feed), strict=True):
            entry.add(one, other)
    return tuple(entry.share for entry in sums)
