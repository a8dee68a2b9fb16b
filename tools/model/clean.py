"""From the ONNX file somebody exported to the one that is measured, quantized and shipped.

Old exporters list initializers among the graph's inputs (naive code takes them for inputs), leave weights behind that
nothing reads, declare dimensions that were only the example's, and write an opset without per-channel quantization.
:func:`clean` mends these in one order: shape, leftovers, opset, then ONNX Runtime's own preparation (constants folded,
batch norms merged). The answers stay those of the original up to rounding. INT8 is compared with the cleaned float
model, never with the raw file: cleaning alone can be worth a quarter of the time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import onnx
from google.protobuf.message import DecodeError
from onnx import version_converter
from onnxruntime.quantization.shape_inference import quant_pre_process

from agent.errors import ModelError
from agent.infer.session import Session

OPSET = 17
"""Per-channel quantization needs at least 13; every ONNX Runtime that the agent supports runs 17."""


def clean(source: Path, target: Path, *, input_shape: Sequence[int], opset: int = OPSET) -> None:
    """Write ``source``, cleaned and with its one input of the static ``input_shape``, to ``target``.

    Raises :class:`ModelError`: the file cannot be read, has not exactly one input, does not fit the shape, cannot be
    converted to ``opset``, or does not run afterwards (nothing is left at ``target`` then).
    """
    model = load(source)
    drop_initializers_from_inputs(model)
    drop_unused_initializers(model)
    pin_input(model, input_shape)
    prepare(raise_opset(model, opset), target)
    prove(target)


def load(path: Path) -> onnx.ModelProto:
    """Read an ONNX file. Raises :class:`ModelError`."""
    try:
        model = onnx.load(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ModelError(f"{path}: is not an ONNX file, or is cut off") from error
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path}: its weights lie in another file, which cannot be read: {error}") from error
    if not model.graph.node:
        raise ModelError(f"{path}: is not an ONNX file, or has an empty graph")
    return model


def drop_initializers_from_inputs(model: onnx.ModelProto) -> None:
    """Leave only real inputs among the graph's inputs; in place."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    real = [value for value in model.graph.input if value.name not in initializers]
    del model.graph.input[:]
    model.graph.input.extend(real)


def drop_unused_initializers(model: onnx.ModelProto) -> None:
    """Forget weights that no node (of the main graph or a branch) and no output names; in place."""
    used = {value.name for value in model.graph.output} | _names_read(model.graph)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _names_read(graph: onnx.GraphProto) -> set[str]:
    names: set[str] = set()
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            for branch in (attribute.g, *attribute.graphs):
                names |= _names_read(branch)
    return names


def pin_input(model: onnx.ModelProto, shape: Sequence[int]) -> None:
    """Declare ``shape`` for the one input and forget what was declared behind it; in place. Raises :class:`ModelError`.

    Stale dimensions of outputs and of values between would contradict the new ones, so shape inference finds them anew.
    """
    inputs = list(model.graph.input)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(f"the model has {len(inputs)} inputs ({names}); exactly one is supported")
    dims = inputs[0].type.tensor_type.shape.dim
    if len(dims) != len(shape):
        raise ModelError(f"input {inputs[0].name} has {len(dims)} dimensions; shape {list(shape)} has {len(shape)}")
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def raise_opset(model: onnx.ModelProto, opset: int = OPSET) -> onnx.ModelProto:
    """Return the model at ``opset`` at least, with the shapes of all values inferred. Raises :class:`ModelError`."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        if opset_of(inferred) >= opset:
            return inferred
        return version_converter.convert_version(inferred, opset)
    except (RuntimeError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"the graph cannot be brought from opset {opset_of(model)} to {opset}: {error}") from error


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that the model uses, 0 where it names none."""
    return max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)


def prepare(model: onnx.ModelProto, target: Path) -> None:
    """Let ONNX Runtime fold constants and merge batch norms, and write the result to ``target``.

    Symbolic shape inference is left out: every shape is static by now, and it would need sympy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lookout-clean-") as folder:
        raw = Path(folder) / "raw.onnx"
        onnx.save(model, raw)
        try:
            quant_pre_process(str(raw), str(target), skip_symbolic_shape=True)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"ONNX Runtime cannot prepare the model for {target.name}: {error}") from error


def prove(target: Path) -> None:
    """Run the cleaned model once on zeros: shape inference does not notice everything. Raises :class:`ModelError`."""
    try:
        Session.load(target, providers=("CPUExecutionProvider",), threads=1, spin=False)
    except ModelError:
        target.unlink(missing_ok=True)
        raise
