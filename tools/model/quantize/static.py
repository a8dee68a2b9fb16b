"""Static INT8 as a recipe says: QDQ around the nodes that are not kept in float, ranges from calibration.

Takes a cleaned model (:mod:`tools.model.clean`) and input tensors made by the device's own preprocessing, so that what
is calibrated is what the device will feed. The decode tail stays in float only where the recipe names it: the search
(:mod:`tools.model.quantize.search`) does, and :func:`insert` is what it calls for every candidate, since it needs no
further run of the model.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from agent import atomic
from agent.errors import InputError, ModelError
from tools.model import clean
from tools.model.quantize import graph
from tools.model.quantize.ranges import Method, Ranges, choose, observe

_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


@dataclass(frozen=True)
class Recipe:
    """How to quantize. ``kept_float`` names nodes that stay in float.

    ``percentile`` counts for that method only. ``silu_floor`` raises the lower end of the range of SiLU's inputs: below
    -6 it answers next to nothing. ``engine``: whose quantizer; NNCF chooses ranges by itself.
    """

    per_channel: bool = True
    activations: Literal["uint8", "int8"] = "uint8"
    weights: Literal["uint8", "int8"] = "int8"
    ranges: Method = "minmax"
    kept_float: tuple[str, ...] = ()
    percentile: float = 99.99
    silu_floor: float | None = None
    engine: Literal["ort", "nncf"] = "ort"

    def __str__(self) -> str:
        grain = "per channel" if self.per_channel else "per tensor"
        text = f"static QDQ, {grain}, activations {self.activations}, weights {self.weights}, {self.method}"
        return text if self.engine == "ort" else f"{text} (NNCF)"

    @property
    def method(self) -> str:
        """How ranges are chosen, in words."""
        name = f"percentile {self.percentile:g}" if self.ranges == "percentile" else self.ranges
        return name if self.silu_floor is None else f"{name}, SiLU inputs from {self.silu_floor:g}"


PLAIN = Recipe()
"""Fast on x86 with VNNI; S8 activations are slower there and faster on ARM."""


@dataclass(frozen=True)
class Calibration:
    """What the quantizer was shown: the number of tensors, and one SHA-256 over their bytes in order."""

    images: int
    sha256: str


def calibration_of(tensors: Iterable[np.ndarray]) -> Calibration:
    """Name a calibration set."""
    digest, count = hashlib.sha256(), 0
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor).tobytes())
        count += 1
    return Calibration(count, digest.hexdigest())


def quantize(source: Path, target: Path, tensors: Iterable[np.ndarray], recipe: Recipe = PLAIN) -> Calibration:
    """Write the cleaned model ``source`` as INT8 to ``target``, calibrated on ``tensors`` (the input's shape and type).

    Raises :class:`ModelError` (the model cannot be quantized), :class:`InputError` (no tensors).
    """
    model = load(source, recipe)
    shown = list(tensors)
    (seen,) = observe(model, [shown])
    ranges = choose(seen, recipe.ranges, percentile=recipe.percentile, floors=silu_floors(model, recipe))
    atomic.write_bytes(target, insert(model, ranges, recipe).SerializeToString())
    return calibration_of(shown)


def load(source: Path, recipe: Recipe = PLAIN) -> onnx.ModelProto:
    """Read a cleaned model: named nodes, inferred shapes. Raises :class:`ModelError`, :class:`InputError`."""
    model = clean.load(source)
    opset = clean.opset_of(model)
    if recipe.per_channel and opset < 13:
        raise ModelError(f"{source}: opset {opset} has no per-channel quantization (13 does); clean the model first")
    if len(model.graph.input) != 1:
        raise ModelError(f"{source}: the graph lists {len(model.graph.input)} inputs; clean the model first")
    graph.name_nodes(model)
    unknown = sorted(set(recipe.kept_float) - {node.name for node in model.graph.node})
    if unknown:
        raise InputError(f"kept_float names nodes that {source} does not have: {', '.join(unknown)}")
    try:
        return onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"{source}: its shapes contradict one another: {error}") from error


def silu_floors(model: onnx.ModelProto, recipe: Recipe) -> dict[str, float]:
    """Return the lower ends that the recipe asks for."""
    return {} if recipe.silu_floor is None else dict.fromkeys(graph.silu_inputs(model), recipe.silu_floor)


def insert(
    model: onnx.ModelProto, ranges: Ranges, recipe: Recipe, *, only: Collection[str] | None = None
) -> onnx.ModelProto:
    """Return a quantized copy of a model that :func:`load` read; ``only``: the nodes that may be quantized.

    Raises :class:`ModelError`.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # the quantizer warns on the root logger about types that it rightly leaves alone
    try:
        quantizer = QDQQuantizer(
            copy,
            recipe.per_channel,
            False,
            _TYPES[recipe.weights],
            _TYPES[recipe.activations],
            _as_tensors_data(ranges),
            list(only or ()),
            list(recipe.kept_float),
            sorted({*QLinearOpsRegistry, *QDQRegistry}),
            {},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()  # ONNX demands it, and devices check it; ONNX Runtime itself does not mind
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"the model cannot be quantized: {error}") from error
    finally:
        logger.setLevel(level)
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


def _as_tensors_data(ranges: Mapping[str, tuple[float, float]]) -> TensorsData:
    return TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
            for name, (low, high) in ranges.items()
        },
    )
