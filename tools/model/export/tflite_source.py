"""TFLite files, through tf2onnx; run by TensorFlow's own interpreter for parity.

A quantized ``.tflite`` is converted with its quantization (QuantizeLinear, DequantizeLinear): better to export the
float model it was made of, and to quantize that here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx

from agent.errors import InputError
from tools.model.export import keras_source
from tools.model.export.keras_source import OpenPort
from tools.model.export.native import hushed
from tools.model.export.source import Asked, Exported
from tools.model.export.troubles import foreign

_MAGIC = b"TFL3"
_QUANTIZED = "the .tflite is quantized already: for a good INT8, export its float model and quantize that"


class TfliteSource:
    """A TFLite file. Tensors are allocated at the first run only: that refuses what the converter can name."""

    def __init__(self, path: Path, asked: Asked) -> None:
        if path.stat().st_size < 8 or path.read_bytes()[4:8] != _MAGIC:
            raise InputError(f"{path}: is not a TFLite file (its mark {_MAGIC.decode()} is missing)")
        self._path, self._named = path, asked.text
        self._interpreter = _interpreter(path)
        details = self._interpreter.get_input_details()
        ports = tuple(
            OpenPort(
                str(one["name"]).partition(":")[0].replace("serving_default_", ""),
                tuple(None if size < 0 else int(size) for size in one["shape_signature"]),
                np.dtype(one["dtype"]).name,
            )
            for one in details
        )
        self.inputs = keras_source.with_shapes(ports, asked)
        self.framework = f"TFLite of TensorFlow {tf.__version__}"
        self.example = None
        self._allocated: tuple[tuple[int, ...], ...] | None = None

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the interpreter's outputs."""
        interpreter = self._interpreter
        with foreign(f"{self._named}: TFLite cannot run the model"), hushed():
            details = interpreter.get_input_details()
            shapes = tuple(array.shape for array in inputs)
            if self._allocated != shapes:
                for detail, shape in zip(details, shapes, strict=True):
                    interpreter.resize_tensor_input(detail["index"], shape)
                interpreter.allocate_tensors()
                self._allocated = shapes
            for detail, array in zip(details, inputs, strict=True):
                interpreter.set_tensor(detail["index"], array)
            interpreter.invoke()
            return [np.array(interpreter.get_tensor(one["index"])) for one in interpreter.get_output_details()]

    def export(self, asked: Asked) -> Exported:
        """Return the graph by tf2onnx, with static shapes unless dynamic ones were asked for."""
        exported = keras_source.to_onnx(self._convert, asked, names=[port.name for port in self.inputs])
        for value, port in zip(exported.model.graph.input, self.inputs, strict=True):
            for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, port.shape, strict=True)):
                if not (asked.dynamic and axis == 0):
                    dim.dim_value = size
        if not asked.dynamic:
            for value in exported.model.graph.output:
                value.type.tensor_type.ClearField("shape")  # inferred anew from the static inputs
            del exported.model.graph.value_info[:]
        quantized = any(node.op_type == "DequantizeLinear" for node in exported.model.graph.node)
        return Exported(exported.model, exported.exporter, (*exported.notes, *((_QUANTIZED,) if quantized else ())))

    def _convert(self, opset: int) -> Any:
        with hushed():
            return tf2onnx.convert.from_tflite(os.fspath(self._path), opset=opset)[0]


def _interpreter(path: Path) -> Any:
    with foreign(f"{path}: TFLite cannot read it"), warnings.catch_warnings(), hushed():
        warnings.simplefilter("ignore")  # it announces its successor
        return tf.lite.Interpreter(model_path=os.fspath(path))
