"""The model files of a release: told apart by their precision, and held against the first one.

The first file is the reference: its input and decoder are the manifest's own; a later one states only in what it
differs. All must be one model: the same family, the same number of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import InputError, ModelError
from agent.infer.detector import Detector
from agent.infer.session import Session
from agent.types import ModelSpec
from tools.model.manifest.graph import load_graph
from tools.model.manifest.recognise import Recognised, recognise

CPU = ("CPUExecutionProvider",)
PROVIDERS = {"fp32": CPU, "int8": CPU, "fp16": ("CUDAExecutionProvider", "CPUExecutionProvider")}
"""Which providers a precision is made for unless somebody says otherwise."""


@dataclass(frozen=True)
class VariantFile:
    """A model file of the release and what is known of it. ``name``: what it is called in the release."""

    path: Path
    name: str
    precision: str
    spec: ModelSpec

    def detector(self, *, score_floor: float) -> Detector:
        """Load it as a device would, on the CPU. Raises :class:`~agent.errors.ModelError`."""
        session = Session.load(self.path, providers=CPU, threads=0, spin=False)
        return Detector(self.spec, session, score_floor=score_floor)


def gather(
    models: Sequence[Path], *, model_name: str, first: ModelSpec, by_hand: bool, input_size: tuple[int, int] | None
) -> tuple[VariantFile, ...]:
    """Return the variants; ``first`` describes the first model, ``by_hand``: so it does all (a manifest says it).

    Raises :class:`ModelError`, :class:`InputError` where two files are not one model or one is not ready to serve.
    """
    files: list[VariantFile] = []
    for path in models:
        if by_hand or path == models[0]:
            spec, precision = first, load_graph(path).precision
        else:
            found = recognise(path, input_size=input_size)
            _same_family(models[0], first, path, found)
            spec, precision = _like(first, found), found.precision
        _require_size(path, spec)
        taken = {file.name for file in files}
        name = f"{model_name}.{precision}.onnx"
        if name in taken:
            name = f"{model_name}.{precision}-{len(files) + 1}.onnx"
        files.append(VariantFile(path, name, precision, spec))
    return tuple(files)


def _same_family(one: Path, first: ModelSpec, other: Path, found: Recognised) -> None:
    wanted, got = (first.decoder.kind, first.num_classes), (found.decoder.kind, found.num_classes)
    if wanted != got:
        raise InputError(
            f"{other} is {got[0]} with {got[1]} classes, {one} is {wanted[0]} with {wanted[1]}: "
            "a release holds variants of one model only"
        )


def _like(first: ModelSpec, found: Recognised) -> ModelSpec:
    """Return the spec of a later variant: the graph's own name, shape and types, everything else as in the first."""
    keeps_normalisation = found.input.dtype == first.input.dtype
    changes = {key: getattr(found.input, key) for key in ("name", "shape", "dtype", "layout")}
    if not keeps_normalisation:
        changes |= {key: getattr(found.input, key) for key in ("scale", "mean", "std")}
    return msgspec.structs.replace(first, input=msgspec.structs.replace(first.input, **changes), decoder=found.decoder)


def _require_size(path: Path, spec: ModelSpec) -> None:
    declared = load_graph(path).input.shape
    if any(have not in (-1, want) for have, want in zip(declared, spec.input.shape, strict=True)):
        raise ModelError(
            f"{path}: declares an input of {list(declared)}, devices feed {list(spec.input.shape)}; "
            f"clean it first: lookout model optimize {path} --input-size {spec.input.width}x{spec.input.height}"
        )


def fields_of(files: Sequence[VariantFile]) -> list[dict[str, Any]]:
    """Return the manifest's ``variants``; hashes and sizes are filled in where the files lie."""
    base = files[0].spec
    rows = []
    for file in files:
        row: dict[str, Any] = {
            "providers": list(PROVIDERS[file.precision]),
            "precision": file.precision,
            "file": {"path": file.name},
        }
        differs = _differences(msgspec.to_builtins(base.input), msgspec.to_builtins(file.spec.input))
        if differs:
            row["input"] = differs
        decoder = _differences(base.decoder.params, file.spec.decoder.params)
        if decoder:
            row["decoder"] = decoder
        rows.append(row)
    return rows


def _differences(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in other.items() if base.get(key) != value}
