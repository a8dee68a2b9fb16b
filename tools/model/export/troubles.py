"""What goes wrong in somebody else's framework, in words: which operator, in which layer, and what to do about it.

Pure text work. Frameworks and the models in them raise whatever they like, so :func:`foreign` is the one place that
turns any exception of theirs into one of ours; nothing else of the package catches so widely.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import InputError, LookoutError, ModelError

if TYPE_CHECKING:
    import onnx

EXTRAS = {
    "torch": ("PyTorch", "pip install 'lookout-agent[torch]'"),
    "torchvision": ("torchvision", "pip install 'lookout-agent[torch]'"),
    "onnxscript": ("onnxscript, with which PyTorch writes ONNX,", "pip install 'lookout-agent[torch]'"),
    "tensorflow": ("TensorFlow", "pip install 'lookout-agent[tensorflow]'"),
    "keras": ("Keras", "pip install 'lookout-agent[tensorflow]'"),
    "tf2onnx": ("tf2onnx", "pip install 'lookout-agent[tensorflow]'"),
    "ultralytics": ("Ultralytics (AGPL-3.0)", "pip install ultralytics"),
}
"""What may be missing: its name, and the command that brings it."""

_ADVICE = (
    (r"(svd|eig|qr|lstsq|cholesky|inverse|Svd|Qr|Cholesky|MatrixInverse)",
     "ONNX has no linear algebra of this kind: leave it out of the model and compute it from the outputs"),
    (r"^TFL_Flex",
     "the .tflite holds a TensorFlow operator as it was: export the SavedModel or .keras file it was converted from"),
    (r"^TFL_",
     "the .tflite holds a custom operator, and no device has its kernel: replace it before the conversion to TFLite, "
     "or export the SavedModel or .keras file it was converted from"),
    (r"(String|Regex|Lookup|HashTable|Decode|ParseExample)",
     "text and file handling belong before the model: export the part behind them"),
    (r"^(aten|prims|prim)[.:]",
     "try a higher --opset, or --exporter torchscript, which has other translations; else write the layer with "
     "operators that ONNX has"),
    (r"^torchvision[.:]",
     "import torchvision before the export (--import torchvision), or replace the operator"),
    (r"^[A-Za-z_]\w*[.:]+\w",
     "a custom operator, for which the devices have no kernel: write it in plain PyTorch, or register it as "
     "CompositeImplicitAutograd (torch.library), so that it is taken apart into operators that ONNX has"),
)  # fmt: skip
_ADVICE_ELSE = "try a higher --opset; else write the layer with operators that ONNX has"

_MICROSOFT = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
_COLOUR = re.compile(r"\x1b?\[\d+m")
_MISSING = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
_REPORTED = re.compile(r"^- `([\w.]+)`:.*All nodes:", re.MULTILINE)
_OLD_MISSING = re.compile(r"(?:operator '|unrecognized namespace )([\w:]+)")
_WHERE = re.compile(r"Caused by: \(([^)]+)\)|File \"([^\"]+)\", line (\d+)")
_SUMMARY = re.compile(r"## Exception summary\s+<class '([^']+)'>: (.+)")
_MANY = 3
_LONG = 160


@dataclass(frozen=True)
class Unsupported:
    """An operator that ONNX cannot say, the layers that use it, and what to do."""

    operator: str
    layers: tuple[str, ...]

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        return next((text for pattern, text in _ADVICE if re.search(pattern, self.operator)), _ADVICE_ELSE)

    def __str__(self) -> str:
        return f"{self.operator} in {_some(self.layers) or 'a layer that the exporter does not name'}: {self.advice}"


class CannotExport(ModelError):
    """The framework cannot turn the model into ONNX; ``operators`` are those that it cannot say."""

    def __init__(self, message: str, *, operators: tuple[Unsupported, ...] = ()) -> None:
        super().__init__(message)
        self.operators = operators


def cannot_say(source: str, operators: Iterable[Unsupported]) -> CannotExport:
    """Return the error that names every operator with its layers."""
    listed = tuple(operators)
    lines = "".join(f"\n  {one}" for one in listed)
    word = "an operator" if len(listed) == 1 else f"{len(listed)} operators"
    return CannotExport(f"{source}: holds {word} that ONNX does not have:{lines}", operators=listed)


def foreign_nodes(model: onnx.ModelProto) -> tuple[Unsupported, ...]:
    """Return the operators of a graph that neither ONNX nor ONNX Runtime defines, with the nodes' layers."""
    import onnx

    versions = {entry.domain: entry.version for entry in model.opset_import}
    functions = {(function.domain, function.name) for function in model.functions}
    layers: dict[str, list[str]] = {}
    for node in _nodes(model.graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain in _MICROSOFT or (node.domain, node.op_type) in functions:
            continue
        if not onnx.defs.has(node.op_type, versions.get(node.domain, 1), domain):
            name = f"{domain}::{node.op_type}" if domain else node.op_type
            layers.setdefault(name, []).append(layer_of(node.name))
    return tuple(Unsupported(name, tuple(dict.fromkeys(filter(None, used)))) for name, used in layers.items())


def layer_of(node_name: str) -> str:
    """Return the path of the layer from a TensorFlow node's name: ``net/odd_1/Svd`` is in ``net/odd_1``."""
    path = node_name.split(";", maxsplit=1)[0].partition(":")[0]
    return path.rpartition("/")[0] or path


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for branch in (attribute.g, *attribute.graphs):
                yield from _nodes(branch)


def operators_in_report(report: str) -> tuple[str, ...]:
    """Return the operators that PyTorch's conversion report lists as missing, without their overloads."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in _REPORTED.findall(report)))


def operators_in_message(message: str) -> tuple[str, ...]:
    """Return the operators that an error message of either exporter of PyTorch names."""
    return tuple(dict.fromkeys(_MISSING.findall(message) + _OLD_MISSING.findall(message)))


def capture_reason(message: str) -> str:
    """Return in one line why ``torch.export`` could not capture a model: what it says, and where."""
    plain = _COLOUR.sub("", message)
    found = _SUMMARY.search(plain)
    kind, text = (found[1].rpartition(".")[2], found[2]) if found else ("", first_line(plain))
    places = [one or f"{file}:{line}" for one, file, line in _WHERE.findall(plain)]
    place = f" (at {places[-1]})" if places else ""
    if len(text) > _LONG:  # a condition over hundreds of symbols
        text = text[:_LONG] + "…"
    return f"{kind}: {text}{place}" if kind else f"{text}{place}"


def first_line(text: str) -> str:
    """Return the first line that says something."""
    return next((line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()), "no reason given")


def require(*modules: str) -> None:
    """Raise :class:`InputError` with the command that brings the first of ``modules`` that is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise missing(module)


def missing(module: str) -> InputError:
    """Return the error for a framework that is not installed."""
    name, command = EXTRAS.get(module, (module, f"pip install {module}"))
    return InputError(f"{name} is needed for this and is not installed: {command}")


@contextlib.contextmanager
def foreign(doing: str) -> Iterator[None]:
    """Turn whatever a framework or a person's own code raises into an :class:`InputError` that says where."""
    try:
        yield
    except LookoutError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # somebody else's code: there is no list of what it may raise
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
            raise missing((error.name or "").partition(".")[0]) from error
        raise InputError(f"{doing}: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Return an exception in one line: its type, its first line, and the last place in the stack."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename} line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line(str(error))}{place}"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(names[:_MANY]) + more
