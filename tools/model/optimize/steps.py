"""One function a step: a model file in, a model file out. Whether the answer stayed the same is not judged here.

Simplification is onnxslim's: maintained, MIT, and pure Python, so that it runs wherever this does. onnxsim leaves as
many nodes of our models, and is a compiled wheel for each Python and processor. 16 bits are
``onnxruntime.transformers.float16``: the copy of onnxconverter-common's that is kept up, and it is installed already.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from agent.errors import ModelError
from agent.infer import reasons
from agent.types import InputSpec
from tools.model import clean

_LAYOUTS_OF_THIS_PROCESSOR = ["NchwcTransformer"]
"""Left out of what is written: the file shall run on another processor than this one."""
_LARGEST_HALF = 65504.0


def simplify(source: Path, target: Path) -> None:
    """Fold constants, drop what does nothing, merge what is twice. Raises :class:`ModelError`."""
    import onnxslim  # imports sympy: only where it is asked for

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            model = onnxslim.slim(clean.load(source))
    except (RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        # onnxslim walks graphs that it does not expect with whatever Python raises
        raise ModelError(f"simplify: onnxslim cannot read the graph: {error}; use --no-simplify") from error
    if model is None:
        raise ModelError("simplify: onnxslim returned no model; use --no-simplify")
    onnx.save(model, target)


def fuse(source: Path, target: Path) -> None:
    """Write the graph as ONNX Runtime fuses it, for its CPU and CUDA providers. Raises :class:`ModelError`."""
    _offline(source, target, "ONNX")


def to_ort(source: Path, target: Path) -> None:
    """Write ONNX Runtime's own format, fused, for small builds without the ONNX parser. Raises :class:`ModelError`."""
    _offline(source, target, "ORT")


def _offline(source: Path, target: Path, kind: Literal["ONNX", "ORT"]) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", kind)
    try:
        onnxruntime.InferenceSession(
            str(source),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_LAYOUTS_OF_THIS_PROCESSOR,
        )
    except reasons.ORT_ERRORS as error:
        raise ModelError(f"ONNX Runtime cannot optimise the model: {reasons.explain(error)}") from error


def required_operators(model: Path, target: Path) -> None:
    """Write the operators that an ``.ort`` file needs, as ONNX Runtime's reduced builds read them."""
    from onnxruntime.tools.ort_format_model import create_config_from_models

    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    create_config_from_models([model], target, enable_type_reduction=False)
    lines = target.read_text(encoding="utf-8").splitlines(keepends=True)
    target.write_text("".join(line for line in lines if not line.startswith("#")), encoding="utf-8")  # our paths


def half(source: Path, target: Path) -> None:
    """Turn weights and arithmetic into 16-bit floats; inputs and outputs stay. Raises :class:`ModelError`."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        model = convert_float_to_float16(clean.load(source), keep_io_types=True)
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"fp16: the graph cannot be converted: {error}") from error
    onnx.save(model, target)


def check_range(source: Path, tensors: Sequence[np.ndarray]) -> None:
    """Refuse a model one of whose numbers does not fit 16 bits. Raises :class:`ModelError` naming the node.

    Running the converted model here would not show it: the CPU provider keeps 32 bits from node to node.
    """
    model = onnx.shape_inference.infer_shapes(clean.load(source))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    given = {value.name for value in model.graph.output}
    makers = {name: node for node in model.graph.node for name in node.output}
    inner = [name for name in makers if kinds.get(name) == TensorProto.FLOAT and name not in given]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs() if output.type == "tensor(float)"]
        for tensor in tensors:
            values = session.run(names, {session.get_inputs()[0].name: tensor})
            for name, value in zip(names, values, strict=True):
                most = float(np.abs(value).max(initial=0.0))
                if most > _LARGEST_HALF:
                    node = makers[name]
                    raise ModelError(
                        f"fp16: {node.op_type} {node.name or name} reaches {most:.3g}, 16-bit floats end at "
                        f"{_LARGEST_HALF:.0f}; nothing was written; leave --fp16 out"
                    )
    except reasons.ORT_ERRORS as error:
        raise ModelError(f"fp16: the model cannot be watched: {reasons.explain(error)}") from error


def take_pixels(source: Path, target: Path, spec: InputSpec) -> None:
    """Let the model take uint8 pixels: the first nodes cast them and do ``(pixel * scale - mean) / std``.

    Folding further, into the first convolution, would be wrong at the picture's edge: its zero padding is of the
    normalised picture. Raises :class:`ModelError` where the input is not the float one of ``spec``.
    """
    model = clean.load(source)
    first = model.graph.input[0]
    kind = first.type.tensor_type.elem_type
    if len(model.graph.input) != 1 or first.name != spec.name or kind != TensorProto.FLOAT:
        raise ModelError(
            f"--uint8-input: the file's input is {first.name} ({TensorProto.DataType.Name(kind).lower()}), the "
            f"manifest's is {spec.name} ({spec.dtype}); a model with that one float input is needed"
        )
    inner = f"{spec.name}/normalised"
    for node in model.graph.node:
        node.input[:] = [inner if name == spec.name else name for name in node.input]
    nodes, constants = _normalise(spec, inner)
    old = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *old])
    model.graph.initializer.extend(constants)
    first.type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, target)


def _normalise(spec: InputSpec, target: str) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    factor = spec.scale / np.asarray(spec.std, np.float64)
    offset = -np.asarray(spec.mean, np.float64) / np.asarray(spec.std, np.float64)
    shape = (1, 3, 1, 1) if spec.layout == "NCHW" else (1, 1, 1, 3)
    parts = [("Mul", "factor", factor, np.any(factor != 1.0)), ("Add", "offset", offset, np.any(offset != 0.0))]
    wanted = [(operator, name, value) for operator, name, value, needed in parts if needed]
    names = [f"{spec.name}/float", *(f"{spec.name}/{name}" for _, name, _ in wanted)]
    tensors = [*names[: len(wanted)], target]
    nodes = [helper.make_node("Cast", [spec.name], tensors[:1], f"{spec.name}/Cast", to=TensorProto.FLOAT)]
    constants = []
    for number, (operator, name, value) in enumerate(wanted):
        constant = f"{spec.name}/{name}/value"
        constants.append(numpy_helper.from_array(value.astype(np.float32).reshape(shape), constant))
        nodes.append(
            helper.make_node(operator, [tensors[number], constant], [tensors[number + 1]], f"{spec.name}/{operator}")
        )
    return nodes, constants
