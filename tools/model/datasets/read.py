"""Read a data set, whichever of the known forms it has; the path tells which.

| path | form |
|---|---|
| a ``.json`` file, or a folder with one in it or in ``annotations/`` | COCO's instances |
| a folder with ``images/`` and ``labels/``, one of its ``images/…`` folders, or its ``data.yaml`` | YOLO's text |
| a folder with ``Annotations/*.xml``, or with ``.xml`` files beside pictures; ``ImageSets/Main/val.txt`` | Pascal VOC |
| a folder of folders of pictures | a folder a class, for classifiers |

A folder that fits two of them is refused rather than guessed at. Calibration uses the even positions of the sorted list
and evaluation the odd ones, never both the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent.errors import InputError
from tools.model.datasets import coco, folders, voc, yolo
from tools.model.datasets.records import Dataset, Half, Picture, pictures_in, read_text

__all__ = ["Dataset", "Half", "Picture", "read_dataset"]

FORMS = (
    "COCO JSON (FILE.json), YOLO text (images/, labels/, classes.txt), Pascal VOC (Annotations/, JPEGImages/), "
    "or a folder a class"
)


def read_dataset(path: Path) -> Dataset:
    """Read labels, not pixels. Raises :class:`~agent.errors.InputError` naming the file, and the line or field."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    return _read_file(path) if path.is_file() else _read_folder(path)


def _read_file(path: Path) -> Dataset:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return coco.read_coco(path)
    if suffix in (".yaml", ".yml"):
        return yolo.read_yolo(path.parent)
    if suffix == ".txt" and path.parent.parent.name == "ImageSets":
        root = path.parent.parent.parent
        stems = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
        return voc.read_voc(root / "Annotations", root / "JPEGImages", stems)
    raise InputError(f"{path}: is no data set of a known form: {FORMS}")


def _read_folder(path: Path) -> Dataset:
    fitting = {form: read for form, read in (_coco(path), _yolo(path), _voc(path)) if read is not None}
    if len(fitting) > 1:
        raise InputError(
            f"{path}: holds labels in {len(fitting)} forms ({', '.join(fitting)}): name one of them by its file "
            "(FILE.json) or folder (images, Annotations)"
        )
    if fitting:
        return next(iter(fitting.values()))()
    if folders.fits(path) and not pictures_in(path) and not (path / "images").is_dir():
        return folders.read_folders(path)
    if (path / "images").is_dir():
        return yolo.read_yolo(path)  # says what is missing
    raise InputError(f"{path}: no labels in it; the known forms are {FORMS}")


_Found = tuple[str, Callable[[], Dataset] | None]


def _coco(path: Path) -> _Found:
    files = sorted([*path.glob("*.json"), *path.glob("annotations/*.json")])
    instances = [file for file in files if file.name.startswith("instances")] or files
    if len(instances) > 1:
        names = ", ".join(str(file.relative_to(path)) for file in instances[:6])
        raise InputError(f"{path}: holds {len(instances)} annotation files ({names}): name one of them")
    return coco.FORM, (lambda: coco.read_coco(instances[0])) if instances else None


def _yolo(path: Path) -> _Found:
    root = next((above for above in (path, *path.parents) if above.name == "images"), None)
    if root is not None and (root.parent / "labels").is_dir():
        return yolo.FORM, lambda: yolo.read_yolo(root.parent, only=path)
    fits = (path / "images").is_dir() and ((path / "labels").is_dir() or (path / "classes.txt").is_file())
    return yolo.FORM, (lambda: yolo.read_yolo(path)) if fits else None


def _voc(path: Path) -> _Found:
    pairs = [(path / "Annotations", path / "JPEGImages"), (path / "Annotations", path / "images")]
    pairs += [(path / "annotations", path / "images"), (path, path), (path, path.parent / "JPEGImages")]
    fitting = [pair for pair in pairs if pair[1].is_dir() and next(pair[0].glob("*.xml"), None) is not None]
    return voc.FORM, (lambda: voc.read_voc(*fitting[0])) if fitting else None
