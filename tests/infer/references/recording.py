"""Real outputs of a family, and what the family's own post-processing made of them: small files that need no torch.

A recording holds, for each picture, the model's outputs and the reference's detections in pixels of the picture. Most
rows of an output score far below every threshold; ``thin`` replaces these by one and the same row *before* the
reference looks at them, so that both sides read the same numbers and a file stays small. ``trim`` drops the last bits
of each number, before the reference as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from agent.types import DecoderSpec, Digest, InputSpec, ModelName, ModelSpec, ReleaseId

MOST_BYTES = 200_000


class Case(NamedTuple):
    """One picture: its size (width, height), the outputs, the reference's rows ``x1 y1 x2 y2 score class_id``."""

    size: tuple[int, int]
    outputs: list[np.ndarray]
    expected: np.ndarray


class Recording(NamedTuple):
    """``score``: the reference's threshold; ``reference``: what it is, in words; ``outputs``: names and ONNX types."""

    spec: ModelSpec
    score: float
    reference: str
    outputs: list[tuple[str, str]]
    cases: list[Case]


def spec_of(kind: str, params: dict[str, Any], *, classes: int, iou: float, most: int, **input_: Any) -> ModelSpec:
    """A spec with an input of these fields."""
    release = ReleaseId(ModelName(kind), "1.0.0", Digest("0" * 64))
    return ModelSpec(
        release, "detect", InputSpec(**input_), DecoderSpec(kind, params), num_classes=classes, nms_iou=iou,
        max_detections=most,
    )  # fmt: skip


def trim(array: np.ndarray, bits: int = 9) -> np.ndarray:
    """Return float32 numbers without their last ``bits`` bits."""
    whole = np.ascontiguousarray(array, np.float32).view(np.uint32) & np.uint32(0xFFFFFFFF << bits & 0xFFFFFFFF)
    return whole.view(np.float32)


def thin(array: np.ndarray, keep: np.ndarray, fill: float | np.ndarray, axis: int = -1) -> np.ndarray:
    """Return ``array`` with every row but those to ``keep`` being ``fill``; a row's numbers lie along ``axis``."""
    moved = np.moveaxis(array, axis, -1).copy()
    rows = moved.reshape(-1, moved.shape[-1])
    rows[~keep.reshape(-1)] = fill
    return np.ascontiguousarray(np.moveaxis(moved, -1, axis))


def save(path: Path, recording: Recording, axes: list[int | None]) -> None:
    """Write a recording; ``axes``: along which the numbers of a row lie, None for an output that is kept whole."""
    arrays: dict[str, np.ndarray] = {"sizes": np.array([case.size for case in recording.cases], np.int32)}
    arrays["expected"] = np.concatenate([case.expected for case in recording.cases]).astype(np.float32)
    arrays["counts"] = np.array([len(case.expected) for case in recording.cases], np.int32)
    for number, axis in enumerate(axes):
        outputs = [case.outputs[number] for case in recording.cases]
        if axis is None:
            for index, output in enumerate(outputs):
                arrays[f"whole_{number}_{index}"] = output
            continue
        moved = [np.moveaxis(output, axis, -1) for output in outputs]
        rows = [output.reshape(-1, output.shape[-1]) for output in moved]
        values, repeated = np.unique(np.concatenate(rows), axis=0, return_counts=True)
        fill = values[repeated.argmax()]
        kept = [np.flatnonzero((part != fill).any(axis=1)) for part in rows]
        arrays[f"shape_{number}"] = np.array([axis, *moved[0].shape], np.int32)
        arrays[f"fill_{number}"] = fill
        arrays[f"kept_{number}"] = np.concatenate(kept).astype(np.int32)
        arrays[f"rows_{number}"] = np.concatenate([part[index] for part, index in zip(rows, kept, strict=True)])
        arrays[f"each_{number}"] = np.array([len(index) for index in kept], np.int32)
    about = {
        "spec": msgspec.to_builtins(recording.spec),
        "score": recording.score,
        "reference": recording.reference,
        "outputs": recording.outputs,
    }
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez_compressed(path, **arrays)
    size = path.stat().st_size
    print(f"{path.name}: {len(recording.cases)} pictures, {arrays['counts'].sum()} detections, {size} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{path} has {size} bytes, at most {MOST_BYTES} are allowed: keep fewer rows")


def load(path: Path) -> Recording:
    """Read a recording."""
    with np.load(path) as arrays:
        about = json.loads(arrays["about"].tobytes())
        count = len(arrays["counts"])
        columns = [_outputs(arrays, number, count) for number in range(len(about["outputs"]))]
        expected = np.split(arrays["expected"], np.cumsum(arrays["counts"])[:-1])
        cases = [
            Case(tuple(map(int, arrays["sizes"][index])), [column[index] for column in columns], expected[index])
            for index in range(count)
        ]
    outputs = [(name, dtype) for name, dtype in about["outputs"]]
    return Recording(msgspec.convert(about["spec"], ModelSpec), about["score"], about["reference"], outputs, cases)


def _outputs(arrays: Any, number: int, count: int) -> list[np.ndarray]:
    if f"shape_{number}" not in arrays:
        return [arrays[f"whole_{number}_{index}"] for index in range(count)]
    axis, *shape = arrays[f"shape_{number}"].tolist()
    ends = np.cumsum(arrays[f"each_{number}"])[:-1]
    every = zip(np.split(arrays[f"kept_{number}"], ends), np.split(arrays[f"rows_{number}"], ends), strict=True)
    found = []
    for kept, rows in every:
        full = np.tile(arrays[f"fill_{number}"], (int(np.prod(shape[:-1])), 1))
        full[kept] = rows
        found.append(np.ascontiguousarray(np.moveaxis(full.reshape(shape), -1, axis)))
    return found
