"""TensorFlow: Keras models (``.keras``, ``.h5``), SavedModel folders, and what a person's callable returns.

All of them become one ``tf.function`` with a signature of static shapes, which tf2onnx converts. tf2onnx leaves what
it cannot translate in the graph under TensorFlow's name and only logs it: :func:`to_onnx` looks at the graph itself.
Keras 3 writes a recurrent layer as a loop. tf2onnx makes an ``LSTM`` operator of it where the batch is open inside the
loop, and a ``Loop`` where it is fixed (right, but slower, and out of the quantizer's reach). So a graph with a loop is
converted again with the model in a function of its own, open inside and fixed outside.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported: keep it above the imports
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the plain kernels: parity with the ones that round less
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # TensorFlow would take a whole GPU for one answer

import keras
import numpy as np
import tensorflow as tf
import tf2onnx

from agent.errors import InputError
from tools.model.export import troubles
from tools.model.export.native import hushed
from tools.model.export.source import Asked, Exported, Port
from tools.model.export.troubles import foreign

OPSET = 17
_HIGHEST = 18
_LOOP = (
    "a loop of the model stayed a Loop: right, but slower than an LSTM operator, and INT8 does not reach inside; "
    "unroll=True in a recurrent layer avoids it"
)


class OpenPort(NamedTuple):
    """An input as a model declares it: sizes that it leaves open are None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class TensorFlowSource:
    """A function of TensorFlow with one tensor an input. ``answer`` takes tensors in the order of ``ports``."""

    def __init__(
        self,
        answer: Callable[..., Any],
        ports: Sequence[Port],
        *,
        named: str,
        owner: Any,
        open_batch: bool = False,
    ) -> None:
        self._answer, self._named, self._open_batch = answer, named, open_batch
        self._owner = owner  # its variables die with it
        self.inputs = tuple(ports)
        self.framework = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
        self.example = None
        with (
            hushed(),
            foreign(f"{named}: the model does not run on {', '.join(str(list(port.shape)) for port in ports)}"),
        ):
            self._flat(*(tf.zeros(port.shape, port.dtype) for port in ports))

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs, flat, in order."""
        with hushed(), foreign(f"{self._named}: TensorFlow cannot run the model"):
            return [tensor.numpy() for tensor in self._flat(*map(tf.convert_to_tensor, inputs))]

    def export(self, asked: Asked) -> Exported:
        """Return the graph by tf2onnx."""
        exported = self._export(self._flat, asked)
        if _loops(exported.model) and self._open_batch:
            inside = self._signature(open_batch=True)
            again = self._export(tf.function(self._flat, input_signature=inside, autograph=False), asked)
            if not _loops(again.model):
                return again
        return exported

    def _export(self, answer: Callable[..., Any], asked: Asked) -> Exported:
        signature = self._signature(open_batch=asked.dynamic)
        function = tf.function(lambda *tensors: answer(*tensors), input_signature=signature, autograph=False)
        return to_onnx(
            lambda opset: tf2onnx.convert.from_function(function, input_signature=signature, opset=opset)[0],
            asked,
            names=[port.name for port in self.inputs],
        )

    def _signature(self, *, open_batch: bool) -> tuple[Any, ...]:
        return tuple(
            tf.TensorSpec((None, *port.shape[1:]) if open_batch and port.shape else port.shape, port.dtype, port.name)
            for port in self.inputs
        )

    def _flat(self, *tensors: Any) -> list[Any]:
        return list(tf.nest.flatten(self._answer(*tensors)))


def to_onnx(convert: Callable[[int], Any], asked: Asked, *, names: Sequence[str]) -> Exported:
    """Convert, rename the outputs plainly, and refuse a graph with foreign operators. Raises ``CannotExport``."""
    opset = asked.opset or OPSET
    if not OPSET <= opset <= _HIGHEST:
        raise InputError(f"--opset {opset}: from TensorFlow, {OPSET} to {_HIGHEST} can be written")
    if asked.exporter != "auto":
        raise InputError(f"--exporter {asked.exporter}: is PyTorch's; TensorFlow goes through tf2onnx")
    with quiet(), foreign(f"{asked.text}: tf2onnx cannot convert it"):
        model = convert(opset)
    unknown = troubles.foreign_nodes(model)
    if unknown:
        raise troubles.cannot_say(asked.text, unknown)
    _rename(model, names)
    notes = (_LOOP,) if _loops(model) else ()
    return Exported(model, f"tf2onnx {tf2onnx.__version__}", notes)


def _loops(model: Any) -> bool:
    return any(node.op_type == "Loop" for node in model.graph.node)


def _rename(model: Any, inputs: Sequence[str]) -> None:
    """Call inputs as the framework does and outputs ``output``: tf2onnx's ``Identity:0`` says nothing; in place."""
    outputs = [value.name for value in model.graph.output]
    plain = ["output"] if len(outputs) == 1 else [f"output_{index}" for index in range(len(outputs))]
    new = dict(zip((value.name for value in model.graph.input), inputs, strict=False)) | dict(
        zip(outputs, plain, strict=True)
    )
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} - set(new)
    if taken & set(new.values()) or len(set(new.values())) != len(new):
        return
    for value in (*model.graph.input, *model.graph.output):
        value.name = new[value.name]
    _rename_nodes(model.graph, new)


def _rename_nodes(graph: Any, new: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for attribute in node.attribute:
            for branch in (attribute.g, *attribute.graphs):
                _rename_nodes(branch, new)


# --- loading ---------------------------------------------------------------------------------------------------------


def from_file(path: Path, asked: Asked) -> TensorFlowSource:
    """Load a ``.keras`` or ``.h5`` file. Raises :class:`InputError`."""
    with quiet(), foreign(f"{path}: Keras cannot load it (custom layers: --import the module that registers them)"):
        model = keras.saving.load_model(path, compile=False)
    return from_keras(model, asked)


def from_keras(model: Any, asked: Asked) -> TensorFlowSource:
    """Take a built Keras model. Raises :class:`InputError`."""
    if getattr(model, "inputs", None):
        declared = [
            OpenPort(
                _plain(tensor.name, f"input_{index}"),
                tuple(tensor.shape),
                keras.backend.standardize_dtype(tensor.dtype),
            )
            for index, tensor in enumerate(model.inputs)
        ]
        ports = with_shapes(declared, asked)
    elif asked.input_shapes:
        ports = tuple(Port(f"input_{index}", shape) for index, shape in enumerate(asked.input_shapes))
    else:
        raise InputError(f"{asked.text}: the model does not know its inputs; give --input-shape")
    single = len(ports) == 1

    def answer(*tensors: Any) -> Any:
        return model(tensors[0] if single else list(tensors), training=False)

    open_batch = all(tensor.shape[:1] == (None,) for tensor in getattr(model, "inputs", None) or [])
    return TensorFlowSource(answer, ports, named=asked.text, owner=model, open_batch=open_batch)


def from_saved_model(folder: Path, asked: Asked) -> TensorFlowSource:
    """Load a SavedModel's default signature. Raises :class:`InputError`."""
    with quiet(), foreign(f"{folder}: TensorFlow cannot load it"):
        loaded = tf.saved_model.load(str(folder))
    signatures = dict(loaded.signatures)
    signature = signatures.get("serving_default") or next(iter(signatures.values()), None)
    if signature is None:
        raise InputError(f"{folder}: has no signature; save it with one (Keras: model.export, else signatures=…)")
    specs = dict(sorted(signature.structured_input_signature[1].items()))
    ports = with_shapes([OpenPort(key, tuple(spec.shape), spec.dtype.name) for key, spec in specs.items()], asked)

    def answer(*tensors: Any) -> Any:
        return signature(**dict(zip(specs, tensors, strict=True)))

    return TensorFlowSource(answer, ports, named=asked.text, owner=loaded)


def from_object(built: Any, asked: Asked) -> TensorFlowSource:
    """Take what a callable returned: a Keras model, or a ``tf.function`` with a signature. Raises ``InputError``."""
    if isinstance(built, keras.Model):
        return from_keras(built, asked)
    signature = getattr(built, "input_signature", None)
    if signature is None:
        raise InputError(
            f"{asked.text}: returned {type(built).__name__}; a tf.function with an input_signature is needed"
        )
    declared = [
        OpenPort(_plain(spec.name, f"input_{index}"), tuple(spec.shape), spec.dtype.name)
        for index, spec in enumerate(signature)
    ]
    return TensorFlowSource(built, with_shapes(declared, asked), named=asked.text, owner=built)


def with_shapes(ports: Sequence[OpenPort], asked: Asked) -> tuple[Port, ...]:
    """Close open sizes: by ``--input-shape``, else an open batch by 1. Raises :class:`InputError`."""
    if asked.input_shapes and len(asked.input_shapes) != len(ports):
        raise InputError(f"--input-shape: was given {len(asked.input_shapes)} times for {len(ports)} inputs")
    closed = []
    for index, port in enumerate(ports):
        if asked.input_shapes:
            shape = _fit(port, asked.input_shapes[index])
        else:
            shape = tuple(size for size in (port.shape[0] or 1, *port.shape[1:]) if size) if port.shape else ()
        if len(shape) != len(port.shape):
            raise InputError(
                f"{asked.text}: input {port.name} leaves sizes open ({list(port.shape)}); give --input-shape"
            )
        closed.append(Port(port.name, shape, port.dtype))
    return tuple(closed)


def _fit(port: OpenPort, shape: tuple[int, ...]) -> tuple[int, ...]:
    fits = len(shape) == len(port.shape) and all(
        have is None or have == size for have, size in zip(port.shape, shape, strict=True)
    )
    if not fits:
        raise InputError(f"--input-shape {list(shape)}: input {port.name} takes {list(port.shape)}")
    return shape


def _plain(name: str | None, other: str) -> str:
    return (name or other).partition(":")[0].replace("/", "_")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep tf2onnx's and TensorFlow's logs off the terminal: what matters is looked up in the graph."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    tf2onnx.logging.set_level(logging.CRITICAL)
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), hushed():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
