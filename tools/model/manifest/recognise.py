"""Says what a model is from its graph alone: task, decoder, input, number of classes, and what of it is a guess.

``doubts`` are sentences for a person who knows how the model was trained. Every one names an assumption that the graph
cannot prove; a manifest states each of them as a field, where it can be corrected.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from agent.errors import InputError, ModelError
from agent.infer.decoders.table import DECODERS
from agent.infer.fit import check_outputs
from agent.types import DecoderSpec, Digest, InputSpec, ModelName, ModelSpec, ReleaseId, Task
from tools.model.manifest.families import FAMILIES, Proposal, resembles, trained_side
from tools.model.manifest.families_more import MORE
from tools.model.manifest.graph import Graph, Precision, load_graph, resolve

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_SMALLEST_SIDE = 32
"""A detector of a batch whose pictures are no larger was exported with an example's dimensions."""

NO_RELEASE = ReleaseId(ModelName("unpublished"), "0.0.0", Digest("0" * 64))
"""Stands in a spec for a release that is not there yet."""


@dataclass(frozen=True)
class Recognised:
    """What a graph says, and ``doubts`` about the rest. ``labels``: empty where neither file nor family names them.

    ``score`` and ``nms_iou``: the family's usual thresholds. ``static``: the file's own input has this very shape.
    """

    task: Task
    decoder: DecoderSpec
    input: InputSpec
    num_classes: int
    doubts: tuple[str, ...]
    labels: tuple[str, ...]
    labels_from: str
    precision: Precision
    score: float
    nms_iou: float
    static: bool

    def spec(self) -> ModelSpec:
        """Return what inference must know."""
        return ModelSpec(
            NO_RELEASE, self.task, self.input, self.decoder, num_classes=self.num_classes, nms_iou=self.nms_iou
        )


def recognise(model: Path, *, input_size: tuple[int, int] | None = None) -> Recognised:
    """Recognise ``model``; ``input_size`` (width, height) where the file leaves it free or was exported with another.

    Raises :class:`ModelError`: unreadable, or of no family that the agent reads; :class:`InputError`: the size has to
    be given.
    """
    declared = load_graph(model)
    doubts: list[str] = []
    layout, shape = _shape(declared, model, input_size, doubts)
    graph = resolve(declared, shape, model)
    size = (shape[3], shape[2]) if layout == "NCHW" else (shape[2], shape[1])
    for family in (*FAMILIES, *MORE):
        proposal = family(graph, size)
        if proposal is None:
            continue
        found = _recognised(graph, proposal, layout, shape, doubts)
        if _reads(found, graph):
            return replace(found, static=tuple(declared.input.shape) == shape)
    raise _unknown(graph, size, model)


def _shape(
    graph: Graph, path: Path, wanted: tuple[int, int] | None, doubts: list[str]
) -> tuple[str, tuple[int, int, int, int]]:
    """Return the layout and the full shape of the input; adds what was assumed to ``doubts``."""
    name, shape = graph.input.name, graph.input.shape
    if len(shape) != 4 or graph.input.dtype not in _DTYPES:
        raise ModelError(
            f"{path}: input {name} is {graph.input.dtype} {list(shape)}; a picture's is float or uint8 with "
            "4 dimensions (batch, channels and sides): this is no model for cameras"
        )
    layout = "NHWC" if shape[3] == 3 and shape[1] != 3 else "NCHW"
    channels = shape[3 if layout == "NHWC" else 1]
    if channels not in (3, -1):
        raise ModelError(f"{path}: input {name} has {channels} channels; frames have 3: export it for colour pictures")
    if shape[0] > 1:
        doubts.append(f"the file declares a batch of {shape[0]}; devices feed one picture at a time, so it becomes 1")
    sides = (shape[2], shape[1]) if layout == "NHWC" else (shape[3], shape[2])
    width, height = _size(graph, path, sides, wanted, doubts)
    return layout, (1, height, width, 3) if layout == "NHWC" else (1, 3, height, width)


def _size(
    graph: Graph, path: Path, sides: tuple[int, int], wanted: tuple[int, int] | None, doubts: list[str]
) -> tuple[int, int]:
    """Return the input's width and height: as asked for, as declared, or as trained."""
    if wanted is not None:
        if min(wanted) < 1:
            raise InputError(f"--input-size {wanted[0]}x{wanted[1]}: both sides must be at least 1")
        if -1 not in sides and sides != wanted:
            doubts.append(f"the file declares {sides[0]}x{sides[1]}; {wanted[0]}x{wanted[1]} was asked for")
        return wanted
    example = graph.input.shape[0] > 1 and max(sides) <= _SMALLEST_SIDE
    if min(sides) > 0 and not example:
        return sides
    trained = _size_in_metadata(graph.metadata) or trained_side(graph)
    if trained is None or example:
        what = f"declares {sides[0]}x{sides[1]}, an example's size" if example else "leaves the input's size open"
        raise InputError(f"{path}: {what}; say which one to use: --input-size WIDTHxHEIGHT", field="input_size")
    doubts.append(f"the file leaves the input's size open; {trained}x{trained} is taken, for which it was exported")
    return trained, trained


def _size_in_metadata(metadata: dict[str, str]) -> int | None:
    """Return the side that Ultralytics' exporter notes."""
    value = literal(metadata.get("imgsz", ""))
    if isinstance(value, list | tuple) and len(set(value)) == 1:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def literal(text: str) -> Any:
    """Read a Python or JSON literal as exporters write into metadata; None where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _recognised(
    graph: Graph, proposal: Proposal, layout: str, shape: tuple[int, int, int, int], doubts: list[str]
) -> Recognised:
    dtype = _DTYPES[graph.input.dtype]
    fields: dict[str, Any] = {"name": graph.input.name, "shape": shape, "dtype": dtype, "layout": layout}
    labels, origin = labels_in_metadata(graph.metadata), "metadata"
    if len(labels) != proposal.num_classes:
        labels, origin = proposal.labels, "family" if proposal.labels else ""
    return Recognised(
        task=cast("Task", DECODERS[proposal.kind].task),
        decoder=DecoderSpec(proposal.kind, proposal.params),
        input=InputSpec(**{**fields, **proposal.preprocess}),
        num_classes=proposal.num_classes,
        doubts=(*doubts, *proposal.doubts),
        labels=labels,
        labels_from=origin,
        precision=graph.precision,
        score=proposal.score,
        nms_iou=proposal.nms_iou,
        static=False,
    )


def labels_in_metadata(metadata: dict[str, str]) -> tuple[str, ...]:
    """Return the classes' names that the exporter noted, in order of their ids; empty where it noted none."""
    for key in ("names", "labels", "classes"):
        value = literal(metadata.get(key, ""))
        if isinstance(value, dict) and sorted(value) == list(range(len(value))):
            value = [value[number] for number in range(len(value))]
        if isinstance(value, list | tuple) and value and all(isinstance(name, str) and name.strip() for name in value):
            names = tuple(name.strip() for name in value)
            if len(set(names)) == len(names):
                return names
    return ()


def _reads(found: Recognised, graph: Graph) -> bool:
    """Tell whether the family's own decoder expects the outputs that the file has."""
    spec = found.spec()
    try:
        expected = DECODERS[spec.decoder.kind].expect(
            input_size=(spec.input.width, spec.input.height), params=spec.decoder.params, num_classes=spec.num_classes
        )
        check_outputs(spec, expected, graph.outputs)
    except ModelError:
        return False
    return True


def _unknown(graph: Graph, size: tuple[int, int], path: Path) -> ModelError:
    outputs = ", ".join(f"{out.name} {list(out.shape)}" for out in graph.outputs)
    likeness = resembles(graph, size)
    hint = f" ({likeness})" if likeness else ""
    known = ", ".join(sorted(DECODERS))
    return ModelError(
        f"{path}: with an input of {size[0]}x{size[1]} its outputs are {outputs}{hint}; "
        f"no family that this agent reads has these. It reads: {known}. Export one of these, or write a manifest "
        "by hand and give it with --manifest"
    )
