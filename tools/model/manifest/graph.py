"""What a model's graph says of itself: inputs and outputs with real sizes, metadata, precision, what computes what.

Nothing is guessed here. A dimension that the file leaves free (``-1``) is resolved by :func:`resolve` for the input
size that it is given, by shape inference and, where that does not reach, by one run on zeros.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from agent.errors import InputError, ModelError
from agent.infer.session import Session
from agent.types import TensorInfo
from tools.model import clean

Precision = Literal["fp32", "fp16", "int8"]

_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "tensor(float)",
    onnx.TensorProto.FLOAT16: "tensor(float16)",
    onnx.TensorProto.DOUBLE: "tensor(double)",
    onnx.TensorProto.UINT8: "tensor(uint8)",
    onnx.TensorProto.INT8: "tensor(int8)",
    onnx.TensorProto.INT32: "tensor(int32)",
    onnx.TensorProto.INT64: "tensor(int64)",
}
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"}
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvInteger", "FusedConv"}
_MOVING = {
    *("Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Flatten"),
    *("Squeeze", "Unsqueeze", "Concat", "Slice", "Split"),
}
_ARITHMETIC = {"Sub", "Div", "Mul", "Add", "BatchNormalization"}


@dataclass(frozen=True)
class Graph:
    """A loaded model with one input. Sizes that even a run does not tell are ``-1``."""

    model: onnx.ModelProto
    input: TensorInfo
    outputs: tuple[TensorInfo, ...]

    @property
    def metadata(self) -> dict[str, str]:
        """What the exporter wrote into the file."""
        return {entry.key: entry.value for entry in self.model.metadata_props}

    @cached_property
    def _makers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.model.graph.node for name in node.output}

    def made_by(self, output: str) -> str:
        """Return the operator that computes ``output``, looking through those that only move or requantize values."""
        for node in self._back(output, through=_MOVING):
            if node.op_type not in _MOVING:
                return str(node.op_type)
        return ""

    def tail_of(self, output: str) -> frozenset[str]:
        """Return the operators between ``output`` and the nearest weighted layers, these left out."""
        every = {node.op_type for node in self._back(output, through=None)}
        return frozenset(every - _WEIGHTED)

    def _back(self, name: str, *, through: set[str] | None) -> Iterator[onnx.NodeProto]:
        """Walk towards the input, behind every operator of ``through`` (None: any but a weighted one)."""
        waiting, seen = [name], set()
        while waiting:
            node = self._makers.get(waiting.pop())
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            if (node.op_type not in _WEIGHTED) if through is None else (node.op_type in through):
                waiting += node.input

    @cached_property
    def normalises(self) -> bool:
        """Tell whether the graph begins with arithmetic on the pixels, before any layer."""
        waiting, seen = [self.input.name], set()
        while waiting:
            name = waiting.pop()
            for node in self.model.graph.node:
                if name not in node.input or id(node) in seen:
                    continue
                seen.add(id(node))
                if node.op_type in _ARITHMETIC:
                    return True
                if node.op_type in _MOVING:
                    waiting += node.output
        return False

    @property
    def precision(self) -> Precision:
        """Tell what the weights are computed in."""
        if any(node.op_type in _QUANTIZED or node.op_type.startswith("QLinear") for node in self.model.graph.node):
            return "int8"
        counts = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
        for tensor in self.model.graph.initializer:
            if tensor.data_type in counts:
                counts[tensor.data_type] += math.prod(tensor.dims)
        return "fp16" if counts[onnx.TensorProto.FLOAT16] > counts[onnx.TensorProto.FLOAT] else "fp32"


def load_graph(path: Path) -> Graph:
    """Read a model as it is declared. Raises :class:`ModelError`: unreadable, or not exactly one input."""
    model = clean.load(path)
    clean.drop_initializers_from_inputs(model)
    inputs = [_info(value) for value in model.graph.input]
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs) or "none"
        raise ModelError(f"{path}: has {len(inputs)} inputs ({names}); one input that takes a picture is supported")
    return Graph(model, inputs[0], tuple(_info(value) for value in model.graph.output))


def resolve(graph: Graph, shape: Sequence[int], path: Path) -> Graph:
    """Return the graph with its input of ``shape`` and the outputs' sizes found for it. Raises :class:`ModelError`."""
    static = tuple(graph.input.shape) == tuple(shape)
    if static and all(_known(output) for output in graph.outputs):
        return graph
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    clean.pin_input(model, shape)
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except (RuntimeError, ValueError):  # too large for protobuf, or types that contradict: the run below decides
        inferred = model
    found = Graph(inferred, _info(inferred.graph.input[0]), tuple(_info(value) for value in inferred.graph.output))
    if all(_known(output) for output in found.outputs):
        return found
    return Graph(inferred, found.input, _run(model, shape, path))


def _run(model: onnx.ModelProto, shape: Sequence[int], path: Path) -> tuple[TensorInfo, ...]:
    """Return the outputs as one run on zeros shows them. Raises :class:`ModelError`."""
    with tempfile.TemporaryDirectory(prefix="lookout-look-") as folder:
        pinned = Path(folder) / "pinned.onnx"
        onnx.save(model, pinned)
        try:
            session = Session.load(pinned, providers=("CPUExecutionProvider",), threads=1, spin=False)
            arrays = session.run(_zeros(session, shape))
        except ModelError as error:
            raise ModelError(f"{path}: does not run with an input of {list(shape)}: {error.message}") from error
    return tuple(
        TensorInfo(info.name, info.dtype, tuple(array.shape))
        for info, array in zip(session.outputs, arrays, strict=True)
    )


def _zeros(session: Session, shape: Sequence[int]) -> np.ndarray:
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    dtype = kinds.get(session.inputs[0].dtype)
    if dtype is None:
        raise InputError(
            f"input {session.inputs[0].name} is {session.inputs[0].dtype}: a picture's is a float or uint8"
        )
    return np.zeros(tuple(shape), dtype)


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    dtype = _DTYPES.get(tensor.elem_type, f"type {tensor.elem_type}")
    if not tensor.HasField("shape"):
        return TensorInfo(value.name, dtype, ())
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else -1 for dim in tensor.shape.dim)
    return TensorInfo(value.name, dtype, sizes)


def _known(tensor: TensorInfo) -> bool:
    return bool(tensor.shape) and all(size > 0 for size in tensor.shape)
