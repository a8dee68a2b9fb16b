"""Is a model file fit to be loaded? Each check refuses in one sentence: the thing, its value, the remedy.

Called in the inspection's own process only: ``onnx`` parses foreign bytes here. Nothing outside the file is opened, in
particular no external data. The order matters: what a later check would trip over is refused by an earlier one. Raises
:class:`~agent.errors.ModelError`. Whether inputs and outputs fit the manifest is the worker's to find out, on the
session that will serve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, ValueInfoProto

from agent.errors import ModelError
from agent.inspect import walk
from agent.inspect.runtime import ONNX_DOMAINS, OWN_DOMAINS, Runtime
from agent.process.messages import Inspect, Inspected

MOST_NODES = 50_000
MOST_OUTPUTS = 64
GB = 1e9
_LARGEST_FILE = 2**31 - 1  # protobuf's own limit
_PLUGIN_DOMAINS = {"TensorrtExecutionProvider": "trt.plugins"}
_CONTROL_FLOW = ("Loop", "If", "Scan", "SequenceMap")


def inspect_file(request: Inspect, ask: Callable[[], Runtime]) -> Inspected:
    """Look at a model file. Raises :class:`ModelError`. ``ask`` tells what this ONNX Runtime is."""
    model = read(Path(request.path), request.name, request.memory_bytes)
    runtime = ask()
    check_versions(model, request.name, runtime)
    count = check_nodes(model, request.name)
    check_domains(model, request.name, request.providers)
    check_external(model, request.name)
    weights = check_sizes(model, request.name, request.memory_bytes)
    check_operators(model, request.name, runtime, request.providers)
    notes = check_structure(model, request.name)
    check_ends(model, request.name)
    return Inspected(model.ir_version, opset_of(model), count, weights, (*notes, *control_flow(model)))


def read(path: Path, name: str, memory_bytes: int) -> ModelProto:
    """Parse the file."""
    try:
        size = path.stat().st_size
        most = min(memory_bytes, _LARGEST_FILE)
        if size > most:
            raise ModelError(
                f"{name}: the file has {size} bytes, at most {most} fit this host; publish a smaller model"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{name}: cannot be read: {error.strerror}; deploy the release again") from error
    if not data:
        raise ModelError(f"{name}: the model file is empty; publish the release again with its model")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{name}: {size} bytes are not a whole ONNX file (truncated, or of another format); publish a whole one"
        ) from None
    if not model.HasField("graph") or model.ir_version <= 0:
        raise ModelError(f"{name}: holds no ONNX graph, so it is not an ONNX file; publish the exported model")
    return model


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that the model imports, 0 where it imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), default=0)


def check_versions(model: ModelProto, name: str, runtime: Runtime) -> None:
    """Compare the model's versions with what this ONNX Runtime takes; says both."""
    opset, ir_version = opset_of(model), model.ir_version
    here = f"ONNX Runtime {runtime.version} on this device"
    if opset == 0:
        raise ModelError(f"{name}: imports no ONNX opset; export it again with opset {runtime.newest_opset or 17}")
    if runtime.newest_ir is not None and ir_version > runtime.newest_ir:
        raise ModelError(
            f"{name}: has IR version {ir_version}, {here} takes at most {runtime.newest_ir}; "
            "export an older one or update ONNX Runtime"
        )
    if not runtime.takes(opset, min(ir_version, runtime.newest_ir or ir_version)):
        most = f" takes at most {runtime.newest_opset}" if runtime.newest_opset else " does not take that"
        raise ModelError(f"{name}: has opset {opset}, {here}{most}; export an older opset or update ONNX Runtime")


def check_nodes(model: ModelProto, name: str) -> int:
    """Count the nodes; stops counting at the bound."""
    count = 0
    for count, _ in enumerate(walk.nodes(model), 1):
        if count > MOST_NODES:
            raise ModelError(f"{name}: has more than {MOST_NODES} nodes; simplify the graph before publishing")
    return count


def check_domains(model: ModelProto, name: str, providers: Iterable[str]) -> None:
    """Refuse operators that only a plug-in library would bring, unless the file defines them itself."""
    allowed = {*ONNX_DOMAINS, *OWN_DOMAINS, *(_PLUGIN_DOMAINS[one] for one in providers if one in _PLUGIN_DOMAINS)}
    defined = {(function.domain, function.name) for function in model.functions}
    for node in walk.nodes(model):
        if node.domain not in allowed and (node.domain, node.op_type) not in defined:
            raise ModelError(
                f"{name}: operator {node.op_type!r} is of the custom domain {node.domain!r}, which this device does "
                "not have; export the model with standard operators"
            )


def check_external(model: ModelProto, name: str) -> None:
    """Refuse weights that lie outside the file; they are never looked for."""
    for what, tensor in walk.tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        place = PurePosixPath(location.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts:
            raise ModelError(
                f"{name}: {what} points outside its folder, to {location!r}, which is never read; "
                "save the model as one file"
            )
        raise ModelError(
            f"{name}: {what} lies in another file, {location!r}, which a release does not carry; "
            "save the model as one file"
        )


def check_sizes(model: ModelProto, name: str, memory_bytes: int) -> int:
    """Compare what tensors declare with what they hold and with the memory; return the bytes of all weights."""
    total = 0
    for what, tensor in walk.tensors(model):
        declared = _declared_bytes(tensor, what, name)
        if declared > memory_bytes:
            raise ModelError(_too_large(name, f"{what} declares {list(tensor.dims)}", declared, memory_bytes))
        held = _held_bytes(tensor)
        if held is not None and held != math.ceil(declared):
            raise ModelError(
                f"{name}: {what} declares {list(tensor.dims)}, {math.ceil(declared)} bytes, and holds {held}; "
                "export the model again"
            )
        total += math.ceil(declared)
    for graph in walk.graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            size = _value_bytes(value)
            if size > memory_bytes:
                raise ModelError(
                    _too_large(name, f"tensor {value.name!r} declares {_shape(value)}", size, memory_bytes)
                )
        _check_fillers(graph, name, memory_bytes)
    return total


def _check_fillers(graph: onnx.GraphProto, name: str, memory_bytes: int) -> None:
    """Refuse constants that unfold when the graph is optimised: a few bytes of shape, gigabytes of zeros."""
    shapes = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.INT64}
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or not node.input or node.input[0] not in shapes:
            continue
        sizes = [int(size) for size in onnx.numpy_helper.to_array(shapes[node.input[0]]).reshape(-1)[:64]]
        size = 4.0 * math.prod(max(0, one) for one in sizes)
        if size > memory_bytes:
            raise ModelError(_too_large(name, f"ConstantOfShape {node.output[0]!r} makes {sizes}", size, memory_bytes))


def _too_large(name: str, what: str, size: float, memory_bytes: int) -> str:
    return (
        f"{name}: {what}, {_gb(size)}; at most {_gb(memory_bytes)} fit this host; "
        "publish a smaller model, or raise its budget or deploy.trial_memory_mb"
    )


def _gb(size: float) -> str:
    return f"{size / GB:,.0f} GB" if size >= 100 * GB else f"{size / GB:.3g} GB"


def _declared_bytes(tensor: TensorProto, what: str, name: str) -> float:
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"{name}: {what} declares the size {list(tensor.dims)}; export the model again")
    return float(math.prod(tensor.dims)) * walk.item_bytes(tensor.data_type)


def _held_bytes(tensor: TensorProto) -> int | None:
    """Return what the tensor holds as raw bytes; None where it holds typed numbers, which the checker counts."""
    if tensor.HasField("raw_data") and tensor.data_type != TensorProto.STRING:
        return len(tensor.raw_data)
    return None


def _shape(value: ValueInfoProto) -> list[int | str]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]


def _value_bytes(value: ValueInfoProto) -> float:
    fixed = [size for size in _shape(value) if isinstance(size, int) and size > 0]
    return math.prod(fixed) * walk.item_bytes(value.type.tensor_type.elem_type)


def check_structure(model: ModelProto, name: str) -> tuple[str, ...]:
    """Let ``onnx``'s own checker look; returns a note where the file is newer than the checker."""
    if model.ir_version > onnx.IR_VERSION or opset_of(model) > onnx.defs.onnx_opset_version():
        return (f"newer than the checker of onnx {onnx.__version__}: its structure was not checked",)
    try:
        onnx.checker.check_model(model, full_check=False)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{name}: {_first_line(error)}; export the model again") from error
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(f"{name}: cannot be checked: {_first_line(error)}; export the model again") from error
    return ()


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0].rstrip(".;: ")
    return line if len(line) <= 300 else line[:299] + "…"


def check_operators(model: ModelProto, name: str, runtime: Runtime, providers: Iterable[str]) -> None:
    """Refuse operators that this ONNX Runtime lacks, as far as it tells."""
    if not runtime.known:
        return
    defined = {(function.domain, function.name) for function in model.functions}
    kernels = frozenset().union(*(runtime.kernels.get(one, frozenset()) for one in {*providers, *runtime.kernels}))
    for node in walk.nodes(model):
        operator = ("" if node.domain in ONNX_DOMAINS else node.domain, node.op_type)
        if operator in defined or operator[0] not in {"", *OWN_DOMAINS}:
            continue
        if operator not in runtime.operators:
            raise ModelError(
                f"{name}: operator {node.op_type!r} is unknown to ONNX Runtime {runtime.version} on this device; "
                "export the model with another opset or update ONNX Runtime"
            )
        if operator[0] == "" and kernels and operator not in kernels and not _unfolds(node.op_type):
            raise ModelError(
                f"{name}: operator {node.op_type!r} has no implementation for {', '.join(providers) or 'the CPU'} in "
                f"ONNX Runtime {runtime.version}; export the model with other operators"
            )


def _unfolds(operator: str) -> bool:
    """Tell whether ONNX defines the operator by others, so that no kernel of its own is needed."""
    schema: Any
    try:
        schema = onnx.defs.get_schema(operator)
    except onnx.defs.SchemaError:
        return True
    return bool(schema.has_function or schema.has_context_dependent_function)


def check_ends(model: ModelProto, name: str) -> None:
    """Look at the graph's inputs and outputs: one picture in, something out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        found = ", ".join(inputs[:10]) or "none"
        raise ModelError(f"{name}: a model with one input is needed, this one's are: {found}; export it with one")
    if not 1 <= len(model.graph.output) <= MOST_OUTPUTS:
        raise ModelError(
            f"{name}: has {len(model.graph.output)} outputs, 1 to {MOST_OUTPUTS} can be read; export it with those "
            "that its decoder reads"
        )


def control_flow(model: ModelProto) -> tuple[str, ...]:
    """Say which nodes run as often as the picture makes them: their time has no bound that could be read."""
    found = sorted({node.op_type for node in walk.nodes(model) if node.op_type in _CONTROL_FLOW})
    return (f"has subgraphs ({', '.join(found)}): its time may depend on the picture",) if found else ()
