"""Does a file have the inputs and outputs that its manifest says? Pure; messages name what was found and wanted."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import ModelError
from agent.types import InputSpec, ModelSpec, TensorInfo

_INPUT_TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)", "uint8": "tensor(uint8)"}
_OUTPUT_TYPES = ("tensor(float)", "tensor(float16)", "tensor(double)")

_REMEDY = "correct the manifest, or export the model again"


def check_input(spec: InputSpec, inputs: Sequence[TensorInfo]) -> None:
    """Compare the manifest's input with the file's. Raises :class:`ModelError`."""
    if len(inputs) != 1 or inputs[0].name != spec.name:
        found = ", ".join(map(_describe, inputs)) or "none"
        raise ModelError(f"input.name {spec.name!r}: the file's inputs are {found}; {_REMEDY}", field="input.name")
    only = inputs[0]
    if only.dtype != _INPUT_TYPES[spec.dtype]:
        raise ModelError(
            f"input.dtype {spec.dtype}: the file's input is {_describe(only)}; {_INPUT_TYPES[spec.dtype]} is needed; "
            f"{_REMEDY}",
            field="input.dtype",
        )
    if not _fits(only.shape, spec.shape):
        raise ModelError(
            f"input.shape {list(spec.shape)}: the file's input is {_describe(only)}; {_REMEDY}", field="input.shape"
        )


def check_outputs(spec: ModelSpec, expected: Sequence[tuple[int, ...]], outputs: Sequence[TensorInfo]) -> None:
    """Look for an output of each expected shape; outputs beyond them are left alone. Raises :class:`ModelError`."""
    left = [output for output in outputs if output.dtype in _OUTPUT_TYPES]
    found = ", ".join(map(_describe, outputs)) or "none"
    for shape in expected:
        match = next((output for output in left if _fits(output.shape, shape)), None)
        if match is None:
            raise ModelError(
                f"outputs: decoder {spec.decoder.kind} with {spec.num_classes} labels and an input of "
                f"{spec.input.width}x{spec.input.height} needs one of shape {list(shape)} (float); "
                f"the file's are {found}; {_REMEDY}",
                field="decoder",
            )
        left.remove(match)


def _fits(declared: Sequence[int], wanted: Sequence[int]) -> bool:
    """Tell whether a declared shape, whose free dimensions are -1, allows the wanted one."""
    if len(declared) != len(wanted):
        return False
    return all(have in (-1, want) for have, want in zip(declared, wanted, strict=True))


def _describe(tensor: TensorInfo) -> str:
    sizes = ", ".join("?" if size < 0 else str(size) for size in tensor.shape)
    return f"{tensor.name} {tensor.dtype} [{sizes}]"
