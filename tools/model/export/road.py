"""The whole way: load, export, check, prove, and only then write.

Everything happens in memory. The file appears, whole, once the checker, ONNX Runtime and parity have passed: a file
that exists is one that answered as its framework does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from agent import atomic
from tools.model.export import parity as proof
from tools.model.export.kinds import open_source
from tools.model.export.parity import Feed, Parity, Pixels
from tools.model.export.source import Asked, Port, Source
from tools.model.export.troubles import CannotExport, first_line

STEPS = ("loading", "exporting", "checking", "comparing", "writing")
_LARGEST = 2 * 1024**3 - 1


@dataclass(frozen=True)
class Trial:
    """How parity is measured: on photographs (``images``) or, where that is None, on noise."""

    images: Path | None = None
    pixels: Pixels = "unit"
    count: int = proof.COUNT
    tolerance: float = proof.TOLERANCE


@dataclass(frozen=True)
class Report:
    """What came of it. ``written`` is None where parity was missed: then there is no file."""

    source: str
    framework: str
    exporter: str
    opset: int
    inputs: tuple[Port, ...]
    parity: Parity
    notes: tuple[str, ...]
    written: Path | None
    size_bytes: int


def export_model(
    asked: Asked, target: Path, trial: Trial, *, on_step: Callable[[str, int, int], None] = lambda *_: None
) -> Report:
    """Export ``asked`` to ``target``, unless parity is missed. ``on_step(what, done, of)`` is told what is being done.

    Raises :class:`~agent.errors.InputError` (the source, an option, a picture), :class:`CannotExport` (operators, the
    graph), :class:`~agent.errors.StorageError` (the disk).
    """
    steps = iter(range(len(STEPS)))

    def begin() -> None:
        step = next(steps)
        on_step(STEPS[step], step, len(STEPS))

    begin()
    source = open_source(asked)
    feeds, on = _feeds(source, asked, trial)
    begin()
    exported = source.export(asked)
    begin()
    data = _checked(exported.model, asked)
    begin()
    found = proof.compare(source, exported.model, feeds, on=on, tolerance=trial.tolerance)
    begin()
    if found.passed:
        atomic.write_bytes(target, data)
    return Report(
        source=asked.text,
        framework=source.framework,
        exporter=exported.exporter,
        opset=max(entry.version for entry in exported.model.opset_import if entry.domain in ("", "ai.onnx")),
        inputs=source.inputs,
        parity=found,
        notes=(*exported.notes, *_notes(source, found)),
        written=target if found.passed else None,
        size_bytes=len(data),
    )


def _checked(model: onnx.ModelProto, asked: Asked) -> bytes:
    """Infer the shapes, let the checker look, and return the file's bytes. Raises :class:`CannotExport`."""
    if model.ByteSize() > _LARGEST:
        raise CannotExport(f"{asked.text}: is larger than 2 GB, more than one ONNX file holds")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        onnx.checker.check_model(inferred)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise CannotExport(f"{asked.text}: the exported graph is not valid: {first_line(str(error))}") from error
    model.CopyFrom(inferred)
    if not asked.dynamic:
        _fix_batch(model)
    return bytes(model.SerializeToString())


def _fix_batch(model: onnx.ModelProto) -> None:
    """Name open dimensions of outputs plainly: the older exporter's are called after nodes; in place."""
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and not re.fullmatch(r"[a-z_]+", dim.dim_param):
                dim.dim_param = "count"


def _feeds(source: Source, asked: Asked, trial: Trial) -> tuple[list[Feed], str]:
    """Return what both sides are run on, and what it is in words."""
    if trial.images is not None:
        feeds = proof.photographs(trial.images, source.inputs, pixels=trial.pixels, count=trial.count)
        on = f"{len(feeds)} pictures of {trial.images}, RGB, {trial.pixels}"
    else:
        feeds = proof.noise(source.inputs, seed=asked.seed, count=trial.count)
        on = f"{len(feeds)} inputs of noise (seed {asked.seed}): no --images were given"
        if source.example is not None:
            feeds, on = [source.example, *feeds[1:]], f"the example input and {len(feeds) - 1} of noise"
    if asked.dynamic:
        feeds.append(tuple(np.concatenate([array, array, array]) if array.ndim else array for array in feeds[0]))
        on += ", and a batch three times as large"
    return feeds, on


def _notes(source: Source, found: Parity) -> tuple[str, ...]:
    notes = [
        f"output {one.name} was empty on every input: nothing of it was compared"
        for one in found.outputs
        if one.compared == 0 and one.reason is None
    ]
    if found.moved_rows:
        notes.append(f"{found.moved_rows} rows of nearly equal scores came in another place: compared with their like")
    if len(source.inputs) != 1:
        notes.append(f"the model has {len(source.inputs)} inputs; a device serves models with one")
    return tuple(notes)
