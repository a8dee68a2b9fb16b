"""What the steps of the workshop must know of a model: from its manifest where there is one, else recognised.

``quantize``, ``evaluate``, ``bench``, ``debug`` and ``ship`` all ask here, so that one file means one thing to all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import InputError, ManifestError
from agent.registry.manifest import MAX_MANIFEST_BYTES, Manifest, load_manifest
from agent.types import ModelSpec, Task
from tools.model.manifest.coco import COCO
from tools.model.manifest.recognise import NO_RELEASE, Recognised, recognise


@dataclass(frozen=True)
class Described:
    """A model as inference needs it. ``labels``: one a class; ``labels_from``: where they come from, in a word.

    ``labels_from``: ``given``, ``manifest``, ``metadata``, ``family``, ``dataset``, ``coco`` (a guess) or ``numbers``
    (unknown: "class 0", "class 1", …). ``assumed``: what the graph does not prove, in sentences; empty with a manifest.
    ``score``: the threshold of the manifest, else the family's usual one.
    """

    spec: ModelSpec
    labels: tuple[str, ...]
    task: Task
    labels_from: str
    assumed: tuple[str, ...]
    score: float

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return everything that a person should look at, in sentences."""
        about_labels = _LABEL_DOUBTS.get(self.labels_from)
        return self.assumed if about_labels is None else (*self.assumed, about_labels)


_LABEL_DOUBTS = {
    "coco": "it has 80 classes: their names are taken to be COCO's, in COCO's order",
    "dataset": "the classes' names are the dataset's: its order is taken for the model's",
    "numbers": "nothing names its classes: they are called by number; give --labels FILE",
}


def describe(
    model: Path,
    manifest: Path | None = None,
    *,
    labels: Sequence[str] = (),
    input_size: tuple[int, int] | None = None,
) -> Described:
    """Describe ``model``; ``labels``: the classes' names where somebody knows them (a file, a dataset).

    Raises :class:`~agent.errors.InputError` (with :class:`ManifestError` and :class:`ModelError` below it).
    """
    if manifest is not None:
        return _from_manifest(model, manifest)
    return from_recognised(recognise(model, input_size=input_size), labels, model)


def from_recognised(found: Recognised, labels: Sequence[str], model: Path) -> Described:
    """Name the classes of a recognised model. Raises :class:`InputError` where the labels do not fit."""
    names, origin = name_classes(found, labels, model)
    spec = found.spec()
    return Described(spec, names, spec.task, origin, found.doubts, found.score)


def name_classes(found: Recognised, labels: Sequence[str], model: Path) -> tuple[tuple[str, ...], str]:
    """Return the classes' names and where they come from. Raises :class:`InputError` where ``labels`` do not fit."""
    if labels:
        if len(labels) != found.num_classes:
            raise InputError(
                f"{len(labels)} labels were given; {model} has {found.num_classes} classes: one label a class, "
                "in the order of the training",
                field="labels",
            )
        return tuple(labels), "given"
    if found.labels:
        return found.labels, found.labels_from
    if found.num_classes == len(COCO) and found.task == "detect":
        return COCO, "coco"
    return tuple(f"class {number}" for number in range(found.num_classes)), "numbers"


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a file with one label a line. Raises :class:`InputError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"--labels {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--labels {path}: is no text in UTF-8; one label a line is needed") from error
    names = [line.strip() for line in lines if line.strip()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice is not None:
        what = f"names {twice!r} twice" if twice else "holds no label"
        raise InputError(f"--labels {path}: {what}; one label a line, each once")
    return tuple(names)


def parse_size(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT`` or one side of a square. Raises :class:`InputError`."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 0 < int(side) <= 8192 for side in sides):
        raise InputError(f"--input-size {text}: is not WIDTHxHEIGHT, such as 640x384", field="input_size")
    return int(sides[0]), int(sides[-1])


def _from_manifest(model: Path, path: Path) -> Described:
    manifest = read_manifest(path)
    names = [Path(variant.file.path).name for variant in manifest.variants]
    number = names.index(model.name) if model.name in names else 0
    spec = msgspec.structs.replace(manifest.spec(number, NO_RELEASE.digest))
    return Described(spec, manifest.labels, spec.task, "manifest", (), manifest.thresholds.score)


def read_manifest(path: Path) -> Manifest:
    """Read an author's manifest, in which hashes and sizes of files may still be missing.

    Raises :class:`ManifestError`, :class:`InputError`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"--manifest {path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{path} has more than {MAX_MANIFEST_BYTES} bytes; a manifest is much smaller")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is no JSON: {error}") from error
    _complete(fields)
    return load_manifest(json.dumps(fields).encode())


def _complete(fields: Any) -> None:
    """Put a place-holder where a draft leaves a file's hash or size out."""
    if not isinstance(fields, dict):
        return
    for part, key in (("variants", "file"), ("golden", "image")):
        for item in fields.get(part) or ():
            entry = item.get(key) if isinstance(item, dict) else None
            if isinstance(entry, dict):
                entry.setdefault("sha256", "0" * 64)
                entry.setdefault("size", 1)
