"""What a model file holds, read without running it. Damage is told apart from peculiarities.

The bytes are parsed as the device's inspection parses them, and everything that the inspection would refuse a release
for is listed: here all of it, there the first. External data is not opened.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

from agent.errors import ModelError
from agent.inspect import checks, walk
from agent.inspect.runtime import Runtime
from tools.model.check import cost, fusion

_MEMORY_BYTES = 2**31 - 1
"""What sizes are compared with at first: ONNX's own limit. A target's memory is judged with the target."""
_HOT_ELEMENTS = 1000
_MOST_NAMED = 5


class Tensor(msgspec.Struct, frozen=True):
    """An input or output; a size that the file leaves open is its name, or ``?``."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Facts(msgspec.Struct, frozen=True):
    """What is in the file. ``refusals``: what the device's inspection would say; empty is good.

    ``precision``: ``float32``, ``float16``, ``float64``, ``int8`` or ``dynamic int8``. ``activations``: type of INT8
    activations, None without. ``zero_points``: some are not 0. ``rounded_silu``: SiLUs computed in INT8. ``wide``:
    where 64-bit numbers are computed. ``macs`` leaves ``uncounted`` nodes out; ``peak_bytes`` is None where shapes are
    open.
    """

    file: str
    size_bytes: int
    ir_version: int
    opset: int
    producer: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: int
    operators: dict[str, int]
    parameters: int
    weight_bytes: int
    macs: int
    uncounted: int
    peak_bytes: int | None
    precision: str
    activations: str | None
    zero_points: bool
    rounded_silu: int
    initializer_inputs: int
    external: tuple[str, ...]
    open_shapes: tuple[str, ...]
    control_flow: tuple[str, ...]
    wide: tuple[str, ...]
    shape_inference: str
    refusals: tuple[str, ...]


def read(path: Path, runtime: Runtime) -> tuple[ModelProto, Facts]:
    """Return the model with inferred shapes, and its facts. Raises :class:`ModelError` for what is no ONNX file."""
    model = checks.read(path, path.name, _MEMORY_BYTES)
    if not model.graph.node and not model.graph.output:
        raise ModelError(f"{path.name}: holds an empty graph, so it is not an ONNX model; export it again")
    refusals = tuple(_refusals(model, path.name, runtime))
    inferred, words = infer(model)
    return inferred, _facts(path, inferred, refusals, words)


def _refusals(model: ModelProto, name: str, runtime: Runtime) -> Iterator[str]:
    """Yield what each of the device's checks refuses, in its words without the file's name."""
    every: tuple[Callable[[], Any], ...] = (
        lambda: checks.check_versions(model, name, runtime),
        lambda: checks.check_nodes(model, name),
        lambda: checks.check_domains(model, name, ("CPUExecutionProvider", "TensorrtExecutionProvider")),
        lambda: checks.check_external(model, name),
        lambda: checks.check_sizes(model, name, _MEMORY_BYTES),
        lambda: checks.check_operators(model, name, runtime, ("CPUExecutionProvider",)),
        lambda: checks.check_structure(model, name),
        lambda: checks.check_ends(model, name),
    )
    seen: set[str] = set()
    for check in every:
        try:
            check()
        except ModelError as error:
            words = error.message.removeprefix(f"{name}: ")
            if words not in seen:
                yield words
            seen.add(words)


def infer(model: ModelProto) -> tuple[ModelProto, str]:
    """Return the model with the shapes that onnx infers, and in words how that went."""
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True), "whole"
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        strict = str(error).strip().splitlines()[0][:200]
    try:
        return onnx.shape_inference.infer_shapes(model), f"partial: {strict}"
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return model, f"none: {strict}"


def _facts(path: Path, model: ModelProto, refusals: tuple[str, ...], words: str) -> Facts:
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    shapes, items = cost.shapes_of(model)
    macs, uncounted = cost.macs(graph, shapes)
    weights = [tensor for _, tensor in walk.tensors(model)]
    rounding = _Rounding(model)
    operators = Counter(node.op_type for node in walk.nodes(model))
    return Facts(
        file=str(path),
        size_bytes=path.stat().st_size,
        ir_version=model.ir_version,
        opset=checks.opset_of(model),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(map(describe, inputs)),
        outputs=tuple(map(describe, graph.output)),
        nodes=operators.total(),
        operators=dict(operators.most_common()),
        parameters=sum(math.prod(tensor.dims) for tensor in weights if tensor.dims),
        weight_bytes=math.ceil(sum(math.prod(one.dims) * walk.item_bytes(one.data_type) for one in weights)),
        macs=macs,
        uncounted=uncounted,
        peak_bytes=cost.peak_bytes(graph, shapes, items),
        precision=_precision(operators, weights),
        activations=rounding.activations,
        zero_points=rounding.zero_points,
        rounded_silu=fusion.silu(fusion.Graph(graph), rounded_only=True),
        initializer_inputs=sum(value.name in stored for value in graph.input),
        external=tuple(sorted({_location(tensor) for tensor in weights if _is_external(tensor)})),
        open_shapes=tuple(_open_shapes(inputs)),
        control_flow=checks.control_flow(model),
        wide=tuple(_wide(model, shapes)),
        shape_inference=words,
        refusals=refusals,
    )


def describe(value: ValueInfoProto) -> Tensor:
    """Return a graph's input or output as a record."""
    kind = value.type.tensor_type.elem_type
    dims = value.type.tensor_type.shape.dim
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims)
    dtype = onnx.TensorProto.DataType.Name(kind).lower() if kind else "no tensor"
    return Tensor(value.name, dtype, sizes)


class _Rounding:
    """How the file's INT8 activations are stored."""

    def __init__(self, model: ModelProto) -> None:
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.activations: str | None = None
        self.zero_points = False
        for node in model.graph.node:
            if node.op_type != "QuantizeLinear" or len(node.input) < 3 or node.input[2] not in stored:
                continue
            point = stored[node.input[2]]
            self.activations = onnx.TensorProto.DataType.Name(point.data_type).lower()
            self.zero_points = self.zero_points or (
                not _is_external(point) and bool(np.any(numpy_helper.to_array(point)))
            )


def _precision(operators: Counter[str], weights: list[TensorProto]) -> str:
    if operators["DynamicQuantizeLinear"] or operators["MatMulInteger"] or operators["ConvInteger"]:
        return "dynamic int8"
    if operators["QuantizeLinear"] or any(name.startswith("QLinear") for name in operators):
        return "int8"
    kinds: Counter[int] = Counter()
    for tensor in weights:
        kinds[tensor.data_type] += math.prod(tensor.dims)
    floats = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "float64"}
    counted = [(kinds[kind], name) for kind, name in floats.items() if kinds[kind]]
    return max(counted)[1] if counted else "float32"


def _is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL or bool(tensor.external_data)


def _location(tensor: TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")


def _open_shapes(inputs: list[ValueInfoProto]) -> Iterator[str]:
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        sizes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]
        if any(not isinstance(size, int) or size <= 0 for size in sizes):
            yield f"{value.name} [{', '.join(map(str, sizes))}]"


def _wide(model: ModelProto, shapes: cost.Shapes) -> Iterator[str]:
    """Yield nodes that compute in float64, and those that make many 64-bit integers."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    found: dict[tuple[str, str], list[str]] = {}
    for node in model.graph.node:
        for name in node.output:
            kind, elements = kinds.get(name), math.prod(shapes.get(name, (0,)))
            if kind == TensorProto.DOUBLE:
                found.setdefault(("float64", node.op_type), []).append(node.name or name)
            elif kind == TensorProto.INT64 and elements >= _HOT_ELEMENTS:
                found.setdefault(("int64", node.op_type), []).append(node.name or name)
    for (kind_name, operator), names in sorted(found.items()):
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"{kind_name} in {len(names)} {operator}: {', '.join(names[:_MOST_NAMED])}{more}"
