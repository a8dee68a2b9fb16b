"""YOLO's text form: ``images/NAME.jpg``, ``labels/NAME.txt``, and ``classes.txt`` or ``data.yaml`` for the names.

A label is one line ``class cx cy w h``, the numbers relative to the picture's size. A picture without a label file
shows nothing of the classes. Below ``images`` and ``labels`` there may be one level of folders (``train``, ``val``),
the same in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from agent.errors import InputError
from tools.model.datasets.records import Dataset, Picture, no_boxes, pictures_in, read_text

FORM = "YOLO text"
NAMES_FILES = ("data.yaml", "data.yml", "dataset.yaml")


def read_yolo(folder: Path, only: Path | None = None) -> Dataset:
    """Read labels, not pixels; ``only``: the pictures of this folder below ``images``.

    Raises :class:`InputError` for an unreadable folder or a wrong line, which it names.
    """
    images = folder / "images"
    if not images.is_dir():
        raise InputError(f"{folder}: no folder 'images' in it; a data set has images/, labels/ and classes.txt")
    start = only or images
    paths = pictures_in(start) or [path for below in _folders(start) for path in pictures_in(below)]
    if not paths:
        raise InputError(f"{start}: no pictures in it")
    classes, source = _read_classes(folder)
    pictures = tuple(
        Picture(path, _read_labels(_label_file(folder, images, path), len(classes), source)) for path in paths
    )
    if not any(len(picture.truth) for picture in pictures):
        raise InputError(f"{folder / 'labels'}: no picture has a label")
    return Dataset(pictures, classes, form=FORM, path=folder)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _label_file(folder: Path, images: Path, picture: Path) -> Path:
    return (folder / "labels" / picture.relative_to(images)).with_suffix(".txt")


def _read_classes(folder: Path) -> tuple[tuple[str, ...], str]:
    """Return the names and the file they come from. Where both files are there they must say the same."""
    plain = folder / "classes.txt"
    names: tuple[str, ...] = ()
    if plain.is_file():
        names = tuple(line.strip() for line in read_text(plain).splitlines() if line.strip())
    described = next((folder / name for name in NAMES_FILES if (folder / name).is_file()), None)
    if described is None:
        return names, "classes.txt"
    others = _read_yaml(described)
    if names and others and names != others:
        raise InputError(f"{described}: names differ from those of {plain}: correct one of them, or take it away")
    return (names, "classes.txt") if names else (others, described.name)


def _read_yaml(path: Path) -> tuple[str, ...]:
    """Return ``names``, a list or a map from class id to name, of Ultralytics' ``data.yaml``."""
    try:
        facts = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: is no YAML: {getattr(error, 'problem', None) or error}") from error
    except (RecursionError, ValueError) as error:  # PyYAML passes on what datetime says of the 99th of May
        raise InputError(f"{path}: is no YAML: {error}") from error
    names = facts.get("names") if isinstance(facts, dict) else None
    if names is None:
        return ()
    return _names(names, path)


def _names(names: Any, path: Path) -> tuple[str, ...]:
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise InputError(f"{path}: names: the keys must be 0 to {len(names) - 1}, each once", field="names")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"{path}: names: a list of texts is needed, or a map from class id to text", field="names")
    return tuple(name.strip() for name in names)


def _read_labels(path: Path, num_classes: int, source: str) -> np.ndarray:
    """Return ``(n, 5)``; a file that is not there is a picture without objects."""
    if not path.is_file():
        return no_boxes()
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            rows.append(_read_label(line, f"{path}:{number}", num_classes, source))
    return np.array(rows, np.float64).reshape(-1, 5)


def _read_label(line: str, where: str, num_classes: int, source: str) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError as error:
        raise InputError(f"{where}: {line!r} is not 'class cx cy w h'") from error
    if len(row) != 5 or not np.isfinite(row).all() or not row[0].is_integer() or row[0] < 0:
        raise InputError(f"{where}: {line!r} is not 'class cx cy w h'")
    if max(map(abs, row[1:])) > _MOST or min(row[3:]) < 0:
        raise InputError(f"{where}: {line!r}: numbers relative to the picture's size are needed, 0 to 1")
    if num_classes and row[0] >= num_classes:
        raise InputError(f"{where}: class {int(row[0])}, but {source} has {num_classes}")
    return row


_MOST = 2.0  # boxes may lean out of the picture a little; 100 is a pixel
