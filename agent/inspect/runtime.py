"""What the ONNX Runtime of this host can take: versions, domains, operators. Asked of itself, never of a table.

A table would be wrong with the next build. Versions are found out by loading a model of one ``Identity``; operators and
kernels are what the library has registered, where this build tells (``known`` is False where it does not).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as binding

from agent.infer.reasons import ORT_ERRORS
from agent.infer.session import runtime_version

ONNX_DOMAINS = ("", "ai.onnx")
OWN_DOMAINS = frozenset({"ai.onnx.ml", "com.microsoft"})
"""Domains of every ONNX Runtime beside ONNX's own; its internal ones belong to one processor and are no model's."""

_NEWEST_OPSET = re.compile(r"till opset (\d+)")
_NEWEST_IR = re.compile(r"max supported IR version: (\d+)")
_FAR = 10_000
_OLD_IR = 8
_OLD_OPSET = 17


@dataclass(frozen=True)
class Runtime:
    """The facts. ``kernels``: provider → its ``(domain, operator)``; ``operators``: the schemas, ``known`` or not."""

    version: str
    newest_opset: int | None
    newest_ir: int | None
    known: bool
    operators: frozenset[tuple[str, str]]
    kernels: dict[str, frozenset[tuple[str, str]]]

    def takes(self, opset: int, ir_version: int) -> bool:
        """Tell whether a model of this opset and IR version can be loaded at all."""
        return _refusal(opset, ir_version) is None


def ask_runtime() -> Runtime:
    """Return what the ONNX Runtime of this process is."""
    operators, kernels = _registered()
    return Runtime(
        version=runtime_version(),
        newest_opset=_number(_NEWEST_OPSET, _refusal(_FAR, _OLD_IR)),
        newest_ir=_number(_NEWEST_IR, _refusal(_OLD_OPSET, _FAR)),
        known=bool(operators),
        operators=operators,
        kernels=kernels,
    )


def _registered() -> tuple[frozenset[tuple[str, str]], dict[str, frozenset[tuple[str, str]]]]:
    """Return schemas and kernels; empty where this build does not tell."""
    schemas: list[Any] = getattr(binding, "get_all_operator_schema", list)()
    kernels: dict[str, set[tuple[str, str]]] = {}
    for kernel in getattr(binding, "get_all_opkernel_def", list)():
        kernels.setdefault(kernel.provider, set()).add((kernel.domain, kernel.op_name))
    operators = frozenset((schema.domain, schema.name) for schema in schemas)
    return operators, {provider: frozenset(found) for provider, found in kernels.items()}


def _refusal(opset: int, ir_version: int) -> str | None:
    """Load the smallest model of these versions; return ONNX Runtime's words where it will not."""
    tensor: Any = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out: Any = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "smallest", [tensor], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        return str(error)
    return None


def _number(pattern: re.Pattern[str], words: str | None) -> int | None:
    found = pattern.search(words or "")
    return int(found.group(1)) if found else None
