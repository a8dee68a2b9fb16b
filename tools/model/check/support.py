"""Which operators each execution provider takes: asked of this ONNX Runtime where it tells, read from tables else.

For the CPU the kernels that this ONNX Runtime has registered count, as on the device. Other providers are not in the
workstation's build: their tables lie in ``operators/``, each with its source. A table knows names, not types or
attributes, so "taken" is a hope and "not taken" is sure; a restriction is quoted for a person to look at. OpenVINO is
left out: its answer depends on its device and version, and its own frontend is the only one that knows.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import Any

import msgspec
import onnx
from onnx import ModelProto
from onnxruntime.tools.mobile_helpers import usability_checker

from agent.inspect import walk
from agent.inspect.checks import opset_of
from agent.inspect.runtime import ONNX_DOMAINS, Runtime

CPU = "CPUExecutionProvider"
TABLES = {
    "CUDAExecutionProvider": "cuda.txt",
    "TensorrtExecutionProvider": "tensorrt.txt",
    "XnnpackExecutionProvider": "xnnpack.txt",
}
MOBILE = {
    "NNAPI": "nnapi_supported_ops.md",
    "CoreML (ML program)": "coreml_supported_mlprogram_ops.md",
    "CoreML (neural network)": "coreml_supported_neuralnetwork_ops.md",
}
_ALWAYS = frozenset({"Constant"})
"""Not a step: folded before anything runs."""


class Support(msgspec.Struct, frozen=True):
    """How much of the graph a provider takes. ``missing``: operator → nodes it does not take; ``notes``: restrictions.

    ``partitions``: pieces that the part it takes falls into, None where it was not counted.
    """

    provider: str
    nodes: int
    taken: int
    missing: dict[str, int]
    notes: tuple[str, ...]
    partitions: int | None = None

    @property
    def share(self) -> float:
        """Part of the nodes that it takes, 0 to 1."""
        return self.taken / self.nodes if self.nodes else 1.0


@dataclass(frozen=True)
class Table:
    """A provider's operators of ONNX's own domain: name → restriction, which may be empty."""

    operators: dict[str, str]
    opsets: tuple[int, int] | None

    @classmethod
    def read(cls, name: str) -> Table:
        """Read a table that ships with this package."""
        lines = (
            resources.files(__package__).joinpath("operators").joinpath(name).read_text(encoding="utf-8").splitlines()
        )
        rows = (line.partition(":") for line in lines if line and line[0] not in "#-")
        opsets = next((line.split()[2:] for line in lines if line.startswith("# opset ")), None)
        return cls(
            {operator.strip(): note.strip() for operator, _, note in rows},
            (int(opsets[0]), int(opsets[1])) if opsets else None,
        )


def providers(model: ModelProto, runtime: Runtime) -> tuple[Support, ...]:
    """Return the CPU's support as this ONNX Runtime tells it, and what the tables say of others."""
    found = [_cpu(model, runtime)]
    return (*found, *(_by_table(model, provider, Table.read(name)) for provider, name in TABLES.items()))


def _steps(model: ModelProto) -> Counter[tuple[str, str]]:
    return Counter(
        ("" if node.domain in ONNX_DOMAINS else node.domain, node.op_type)
        for node in walk.nodes(model)
        if node.op_type not in _ALWAYS
    )


def _cpu(model: ModelProto, runtime: Runtime) -> Support:
    steps = _steps(model)
    kernels = runtime.kernels.get(CPU, frozenset())
    if not kernels:
        return Support(CPU, steps.total(), steps.total(), {}, ("this ONNX Runtime does not tell its kernels",))
    defined = {(function.domain, function.name) for function in model.functions}
    missing = {
        operator: count
        for operator, count in steps.items()
        if operator not in kernels and operator not in defined and not _unfolds(operator)
    }
    return _support(CPU, steps, missing, ())


def _unfolds(operator: tuple[str, str]) -> bool:
    """Tell whether ONNX defines the operator by others, so that it needs no kernel of its own."""
    domain, name = operator
    if domain:
        return False
    schema: Any
    try:
        schema = onnx.defs.get_schema(name)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def _by_table(model: ModelProto, provider: str, table: Table) -> Support:
    steps = _steps(model)
    missing = {
        (domain, name): count for (domain, name), count in steps.items() if domain or name not in table.operators
    }
    notes = tuple(
        f"{name}: {table.operators[name]}" for domain, name in sorted(steps) if not domain and table.operators.get(name)
    )
    opset = opset_of(model)
    if table.opsets and not table.opsets[0] <= opset <= table.opsets[1]:
        notes = (f"opset {opset}: it takes {table.opsets[0]} to {table.opsets[1]}", *notes)
    return _support(provider, steps, missing, notes)


def _support(
    provider: str, steps: Counter[tuple[str, str]], missing: dict[tuple[str, str], int], notes: tuple[str, ...]
) -> Support:
    named = {f"{domain}:{name}" if domain else name: count for (domain, name), count in sorted(missing.items())}
    return Support(provider, steps.total(), steps.total() - sum(missing.values()), named, notes)


def mobile(model: ModelProto) -> tuple[Support, ...]:
    """Return what ONNX Runtime's own usability checker says of its mobile packages' accelerators.

    ``model`` must have inferred shapes; dynamic ones count as not taken, as there.
    """
    logging.getLogger("usability_checker").setLevel(logging.ERROR)
    if not model.graph.value_info and len(model.graph.node) > 1:
        return ()  # the checker refuses what has no inferred shapes
    return tuple(_mobile(model, name, table) for name, table in MOBILE.items())


def _mobile(model: ModelProto, name: str, table: str) -> Support:
    if name == "NNAPI":
        info = usability_checker.check_nnapi_partitions(model, require_fixed_input_sizes=True)
    else:
        info = usability_checker.check_coreml_partitions(model, True, table)
    operators = Counter(f"{node.domain or 'ai.onnx'}:{node.op_type}" for node in walk.nodes(model))
    missing = {operator.removeprefix("ai.onnx:"): operators[operator] for operator in sorted(info.unsupported_ops)}
    notes = [one.replace(":", ": ", 2).removeprefix("ai.onnx: ") for one in info.supported_ops_checker.get_caveats()]
    if info.nodes_unsupported_due_to_dynamic_input:
        notes.append(f"{info.nodes_unsupported_due_to_dynamic_input} nodes have dynamic shapes")
    return Support(name, info.num_nodes, info.num_supported_nodes, missing, tuple(notes), info.num_partitions)
