"""The plain recipe for INT8: per channel, U8 activations, S8 weights, QDQ, ranges from MinMax over some images.

Takes a cleaned model (:mod:`tools.model.clean`) and input tensors made by the device's own preprocessing, so that what
is calibrated is what the device will feed. Models whose decode tail or SiLU suffers need more than this (parts kept in
float, percentiles, a search for the sensitive blocks): :class:`Recipe` is where such choices are stated, and the
workshop that makes them grows around :func:`quantize`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from agent.errors import InputError, ModelError
from tools.model import clean

_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True)
class Recipe:
    """How to quantize. ``kept_float`` names nodes that stay in float."""

    per_channel: bool = True
    activations: Literal["uint8", "int8"] = "uint8"
    weights: Literal["uint8", "int8"] = "int8"
    ranges: Literal["minmax", "entropy", "percentile"] = "minmax"
    kept_float: tuple[str, ...] = ()

    def __str__(self) -> str:
        grain = "per channel" if self.per_channel else "per tensor"
        return f"static QDQ, {grain}, activations {self.activations}, weights {self.weights}, {self.ranges}"


PLAIN = Recipe()
"""Fast on x86 with VNNI; S8 activations are slower there and faster on ARM."""


@dataclass(frozen=True)
class Calibration:
    """What the quantizer was shown: the number of tensors, and one SHA-256 over their bytes in order."""

    images: int
    sha256: str


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds tensors one by one and notes what it fed."""

    def __init__(self, name: str, tensors: Iterable[np.ndarray]) -> None:
        self._name = name
        self._tensors: Iterator[np.ndarray] = iter(tensors)
        self._hash = hashlib.sha256()
        self.count = 0

    def get_next(self) -> dict[str, Any] | None:
        """Return the next feed, or None at the end."""
        tensor = next(self._tensors, None)
        if tensor is None:
            return None
        self.count += 1
        self._hash.update(np.ascontiguousarray(tensor).tobytes())
        return {self._name: tensor}

    def summary(self) -> Calibration:
        """Return what has been fed so far."""
        return Calibration(self.count, self._hash.hexdigest())


def quantize(source: Path, target: Path, tensors: Iterable[np.ndarray], recipe: Recipe = PLAIN) -> Calibration:
    """Write the cleaned model ``source`` as INT8 to ``target``, calibrated on ``tensors`` (the input's shape and type).

    Raises :class:`ModelError` (the model cannot be quantized), :class:`InputError` (no tensors).
    """
    model = clean.load(source)
    _check(model, source, recipe)
    reader = _Reader(model.graph.input[0].name, tensors)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lookout-quantize-") as folder:
        draft = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                str(source),
                str(draft),
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=recipe.per_channel,
                activation_type=_TYPES[recipe.activations],
                weight_type=_TYPES[recipe.weights],
                calibrate_method=_METHODS[recipe.ranges],
                nodes_to_exclude=list(recipe.kept_float),
            )
        except (RuntimeError, ValueError) as error:
            if reader.count == 0:
                raise InputError("calibration was given no images; at least one is needed") from error
            raise ModelError(f"{source}: cannot be quantized: {error}") from error
        target.write_bytes(draft.read_bytes())
    return reader.summary()


def _check(model: onnx.ModelProto, source: Path, recipe: Recipe) -> None:
    """Refuse what would quantize and then fail to load."""
    opset = clean.opset_of(model)
    if recipe.per_channel and opset < 13:
        raise ModelError(f"{source}: opset {opset} has no per-channel quantization (13 does); clean the model first")
    if len(model.graph.input) != 1:
        raise ModelError(f"{source}: the graph lists {len(model.graph.input)} inputs; clean the model first")
    unknown = sorted(set(recipe.kept_float) - {node.name for node in model.graph.node})
    if unknown:
        raise InputError(f"kept_float names nodes that {source} does not have: {', '.join(unknown)}")
