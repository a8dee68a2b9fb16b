"""Does a file have the inputs and outputs that its manifest says? Pure; messages name what was found and wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.errors import ModelError
from agent.infer.decoders.base import Expected, Output
from agent.types import InputSpec, ModelSpec, TensorInfo

_INPUT_TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)", "uint8": "tensor(uint8)"}
_OUTPUT_TYPES = ("tensor(float)", "tensor(float16)", "tensor(double)")
_WHOLE_TYPES = ("tensor(int64)", "tensor(int32)", "tensor(uint8)")

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


def check_outputs(spec: ModelSpec, expected: Sequence[Expected], outputs: Sequence[TensorInfo]) -> tuple[int, ...]:
    """Return the position of the output that is meant by each of ``expected``, in that order.

    Where ``decoder.outputs`` names them, by name; else by shape, then by usual names. Outputs beyond them are left
    alone, optional ones that are not there left out. Raises :class:`ModelError`: one is missing, or several could be
    meant.
    """
    wanted = [want if isinstance(want, Output) else Output((want,)) for want in expected]
    if "outputs" in spec.decoder.params:
        return _by_name(spec, wanted, outputs)
    found: dict[int, int | None] = {}
    while len(found) < len(wanted):
        taken = set(found.values())
        left = [position for position in range(len(outputs)) if position not in taken]
        choices = {
            index: [position for position in left if _is_meant(outputs[position], want)]
            for index, want in enumerate(wanted)
            if index not in found
        }
        index, position = _surest(wanted, choices, outputs)
        if position is None and not wanted[index].optional:
            raise _missing(spec, wanted[index], choices[index], outputs)
        found[index] = position
    return tuple(position for index in range(len(wanted)) if (position := found[index]) is not None)


def _surest(
    wanted: Sequence[Output], choices: dict[int, list[int]], outputs: Sequence[TensorInfo]
) -> tuple[int, int | None]:
    """Return which of ``wanted`` can be decided best, and for which output; None: there is none, or no single one."""
    for index, positions in choices.items():
        if not positions and not wanted[index].optional:
            return index, None
    named = {index: _narrowed(positions, wanted[index].names, outputs) for index, positions in choices.items()}
    for options in (named, choices):
        for index, positions in options.items():
            if len(positions) == 1:
                return index, positions[0]
    for index, positions in choices.items():
        if positions and not wanted[index].names:
            return index, positions[0]
    return next(iter(choices)), None


def _narrowed(positions: Sequence[int], names: Sequence[str], outputs: Sequence[TensorInfo]) -> list[int]:
    """Return the positions whose name is, or else holds, the first of ``names`` that says anything."""
    for name in names:
        same = [position for position in positions if outputs[position].name.lower().split(":")[0] == name]
        if same:
            return same
    for name in names:
        like = [position for position in positions if name in outputs[position].name.lower()]
        if like:
            return like
    return []


def _by_name(spec: ModelSpec, wanted: Sequence[Output], outputs: Sequence[TensorInfo]) -> tuple[int, ...]:
    """Return the positions of the outputs that the manifest names, one for each of ``wanted``, in their order."""
    names = spec.decoder.params["outputs"]
    least = sum(not want.optional for want in wanted)
    if not isinstance(names, list | tuple) or not least <= len(names) <= len(wanted) or len(set(names)) < len(names):
        roles = ", ".join(want.role or str(list(want.shapes[0])) for want in wanted)
        raise ModelError(
            f"decoder.outputs {names!r}: a list of {least} names of outputs is needed, for: {roles}",
            field="decoder.outputs",
        )
    known = {output.name: position for position, output in enumerate(outputs)}
    positions = []
    for name, want in zip(names, wanted, strict=False):
        if name not in known or not _is_meant(outputs[known[name]], want):
            raise ModelError(
                f"decoder.outputs {name!r}: an output of this name, {_wish(want)}, is needed; the file's are "
                f"{', '.join(map(_describe, outputs)) or 'none'}; {_REMEDY}",
                field="decoder.outputs",
            )
        positions.append(known[name])
    return tuple(positions)


def _missing(spec: ModelSpec, want: Output, choices: Sequence[int], outputs: Sequence[TensorInfo]) -> ModelError:
    found = ", ".join(map(_describe, outputs)) or "none"
    if choices:
        several = ", ".join(_describe(outputs[position]) for position in choices)
        return ModelError(
            f"outputs: which of {several} holds the {want.role} of decoder {spec.decoder.kind}? Name the outputs in "
            "decoder.outputs, in the order of docs/decoders.md",
            field="decoder.outputs",
        )
    return ModelError(
        f"outputs: decoder {spec.decoder.kind} with {spec.num_classes} labels and an input of "
        f"{spec.input.width}x{spec.input.height} needs one {_wish(want)}; "
        f"the file's are {found}; {_REMEDY}",
        field="decoder",
    )


def _wish(want: Output) -> str:
    shapes = " or ".join(map(_sizes, want.shapes))
    kind = "float or whole numbers" if want.whole else "float"
    return f"of shape {shapes} ({kind}){f' for its {want.role}' if want.role else ''}"


def _is_meant(output: TensorInfo, want: Output) -> bool:
    types = _OUTPUT_TYPES + (_WHOLE_TYPES if want.whole else ())
    return output.dtype in types and any(_fits(output.shape, shape) for shape in want.shapes)


def has_shape(output: np.ndarray, want: Expected) -> bool:
    """Tell whether what a model answered has the shape that it should have."""
    return any(_fits(output.shape, shape) for shape in (want.shapes if isinstance(want, Output) else (want,)))


def _fits(declared: Sequence[int], wanted: Sequence[int]) -> bool:
    """Tell whether a shape allows the wanted one; free dimensions are -1 on both sides."""
    if len(declared) != len(wanted):
        return False
    return all(have == want or -1 in (have, want) for have, want in zip(declared, wanted, strict=True))


def _describe(tensor: TensorInfo) -> str:
    return f"{tensor.name} {tensor.dtype} {_sizes(tensor.shape)}"


def _sizes(shape: Sequence[int]) -> str:
    return f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]"
