"""A float model and the INT8 one made from it, matched node by node; and float models with chosen tensors quantized.

The INT8 model is of QDQ format: a tensor passes through ``QuantizeLinear`` and ``DequantizeLinear``, a weight through
the latter alone. Nodes are matched by name, or by what they write where they have none, never by the names of tensors:
every quantizer invents its own. :meth:`Pair.model` puts the very same scales and zero points into the float graph, for
as many tensors as asked, so that the error of one part can be seen alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from agent.errors import InputError
from tools.model import clean

QUANTIZE = "QuantizeLinear"
DEQUANTIZE = "DequantizeLinear"
FOLLOWERS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Gelu", "QuickGelu"}
)
"""Operators that belong to the block of the node they follow; a ``Mul`` of both (SiLU) does too."""
MOVERS = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
"""Operators that only move numbers: quantizing them adds no error of their own."""


@dataclass(frozen=True)
class Quantizer:
    """How the INT8 model quantizes one tensor; ``quantize`` is None for a weight, which is stored quantized."""

    quantize: NodeProto | None
    dequantize: NodeProto


@dataclass(frozen=True)
class Pair:
    """Both models; ``quantizers`` by the *float* model's tensor names, ``matched``: its nodes that both have."""

    float_model: ModelProto
    int8_model: ModelProto
    quantizers: dict[str, Quantizer]
    matched: tuple[NodeProto, ...]

    def blocks(self) -> Iterator[tuple[NodeProto, ...]]:
        """Yield what can be left float as one: a node with quantized tensors, and the activation behind it."""
        readers = _readers(self.float_model)
        taken: set[str] = set()
        for node in self.matched:
            if node.output[0] in taken or node.op_type in MOVERS or not self.tensors_of([node]):
                continue
            block = (node, *_followers(node, readers))
            taken.update(member.output[0] for member in block)
            yield block

    def tensors_of(self, nodes: Collection[NodeProto]) -> set[str]:
        """Return the tensors that these nodes read or write and the INT8 model quantizes."""
        return {name for node in nodes for name in (*node.input, *node.output) if name in self.quantizers}

    def model(self, tensors: Collection[str]) -> ModelProto:
        """Return the float model with these tensors quantized as in the INT8 model."""
        model = ModelProto()
        model.CopyFrom(self.float_model)
        given = {value.name for value in model.graph.input} | {tensor.name for tensor in model.graph.initializer}
        chosen = [name for name in self.quantizers if name in tensors]
        renamed = {name: f"{name}/dequantized" for name in chosen if name in given}
        nodes = [node for name in renamed for node in self._inserted(name, name, renamed[name])]
        for node in self.float_model.graph.node:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [renamed.get(name, name) for name in node.input]
            made = [name for name in node.output if name in tensors and name in self.quantizers]
            copy.output[:] = [f"{name}/float" if name in made else name for name in node.output]
            nodes.append(copy)
            nodes += [step for name in made for step in self._inserted(name, f"{name}/float", name)]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        self._add_parameters(model, chosen)
        del model.graph.value_info[:]  # of tensors that are others now
        return model

    def _inserted(self, name: str, source: str, target: str) -> Iterator[NodeProto]:
        """Yield the quantizer's nodes, from ``source`` to ``target``; a weight is read as it is stored."""
        quantizer = self.quantizers[name]
        last = NodeProto()
        last.CopyFrom(quantizer.dequantize)
        last.name, last.output[0] = f"{name}/dequantize", target
        if quantizer.quantize is not None:
            first = NodeProto()
            first.CopyFrom(quantizer.quantize)
            first.name, first.input[0], first.output[0] = f"{name}/quantize", source, f"{name}/quantized"
            last.input[0] = first.output[0]
            yield first
        yield last

    def _add_parameters(self, model: ModelProto, names: Collection[str]) -> None:
        wanted: set[str] = set()
        for name in names:
            quantizer = self.quantizers[name]
            wanted.update(quantizer.dequantize.input[1:])
            wanted.update(quantizer.quantize.input[1:] if quantizer.quantize else quantizer.dequantize.input[:1])
        wanted -= {tensor.name for tensor in model.graph.initializer}
        model.graph.initializer.extend(one for one in self.int8_model.graph.initializer if one.name in wanted)


def read_pair(float_path: Path, int8_path: Path) -> Pair:
    """Read and match both. Raises :class:`~agent.errors.ModelError` (no ONNX), :class:`InputError` (no pair)."""
    float_model, int8_model = clean.load(float_path), clean.load(int8_path)
    operators = {node.op_type for node in int8_model.graph.node}
    if DEQUANTIZE not in operators:
        why = (
            "its operators are quantized ones (QOperator format)"
            if any(name.startswith("QLinear") for name in operators)
            else "nothing in it is quantized"
        )
        raise InputError(f"{int8_path}: is no INT8 model of QDQ format: {why}; give the file that quantize wrote")
    if DEQUANTIZE in {node.op_type for node in float_model.graph.node}:
        raise InputError(f"{float_path}: is quantized itself; give the float model that {int8_path.name} was made from")
    matched = tuple(_matches(float_model, int8_model))
    quantizers = _quantizers(int8_model, matched)
    if not quantizers:
        raise InputError(
            f"{float_path} and {int8_path} have no quantized layer in common ({len(matched)} nodes that are in both); "
            "give the cleaned float model that the INT8 one was made from"
        )
    return Pair(float_model, int8_model, quantizers, tuple(node for node, _ in matched))


def _matches(float_model: ModelProto, int8_model: ModelProto) -> Iterator[tuple[NodeProto, NodeProto]]:
    steps = [node for node in int8_model.graph.node if node.op_type not in {QUANTIZE, DEQUANTIZE}]
    by_name = {node.name: node for node in steps if node.name}
    by_output = {node.output[0]: node for node in steps}
    for node in float_model.graph.node:
        other = by_name.get(node.name) or by_output.get(node.output[0])
        if other is not None and other.op_type == node.op_type and len(other.input) == len(node.input):
            yield node, other


def _quantizers(int8_model: ModelProto, matched: Collection[tuple[NodeProto, NodeProto]]) -> dict[str, Quantizer]:
    makers = {name: node for node in int8_model.graph.node for name in node.output}
    stored = {tensor.name for tensor in int8_model.graph.initializer}
    found: dict[str, Quantizer] = {}
    activations: dict[str, Quantizer] = {}
    for node in int8_model.graph.node:
        first = makers.get(node.input[0]) if node.op_type == DEQUANTIZE else None
        if first is not None and first.op_type == QUANTIZE:
            activations.setdefault(first.input[0], Quantizer(first, node))
    for node, other in matched:
        for name, int8_name in zip(node.input, other.input, strict=True):
            maker = makers.get(int8_name)
            if maker is None or maker.op_type != DEQUANTIZE:
                continue
            if maker.input[0] in stored:
                found.setdefault(name, Quantizer(None, maker))
            elif maker.input[0] in makers:
                found.setdefault(name, Quantizer(makers[maker.input[0]], maker))
        for name, int8_name in zip(node.output, other.output, strict=False):
            if int8_name in activations:
                found.setdefault(name, activations[int8_name])
    return found


def _readers(model: ModelProto) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _followers(node: NodeProto, readers: dict[str, list[NodeProto]]) -> Iterator[NodeProto]:
    """Yield the activation behind a node: one operator, or a SiLU's two."""
    if node.op_type in FOLLOWERS or len(node.output) != 1:
        return
    for reader in readers.get(node.output[0], []):
        if reader.op_type not in FOLLOWERS or reader.input[0] != node.output[0]:
            continue
        yield reader
        for last in readers.get(reader.output[0], []):
            if last.op_type == "Mul" and node.output[0] in last.input:
                yield last


def save(model: ModelProto, path: Path) -> Path:
    """Write a model made here."""
    onnx.save(model, path)
    return path
