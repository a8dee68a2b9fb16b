"""PyTorch: modules, TorchScript files and ExportedPrograms.

``torch.onnx.export(dynamo=True)`` is the road. The older TorchScript-based exporter is taken only for a reason, which
becomes a note of the export: the file is TorchScript (the newer one refuses those), an opset below its lowest is
wanted, it was asked for by name, or ``torch.export`` cannot capture the model because what it does depends on the
data. A traced model keeps the branches that the example took; parity on several inputs is what tells.
"""

from __future__ import annotations

import inspect
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from agent.errors import InputError
from tools.model.export import troubles
from tools.model.export.source import Asked, Exported, Port
from tools.model.export.troubles import CannotExport, Unsupported, foreign

DYNAMO_LOWEST = 18
"""The lowest opset that the dynamo exporter writes; what it converts down from there often does not load."""
TORCHSCRIPT_OPSET = 17
TORCHSCRIPT_HIGHEST = 20
_PATHS = frozenset({"pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node"})
_TRACED = "a traced model keeps the branches that the example took"


class TorchSource:
    """A PyTorch model with its example inputs. ``torchscript``: it came as a TorchScript file."""

    def __init__(
        self,
        model: Any,
        example: Sequence[Any],
        *,
        named: str,
        brought: bool = False,
        torchscript: bool = False,
        title: str = "",
    ) -> None:
        self._model, self._named, self._brought, self._torchscript = model, named, brought, torchscript
        self._args = tuple(example)
        self._call = model.module() if isinstance(model, torch.export.ExportedProgram) else model
        self.framework = title or f"PyTorch {torch.__version__}"
        self.inputs = tuple(
            Port(name, tuple(tensor.shape), _numpy_type(tensor))
            for name, tensor in zip(_input_names(model, len(self._args)), self._args, strict=True)
        )
        with foreign(f"{named}: the model does not run on {_shapes(self._args)}"), torch.inference_mode():
            self._output_names = _output_names(self._call(*self._args))

    @property
    def example(self) -> tuple[np.ndarray, ...] | None:
        """The example that came with the model."""
        return tuple(_array(tensor) for tensor in self._args) if self._brought else None

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs, flat, in order."""
        with foreign(f"{self._named}: PyTorch cannot run the model"), torch.inference_mode():
            answer = self._call(*(torch.from_numpy(np.array(array)) for array in inputs))
        return [_array(tensor) for _, tensor in _flat(answer)]

    def export(self, asked: Asked) -> Exported:
        """Return the graph, by the newer exporter where that is possible."""
        reason = self._reason_for_torchscript(asked)
        if reason is not None:
            with foreign(f"{self._named}: the TorchScript exporter cannot export it"):
                return self._by_torchscript(asked, reason)
        with foreign(f"{self._named}: torch.onnx.export cannot export it"):
            try:
                return self._by_dynamo(asked)
            except torch.onnx.OnnxExporterError as error:
                return self._after(asked, error)

    def _reason_for_torchscript(self, asked: Asked) -> str | None:
        program = isinstance(self._model, torch.export.ExportedProgram)
        low = asked.opset is not None and asked.opset < DYNAMO_LOWEST
        if asked.exporter == "dynamo" or program:
            if self._torchscript:
                raise InputError(f"{self._named}: a TorchScript file cannot go through --exporter dynamo")
            if low:
                raise InputError(f"--opset {asked.opset}: the dynamo exporter writes {DYNAMO_LOWEST} and above")
            if asked.exporter == "torchscript":
                raise InputError(f"{self._named}: an ExportedProgram cannot go through --exporter torchscript")
            return None
        if asked.exporter == "torchscript":
            return "it was asked for"
        if self._torchscript:
            return "the file is TorchScript, which the dynamo exporter does not take"
        return f"opset {asked.opset} is below {DYNAMO_LOWEST}, the dynamo exporter's lowest" if low else None

    def _after(self, asked: Asked, error: Exception) -> Exported:
        """Say which operators failed; or, where the capture failed, take the older exporter."""
        operators = troubles.operators_in_message(str(error))
        if operators:
            raise troubles.cannot_say(self._named, self._layers(operators)) from error
        reason = troubles.capture_reason(str(error))
        if asked.exporter == "dynamo" or isinstance(self._model, torch.export.ExportedProgram):
            raise CannotExport(f"{self._named}: torch.onnx.export cannot export it: {reason}") from error
        return self._by_torchscript(asked, f"torch.export cannot capture the model: {reason}; {_TRACED}")

    # --- the two exporters -------------------------------------------------------------------------------------------

    def _by_dynamo(self, asked: Asked, **rest: Any) -> Exported:
        opset = asked.opset or DYNAMO_LOWEST
        program = isinstance(self._model, torch.export.ExportedProgram)
        dynamic = None
        if asked.dynamic and not program:
            dynamic = tuple(_dynamic_axes(port) for port in self.inputs)
        with quiet():
            written = torch.onnx.export(
                self._model,
                None if program else self._example_for(asked),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=dynamic,
                input_names=[port.name for port in self.inputs],
                output_names=list(self._output_names),
                verbose=False,
                **rest,
            )
        assert written is not None, "the dynamo exporter returns the program"
        notes: tuple[str, ...] = ()
        if asked.dynamic and program:
            notes = ("--dynamic: an ExportedProgram keeps the dimensions it was exported with",)
        return Exported(without_paths(written.model_proto), "torch.onnx.export (dynamo)", notes)

    def _by_torchscript(self, asked: Asked, reason: str) -> Exported:
        opset = asked.opset or TORCHSCRIPT_OPSET
        if opset > TORCHSCRIPT_HIGHEST:
            raise InputError(f"--opset {opset}: the TorchScript exporter writes up to {TORCHSCRIPT_HIGHEST}")
        axes: dict[str, Any] = {}
        if asked.dynamic:
            axes = {port.name: _dynamic_axes(port) for port in self.inputs}
            axes |= {name: {0: "batch"} for name in self._output_names}
        file = io.BytesIO()
        try:
            with quiet():
                torch.onnx.export(
                    self._model,
                    self._example_for(asked),
                    file,
                    dynamo=False,
                    opset_version=opset,
                    dynamic_axes=axes,
                    input_names=[port.name for port in self.inputs],
                    output_names=list(self._output_names),
                )
        except torch.onnx.OnnxExporterError as error:
            operators = troubles.operators_in_message(str(error))
            if not operators:
                raise CannotExport(f"{self._named}: the TorchScript exporter: {troubles.describe(error)}") from error
            raise troubles.cannot_say(self._named, [Unsupported(name, ()) for name in operators]) from error
        model = onnx.load_from_string(file.getvalue())
        note = f"exported by the older TorchScript exporter: {reason}"
        return Exported(without_paths(model), "torch.onnx.export (TorchScript)", (note,))

    def _example_for(self, asked: Asked) -> tuple[Any, ...]:
        """Return the example; for a dynamic batch one of two, because torch.export takes a batch of one for fixed."""
        if not asked.dynamic:
            return self._args
        return tuple(tensor.repeat(2, *[1] * (tensor.dim() - 1)) if tensor.dim() else tensor for tensor in self._args)

    # --- which layers use what ONNX has not --------------------------------------------------------------------------

    def _layers(self, known: Sequence[str]) -> list[Unsupported]:
        """Return every operator of the model without a translation, with the modules that use it."""
        operators = dict.fromkeys(self._reported() or known)
        used: dict[str, list[str]] = {}
        for name, layer in self._calls():
            if name in operators and layer not in used.setdefault(name, []):
                used[name].append(layer)
        return [Unsupported(name, tuple(used.get(name, ()))) for name in dict.fromkeys((*used, *operators))]

    def _reported(self) -> tuple[str, ...]:
        """Ask the exporter for its own report: its error names only the first operator."""
        with tempfile.TemporaryDirectory(prefix="lookout-export-") as folder:
            try:
                self._by_dynamo(Asked(self._named), report=True, artifacts_dir=folder)
            except (torch.onnx.OnnxExporterError, TypeError):  # TypeError: a release without reports
                reports = sorted(Path(folder).glob("*.md"))
                return troubles.operators_in_report(reports[-1].read_text()) if reports else ()
        return ()

    def _calls(self) -> Iterator[tuple[str, str]]:
        """Yield each call of an operator in the captured graph, taken apart as far as possible, with its layer."""
        program = self._model
        with quiet():
            if not isinstance(program, torch.export.ExportedProgram):
                program = torch.export.export(program, self._args)
            apart = program.run_decompositions(dict(torch._decomp.decomposition_table))
        for graph in (apart.graph, program.graph):
            for node in graph.nodes:
                if node.op == "call_function":
                    stack = list(node.meta.get("nn_module_stack", {}).values())
                    path, kind = stack[-1] if stack else ("", "")
                    kind = kind if isinstance(kind, str) else kind.__name__
                    yield (
                        str(node.target).rpartition(".")[0],
                        f"{path or 'the model itself'} ({kind.rpartition('.')[2]})",
                    )


# --- loading ---------------------------------------------------------------------------------------------------------


def from_object(built: Any, asked: Asked) -> TorchSource:
    """Take a module, or (module, example inputs), that a person's callable returned. Raises :class:`InputError`."""
    model, example = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    brought = example is not None
    if example is not None and not isinstance(example, (tuple, list)):
        example = (example,)
    if asked.input_shapes:
        example, brought = _noise(asked), False
    if example is None:
        raise InputError(f"{asked.text}: the input's shape is not known; give --input-shape, such as 1,3,224,224")
    if not all(isinstance(one, torch.Tensor) for one in example):
        kinds = ", ".join(type(one).__name__ for one in example)
        raise InputError(f"{asked.text}: the example inputs are {kinds}; tensors are needed")
    return TorchSource(model.eval(), example, named=asked.text, brought=brought)


def from_program(path: Path, asked: Asked) -> TorchSource:
    """Load an ExportedProgram (``.pt2``). Raises :class:`InputError`."""
    with foreign(f"{path}: torch.export cannot load it"):
        program = torch.export.load(path)
    example = program.example_inputs[0] if program.example_inputs else ()
    if not example:
        raise InputError(f"{path}: was saved without its example inputs; export it again with them")
    shapes = tuple(tuple(tensor.shape) for tensor in example)
    if asked.input_shapes and asked.input_shapes != shapes:
        raise InputError(f"--input-shape: {path} is an ExportedProgram for {list(shapes)}; its shapes are fixed")
    return TorchSource(program, example, named=asked.text, brought=True)


def from_torchscript(path: Path, asked: Asked) -> TorchSource:
    """Load a TorchScript file. Raises :class:`InputError`."""
    with foreign(f"{path}: TorchScript cannot load it"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.load(path, map_location="cpu").eval()
    if not asked.input_shapes:
        raise InputError(f"{path}: TorchScript keeps no shapes; give --input-shape, such as 1,3,224,224")
    return TorchSource(model, _noise(asked), named=asked.text, torchscript=True)


def _noise(asked: Asked) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(asked.seed)
    return tuple(torch.rand(shape, generator=generator) for shape in asked.input_shapes)


# --- small things ----------------------------------------------------------------------------------------------------


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' progress, warnings and dumped graphs off the terminal."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def without_paths(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what names files of the machine that exported; the layers' names stay; in place."""
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key not in _PATHS]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.ClearField("doc_string")
    del model.graph.metadata_props[:]
    return model


def _dynamic_axes(port: Port) -> dict[int, str]:
    """Name the batch, and a picture's height and width."""
    if len(port.shape) != 4:
        return {0: "batch"}
    return {0: "batch", 2: "height", 3: "width"} if port.shape[1] in (1, 3) else {0: "batch"}


def _input_names(model: Any, count: int) -> list[str]:
    if isinstance(model, torch.export.ExportedProgram):
        return [str(name) for name in model.graph_signature.user_inputs]
    if isinstance(model, torch.jit.ScriptModule):
        names = [value.debugName().partition(".")[0] for value in list(model.graph.inputs())[1:]]
    else:
        names = [
            parameter.name
            for parameter in inspect.signature(model.forward).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    return [*names[:count], *(f"input_{index}" for index in range(len(names), count))]


def _output_names(answer: Any) -> tuple[str, ...]:
    names = [name for name, _ in _flat(answer)]
    if len(names) == 1:
        return (names[0] or "output",)
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return tuple(name if name and seen[name] == 1 else f"{name or 'output'}_{i}" for i, name in enumerate(names))


def _flat(answer: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of an answer in the exporters' order, each with the key it lay under."""
    if isinstance(answer, torch.Tensor):
        yield name, answer
    elif isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from _flat(value, str(key))
    elif isinstance(answer, (tuple, list)):
        for value in answer:
            yield from _flat(value, name)


def _array(tensor: Any) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array


def _numpy_type(tensor: Any) -> str:
    return str(tensor.dtype).rpartition(".")[2]


def _shapes(tensors: Sequence[Any]) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in tensors)
