"""Drafts ``manifest.json`` from models and whatever was measured of them, and proves it before it is called done.

The draft is made in a folder of its own beside the target, read back by the device's own rules, every variant is loaded
and shown the golden images; then its files move to the target, ``manifest.json`` last. Nothing that a tool knows is
asked for: variants and precision come from the graphs, labels from the files or the dataset, the threshold from the
best F1 over the dataset, golden images from its clearest pictures, metrics and quantization from those who measured.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from agent import atomic
from agent.errors import InputError, StorageError
from agent.infer.detector import Detector
from agent.registry.manifest import Manifest
from tools.model.manifest import golden, variants
from tools.model.manifest.describe import Described
from tools.model.manifest.golden import GoldenPicture
from tools.model.manifest.thresholds import best_score
from tools.model.manifest.variants import VariantFile
from tools.registry.check import LOWEST_FLOOR, check_release
from tools.registry.draft import Draft, load_draft

if TYPE_CHECKING:
    from tools.model.datasets.read import Dataset

MANIFEST = "manifest.json"
GOLDEN_IMAGES = 3
GOLDEN_CANDIDATES = 64
THRESHOLD_PICTURES = 200
_FLOOR = 0.05

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much is done (0, 0 while it does not count)."""


@dataclass(frozen=True)
class Shown:
    """A picture to choose from. ``truth``: rows ``class_id cx cy w h`` relative to its size; None: unlabelled."""

    name: str
    pixels: Callable[[], np.ndarray]
    truth: np.ndarray | None = None


@dataclass(frozen=True)
class Extras:
    """What the manifest says beside the model. ``score``: None: found over the pictures, else the family's default.

    ``by_hand``: the description came from a manifest, which speaks for every variant.
    """

    description: str = ""
    license: str = ""
    score: float | None = None
    max_detections: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)
    golden_images: int = GOLDEN_IMAGES
    input_size: tuple[int, int] | None = None
    by_hand: bool = False


@dataclass(frozen=True)
class Drafted:
    """A manifest that passed every check. ``notes``: what a person should know of it, in sentences."""

    path: Path
    manifest: Manifest
    notes: tuple[str, ...]


def draft(
    models: Sequence[Path],
    folder: Path,
    *,
    name: str,
    version: str,
    described: Described,
    shown: Sequence[Shown] = (),
    extras: Extras = Extras(),
    on_progress: OnProgress = lambda _what, _done, _total: None,
) -> Drafted:
    """Write ``manifest.json``, the model files and golden images into ``folder``; what it held by these names goes.

    Raises :class:`~agent.errors.InputError` (:class:`ManifestError`, :class:`ModelError`) in words that say what to
    mend, and :class:`StorageError`; nothing is left in ``folder`` then.
    """
    if described.labels_from == "numbers":
        raise InputError(
            f"{models[0]}: nothing names its {described.spec.num_classes} classes; give --labels FILE, one label a "
            "line in the order of the training, or --data with a dataset that names them",
            field="labels",
        )
    notes = list(described.doubts)
    files = variants.gather(
        models, model_name=name, first=described.spec, by_hand=extras.by_hand, input_size=extras.input_size
    )
    score = _threshold(files[0], described, extras, shown, notes, on_progress)
    pictures = _golden(files, extras.golden_images, shown, score, notes, on_progress)
    fields = _fields(files, name, version, described, extras, score, pictures)
    with _workplace(folder) as place:
        made = _write(place, files, pictures, fields)
        notes += check_release(made, golden=True, on_check=lambda what: on_progress(what, 0, 0))
        _move(place, folder)
    return Drafted(folder / MANIFEST, made.manifest, tuple(notes))


def shown_of(dataset: Dataset) -> list[Shown]:
    """Return a dataset's pictures to choose from."""
    labelled = dataset.task == "detect"
    return [
        Shown(picture.path.name, picture.pixels, picture.truth if labelled else None) for picture in dataset.pictures
    ]


def _threshold(
    file: VariantFile,
    described: Described,
    extras: Extras,
    shown: Sequence[Shown],
    notes: list[str],
    on_progress: OnProgress,
) -> float:
    """Return the reporting score: given, best over the labelled pictures, or the family's."""
    labelled = [picture for picture in shown if picture.truth is not None and len(picture.truth)]
    if extras.score is not None:
        return extras.score
    if described.labels_from == "manifest" or described.task != "detect" or not labelled:
        return described.score
    detector = file.detector(score_floor=_FLOOR)
    truths, found = [], []
    chosen = spread([picture for picture in shown if picture.truth is not None], THRESHOLD_PICTURES)
    for number, picture in enumerate(chosen):
        on_progress("finding the threshold", number, len(chosen))
        pixels = picture.pixels()
        truths.append(_corners(picture, pixels, described.spec.num_classes))
        found.append(_boxes(detector, pixels))
    score, f1 = best_score(truths, found)
    notes.append(f"threshold {score:g}: the best F1 ({f1:.3f}) of the first variant over {len(chosen)} pictures")
    return score


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most ``count`` of the items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _corners(picture: Shown, pixels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return ``x1 y1 x2 y2 class_id`` in pixels. Raises :class:`InputError` for a class that the model has not."""
    truth = np.zeros((0, 5)) if picture.truth is None else picture.truth
    if len(truth) and truth[:, 0].max() >= num_classes:
        raise InputError(
            f"{picture.name}: is labelled with class {int(truth[:, 0].max())}; the model has {num_classes} classes: "
            "these labels are not this model's"
        )
    size = np.array([pixels.shape[1], pixels.shape[0]], np.float64)
    low, high = (truth[:, 1:3] - truth[:, 3:5] / 2) * size, (truth[:, 1:3] + truth[:, 3:5] / 2) * size
    return np.concatenate([low, high, truth[:, :1]], axis=1)


def _boxes(detector: Detector, pixels: np.ndarray) -> np.ndarray:
    found = detector(pixels).detections
    return np.zeros((0, 6), np.float32) if found is None else found


def _golden(
    files: Sequence[VariantFile],
    count: int,
    shown: Sequence[Shown],
    score: float,
    notes: list[str],
    on_progress: OnProgress,
) -> list[GoldenPicture]:
    if not count or not shown:
        notes.append("no golden images: devices cannot test this release before they use it; give pictures with --data")
        return []
    detectors = [file.detector(score_floor=min(LOWEST_FLOOR, score)) for file in files]
    found = golden.choose(
        detectors,
        [(picture.name, picture.pixels) for picture in spread(shown, GOLDEN_CANDIDATES)],
        count=count,
        score=score,
        on_progress=lambda done, total: on_progress("choosing golden images", done, total),
    )
    if len(found) < count:
        looked = min(len(shown), GOLDEN_CANDIDATES)
        notes.append(
            f"{len(found)} golden images instead of {count}: in no more of {looked} pictures do all variants see "
            "something clearly, alone and alike"
        )
    return found


def _fields(
    files: Sequence[VariantFile],
    name: str,
    version: str,
    described: Described,
    extras: Extras,
    score: float,
    pictures: Sequence[GoldenPicture],
) -> dict[str, Any]:
    spec = described.spec
    kinds = ", ".join(dict.fromkeys(file.precision for file in files))
    what = f"{spec.decoder.kind} at {spec.input.width}x{spec.input.height}, {spec.num_classes} classes, {kinds}"
    fields: dict[str, Any] = {
        "schema": 1,
        "model": name,
        "version": version,
        "task": described.task,
        "description": extras.description or what,
        "license": extras.license,
        "variants": variants.fields_of(files),
        "input": msgspec.to_builtins(spec.input),
        "decoder": {"kind": spec.decoder.kind, **spec.decoder.params},
        "labels": list(described.labels),
        "thresholds": {
            "score": score,
            "nms_iou": spec.nms_iou,
            "max_detections": extras.max_detections or spec.max_detections,
        },
        "golden": [_golden_entry(picture, number, described) for number, picture in enumerate(pictures, start=1)],
        "metrics": dict(extras.metrics),
    }
    if extras.quantization is not None:
        fields["quantization"] = dict(extras.quantization)
    if extras.budget:
        fields["budget"] = dict(extras.budget)
    return fields


def _golden_entry(picture: GoldenPicture, number: int, described: Described) -> dict[str, Any]:
    sights = [{"label": described.labels[sight.class_id], "score": sight.score} for sight in picture.sights]
    if described.task == "classify":
        return {"image": {"path": f"golden/{number}.jpg"}, "classes": sights}
    boxes = [{**words, "box": list(sight.box or ())} for words, sight in zip(sights, picture.sights, strict=True)]
    return {"image": {"path": f"golden/{number}.jpg"}, "detections": boxes}


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Give a folder on the target's own file system, gone afterwards. Raises :class:`StorageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".drafting-") as place:
            yield Path(place)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror or error}; free or repair the disk"
        ) from error


def _write(
    place: Path, files: Sequence[VariantFile], pictures: Sequence[GoldenPicture], fields: dict[str, Any]
) -> Draft:
    (place / "golden").mkdir()
    for file in files:
        shutil.copyfile(file.path, place / file.name)
    for number, picture in enumerate(pictures, start=1):
        (place / "golden" / f"{number}.jpg").write_bytes(picture.jpeg)
    (place / MANIFEST).write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
    made = load_draft(place / MANIFEST)
    (place / MANIFEST).write_bytes(made.data)
    return made


def _move(place: Path, folder: Path) -> None:
    """Put everything where it belongs, the manifest last: what it names is there before it is."""
    if not any((place / "golden").iterdir()):
        (place / "golden").rmdir()
    shutil.rmtree(folder / "golden", ignore_errors=True)
    for path in sorted(place.iterdir(), key=lambda path: path.name == MANIFEST):
        if path.is_dir():
            path.rename(folder / path.name)
        else:
            atomic.install(path, folder / path.name)
