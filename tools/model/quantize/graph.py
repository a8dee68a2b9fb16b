"""What the quantizer must know of a graph: its blocks, its decode tail, its SiLUs, and what kind of model it is. Pure.

A block is one node that multiplies by weights (Conv, Gemm, MatMul) with its activation, found by position: all
that is computed from its answer alone. The decode tail is everything from which no such node can be reached any more:
reading boxes off the last convolutions is arithmetic on numbers of unlike size, which eight bits cannot hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx

from agent.errors import ModelError

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
ATTENTION = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention"})
_POINTWISE = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu"),
        *("Softplus", "Mish", "Erf", "Mul", "Add", "Sub", "Div"),
    }
)

Kind = Literal["convolutional", "recurrent", "transformer"]


@dataclass(frozen=True)
class Block:
    """A weighted node and its activation; ``name`` is the weighted node's, ``nodes`` all names in the graph's order."""

    name: str
    nodes: tuple[str, ...]


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node of the main graph a name of its own, in place: choices are stated by name."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}_{node.output[0] if node.output else 'none'}"
        taken.add(node.name)


def kind(model: onnx.ModelProto) -> Kind:
    """Tell models whose ranges depend on what they have seen (recurrent, attention) from convolutional ones."""
    ops = {node.op_type for node in model.graph.node}
    if ops & RECURRENT:
        return "recurrent"
    constants = _constants(model)
    attends = any(
        node.op_type == "MatMul" and not any(name in constants for name in node.input) for node in model.graph.node
    )
    return "transformer" if ops & ATTENTION or (attends and "Softmax" in ops) else "convolutional"


def blocks(model: onnx.ModelProto) -> tuple[Block, ...]:
    """Return the blocks in the graph's order; nodes must have names (:func:`name_nodes`)."""
    constants, readers = _constants(model), _readers(model)
    found = []
    for node in model.graph.node:
        if node.op_type in WEIGHTED and any(name in constants for name in node.input[1:2]):
            inside = _with_activation(node, readers, constants)
            found.append(Block(node.name, tuple(other.name for other in model.graph.node if other.name in inside)))
    return tuple(found)


def decode_tail(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the nodes behind the last weighted node of each path. Raises :class:`ModelError`: all are."""
    makers = {output: node for node in model.graph.node for output in node.output}
    before: set[str] = set()
    waiting = [node for node in model.graph.node if node.op_type in WEIGHTED | RECURRENT | ATTENTION]
    if not waiting:
        raise ModelError("the model has no Conv, Gemm or MatMul: there is nothing that INT8 would make faster")
    while waiting:
        node = waiting.pop()
        if node.name not in before:
            before.add(node.name)
            waiting += [makers[name] for name in node.input if name in makers]
    return tuple(node.name for node in model.graph.node if node.name not in before)


def silu_inputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the tensors ``x`` of every ``x * sigmoid(x)``."""
    gates = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Sigmoid"}
    return tuple(
        x
        for node in model.graph.node
        if node.op_type == "Mul"
        for x, gate in (tuple(node.input), tuple(reversed(node.input)))
        if gates.get(gate) == x
    )


def float_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of all float32 values that depend on the input, the input first. Needs inferred shapes."""
    typed = [*model.graph.value_info, *model.graph.output]
    floats = {value.name for value in typed if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    depends = {model.graph.input[0].name}
    names = list(depends)
    for node in model.graph.node:
        if any(name in depends for name in node.input):
            depends.update(node.output)
            names += [name for name in node.output if name in floats]
    return tuple(names)


def _with_activation(start: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], constants: set[str]) -> set[str]:
    """Return the names of ``start`` and of what is computed from its answer and constants alone, point by point."""
    inside, values = {start.name}, set(start.output)
    waiting = list(start.output)
    while waiting:
        for reader in readers[waiting.pop()]:
            fed = all(not name or name in values or name in constants for name in reader.input)
            if reader.name not in inside and reader.op_type in _POINTWISE and fed:
                inside.add(reader.name)
                values.update(reader.output)
                waiting += list(values)  # a reader that lacked this value may be fed now
    return inside


def _constants(model: onnx.ModelProto) -> set[str]:
    return set(_constant_names(model))


def _constant_names(model: onnx.ModelProto) -> Iterator[str]:
    for tensor in model.graph.initializer:
        yield tensor.name
    for node in model.graph.node:
        if node.op_type == "Constant":
            yield from node.output


def _readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers
