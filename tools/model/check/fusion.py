"""Patterns that a runtime should run as one step: how many the file holds, and how many ONNX Runtime leaves. Pure.

Counting happens twice, on the file and on what ONNX Runtime's own optimisation made of it, because an exporter's
decomposition does no harm where the runtime puts it together again. ``QuantizeLinear`` and ``DequantizeLinear`` between
two nodes are looked through.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from onnx import GraphProto, NodeProto

_ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})
_ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid"})


class Pattern(msgspec.Struct, frozen=True):
    """How often a pattern is ``found`` in the file and ``left`` after optimisation (None: it was not optimised)."""

    name: str
    found: int
    left: int | None
    advice: str


class Graph:
    """Who makes and who reads each tensor."""

    def __init__(self, graph: GraphProto) -> None:
        self.nodes = list(graph.node)
        self.stored = {tensor.name for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def maker(self, name: str) -> NodeProto | None:
        """Return the node that makes a tensor, seen through rounding."""
        node = self._makers.get(name)
        while node is not None and node.op_type in _ROUNDING:
            node = self._makers.get(node.input[0])
        return node

    def source(self, name: str) -> str:
        """Return the tensor that a rounded one was made from."""
        node = self._makers.get(name)
        while node is not None and node.op_type in _ROUNDING and node.input[0] in self._makers:
            name, node = node.input[0], self._makers.get(node.input[0])
        if node is not None and node.op_type in _ROUNDING:
            name = node.input[0]
        return name

    def made_by(self, name: str, *operators: str) -> NodeProto | None:
        """Return the maker if it is one of these operators."""
        node = self.maker(name)
        return node if node is not None and node.op_type in operators else None

    def is_rounded(self, name: str) -> bool:
        """Tell whether a tensor comes straight out of a ``DequantizeLinear``."""
        node = self._makers.get(name)
        return node is not None and node.op_type == "DequantizeLinear"


def _norm_after_convolution(graph: Graph) -> int:
    return sum(
        node.op_type == "BatchNormalization" and graph.made_by(node.input[0], "Conv", "ConvTranspose") is not None
        for node in graph.nodes
    )


def silu(graph: Graph, *, rounded_only: bool = False) -> int:
    """Count ``x * sigmoid(x)``; only those computed on rounded numbers where asked."""
    count = 0
    for node in graph.nodes:
        if node.op_type != "Mul" or len(node.input) != 2:
            continue
        for gate, value in (tuple(node.input), tuple(node.input)[::-1]):
            maker = graph.made_by(gate, "Sigmoid")
            if maker is not None and graph.source(maker.input[0]) == graph.source(value):
                count += not rounded_only or graph.is_rounded(maker.input[0])
                break
    return count


def _hard_swish(graph: Graph) -> int:
    count = 0
    for node in graph.nodes:
        if node.op_type != "Mul" or len(node.input) != 2:
            continue
        for gate, value in (tuple(node.input), tuple(node.input)[::-1]):
            maker = graph.made_by(gate, "HardSigmoid", "Clip", "Div")
            if maker is not None and graph.source(value) in _roots(graph, maker):
                count += 1
                break
    return count


def _roots(graph: Graph, node: NodeProto) -> set[str]:
    """Return what a hard sigmoid was computed from: itself one operator, or Add, Clip (or Min, Max), Div."""
    roots: set[str] = set()
    for _ in range(4):
        roots.update(graph.source(name) for name in node.input)
        above = graph.made_by(node.input[0], "Add", "Clip", "Min", "Max", "Div")
        if above is None:
            break
        node = above
    return roots


def _gelu(graph: Graph) -> int:
    return sum(node.op_type == "Erf" for node in graph.nodes)


def _layer_norm(graph: Graph) -> int:
    """Count the square root of a mean plus epsilon: what is left of a layer norm in pieces."""
    count = 0
    for node in graph.nodes:
        if node.op_type != "Sqrt":
            continue
        above = graph.made_by(node.input[0], "Add")
        count += above is not None and any(graph.made_by(name, "ReduceMean") for name in above.input)
    return count


def _activation_after_convolution(graph: Graph) -> int:
    return sum(
        node.op_type in _ACTIVATIONS and graph.made_by(node.input[0], "Conv") is not None for node in graph.nodes
    ) - silu(graph)


def _bias_after_product(graph: Graph) -> int:
    return sum(
        node.op_type == "Add"
        and any(name in graph.stored for name in node.input)
        and any(graph.made_by(name, "MatMul") for name in node.input)
        for node in graph.nodes
    )


_PATTERNS: tuple[tuple[str, Callable[[Graph], int], str], ...] = (
    ("Conv + BatchNormalization", _norm_after_convolution, "`lookout model optimize` folds it into the weights"),
    ("SiLU as Sigmoid + Mul", silu, "on a CPU this costs more than the convolution before it saves in INT8"),
    ("HardSwish in pieces", _hard_swish, "export with opset 14 or later, which has HardSwish"),
    ("GELU in pieces (Erf)", _gelu, "export with opset 20, which has Gelu, or let the runtime fuse it"),
    ("LayerNorm in pieces", _layer_norm, "export with opset 17 or later, which has LayerNormalization"),
    ("Conv + activation", _activation_after_convolution, "the runtime fuses most of them"),
    ("MatMul + bias", _bias_after_product, "export it as Gemm, or let the runtime fuse it"),
)


def patterns(file: GraphProto, optimised: GraphProto | None) -> tuple[Pattern, ...]:
    """Return the patterns that the file holds."""
    before, after = Graph(file), None if optimised is None else Graph(optimised)
    counted = [
        (name, count(before), None if after is None else count(after), advice) for name, count, advice in _PATTERNS
    ]
    return tuple(Pattern(*row) for row in counted if row[1] or row[2])
