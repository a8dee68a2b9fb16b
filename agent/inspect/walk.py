"""Everything that a model file holds, wherever it hides: subgraphs of control flow and functions of its own too.

Nothing is followed that leads outside the file. Generators, so that a file with a million nodes costs no list of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Yield the graph and every graph below it."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting.extend(subgraphs(node))
    for function in model.functions:
        for node in function.node:
            for below in subgraphs(node):
                yield from _graphs_of(below)


def _graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting.extend(subgraphs(node))


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yield every node of every graph and function."""
    for graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH or attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def tensors(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield every tensor with data, and what people would call it."""
    for graph in graphs(model):
        for tensor in graph.initializer:
            yield f"initializer {tensor.name!r}", tensor
        for sparse in graph.sparse_initializer:
            yield f"sparse initializer {sparse.values.name!r}", sparse.values
            yield f"indices of sparse initializer {sparse.values.name!r}", sparse.indices
    for node in nodes(model):
        for attribute in node.attribute:
            where = f"attribute {attribute.name!r} of {node.op_type} {node.name or node.output[:1]!r}"
            if attribute.HasField("t"):
                yield where, attribute.t
            for tensor in attribute.tensors:
                yield where, tensor
            if attribute.HasField("sparse_tensor"):
                yield where, attribute.sparse_tensor.values
                yield where, attribute.sparse_tensor.indices


def item_bytes(kind: int) -> float:
    """Return what one number of a tensor's type takes (half a byte for 4 bits); 0 for texts and unknown types."""
    names = onnx.TensorProto.DataType
    if kind == names.STRING or kind not in names.values():
        return 0.0
    name = names.Name(kind)
    if name in ("INT4", "UINT4", "FLOAT4E2M1"):
        return 0.5
    if name in ("INT2", "UINT2"):
        return 0.25
    if name == "UNDEFINED":
        return 0.0
    return float(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
