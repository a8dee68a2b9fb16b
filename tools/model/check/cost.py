"""What a graph costs, by its shapes: multiply-accumulates, and the memory of its activations. Pure.

MACs are those of convolutions, matrix products and recurrent layers: the rest is a few per cent of a network, though
not always of its time. The peak is the largest sum of tensors alive at once when nodes run in the order of the file,
each output in memory of its own: a runtime that works in place, or fuses, needs less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from agent.inspect import walk

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


def shapes_of(model: ModelProto) -> tuple[dict[str, Shape], dict[str, float]]:
    """Return shape and bytes of one item for every tensor whose shape is known; an open first axis counts as 1."""
    shapes: dict[str, Shape] = {}
    items: dict[str, float] = {}
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        shape = _shape(value)
        if shape is not None:
            shapes[value.name] = shape
            items[value.name] = walk.item_bytes(value.type.tensor_type.elem_type)
    for tensor in graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
        items[tensor.name] = walk.item_bytes(tensor.data_type)
    return shapes, items


def _shape(value: ValueInfoProto) -> Shape | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in value.type.tensor_type.shape.dim]
    if sizes and sizes[0] <= 0:
        sizes[0] = 1
    return tuple(sizes) if all(size > 0 for size in sizes) else None


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _convolution(node: NodeProto, shapes: Shapes, weight: int = 1) -> int:
    return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[weight]][1:])


def _transposed(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _product(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    depth = shapes[node.input[0]][0 if _attribute(node, "transA", 0) else -1]
    return math.prod(shapes[node.output[0]]) * depth


def _recurrent(node: NodeProto, shapes: Shapes) -> int:
    steps, batch = shapes[node.input[0]][:2]
    return steps * batch * (math.prod(shapes[node.input[1]]) + math.prod(shapes[node.input[2]]))


_COSTS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "Conv": _convolution,
    "FusedConv": _convolution,
    "ConvInteger": _convolution,
    "QLinearConv": lambda node, shapes: _convolution(node, shapes, 3),
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "FusedMatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}


def macs(graph: GraphProto, shapes: Shapes) -> tuple[int, int]:
    """Return the multiply-accumulates of one run, and how many nodes could not be counted for want of a shape."""
    total = unknown = 0
    for node in graph.node:
        count = _COSTS.get(node.op_type)
        if count is None:
            continue
        try:
            total += count(node, shapes)
        except (KeyError, IndexError, ValueError):
            unknown += 1
    return total, unknown


def peak_bytes(graph: GraphProto, shapes: Shapes, items: Mapping[str, float]) -> int | None:
    """Return the most bytes of activations alive at once; None where a shape is unknown."""
    stored = {tensor.name for tensor in graph.initializer}
    made = {name for node in graph.node for name in node.output if name}
    made |= {value.name for value in graph.input} - stored
    if not all(name in shapes for name in made):
        return None
    size = {name: math.ceil(math.prod(shapes[name]) * items[name]) for name in made}
    last = {name: number for number, node in enumerate(graph.node) for name in node.input}
    last |= {value.name: len(graph.node) for value in graph.output}
    alive = sum(size[value.name] for value in graph.input if value.name in size)
    most = alive
    for number, node in enumerate(graph.node):
        alive += sum(size[name] for name in node.output if name)
        most = max(most, alive)
        done = {name for name in (*node.input, *node.output) if name in size and last.get(name, -1) <= number}
        alive -= sum(size[name] for name in done)
    return most
