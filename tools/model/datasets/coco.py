"""COCO's JSON: one file of images, annotations and categories, and a folder of pictures near it.

Category ids may have gaps (COCO numbers its 80 classes from 1 to 90): a class's number here is its place in the order
of the ids. A crowd counts neither for nor against a model, and an object's area is that of its outline where told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

from agent.errors import InputError
from tools.model.datasets.records import Dataset, Picture

FORM = "COCO JSON"


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    width: int
    height: int


class _Annotation(msgspec.Struct):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int | bool = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path, images: Path | None = None) -> Dataset:
    """Read an instances file; ``images``: the folder of its pictures, looked for around the file by default.

    Raises :class:`InputError` naming the file and the field (or line, where it is no JSON).
    """
    content = _decode(path)
    places = _check_images(content.images, path)
    classes, numbers = _classes(content.categories, path)
    folder = images or _find_images(path, content.images)
    rows: list[list[tuple[bool, list[float], float]]] = [[] for _ in content.images]
    for index, annotation in enumerate(content.annotations):
        where = f"{path}: annotations[{index}]"
        place = places.get(annotation.image_id)
        if place is None:
            raise InputError(f"{where}.image_id: no image has the id {annotation.image_id!r}")
        if annotation.category_id not in numbers:
            raise InputError(f"{where}.category_id: no category has the id {annotation.category_id}")
        row = _row(annotation, content.images[place], numbers[annotation.category_id], where)
        rows[place].append((bool(annotation.iscrowd), row, _area(annotation)))
    pictures = [_picture(folder / image.file_name, mine) for image, mine in zip(content.images, rows, strict=True)]
    _check_present(pictures, folder)
    if not any(len(picture.truth) for picture in pictures):
        raise InputError(f"{path}: annotations: no picture has a label")
    return Dataset(tuple(sorted(pictures, key=lambda one: one.path)), classes, form=FORM, path=path)


def _decode(path: Path) -> _File:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(data, type=_File)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: is no COCO instances file: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}{_line_of(data, str(error))}: is no JSON: {error}") from error


def _line_of(data: bytes, message: str) -> str:
    """Return ``:LINE`` of the byte that the decoder complains about; of the end where it names none."""
    digits = message.rpartition("(byte ")[2].rstrip(")")
    end = int(digits) if digits.isdecimal() else len(data)
    return f":{data.count(bytes([10]), 0, end) + 1}"


def _check_images(images: Sequence[_Image], path: Path) -> Mapping[int | str, int]:
    """Return each image's place by its id."""
    places: dict[int | str, int] = {}
    names: set[str] = set()
    for index, image in enumerate(images):
        where = f"{path}: images[{index}]"
        if places.setdefault(image.id, index) != index:
            raise InputError(f"{where}.id: {image.id!r} is that of images[{places[image.id]}] too")
        name = PurePosixPath(image.file_name)
        if not image.file_name or name.is_absolute() or ".." in name.parts or "\0" in image.file_name:
            raise InputError(f"{where}.file_name: {image.file_name!r} is no path below the folder of the pictures")
        if image.file_name in names:
            raise InputError(f"{where}.file_name: {image.file_name!r} is listed twice")
        names.add(image.file_name)
        if image.width < 1 or image.height < 1:
            raise InputError(f"{where}: width {image.width} and height {image.height}: at least 1 is needed")
    if not images:
        raise InputError(f"{path}: images: the list is empty")
    return places


def _classes(categories: Sequence[_Category], path: Path) -> tuple[tuple[str, ...], Mapping[int, int]]:
    """Return the names in order of the ids, and each id's place in it."""
    for what, values in (("id", [one.id for one in categories]), ("name", [one.name for one in categories])):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise InputError(f"{path}: categories: the {what} {twice[0]!r} is there twice")
    if not categories:
        raise InputError(f"{path}: categories: the list is empty")
    ordered = sorted(categories, key=lambda category: category.id)
    return tuple(one.name for one in ordered), {one.id: place for place, one in enumerate(ordered)}


def _row(annotation: _Annotation, image: _Image, number: int, where: str) -> list[float]:
    left, top, width, height = annotation.bbox
    if width < 0 or height < 0:
        raise InputError(f"{where}.bbox: {list(annotation.bbox)} is not x y width height: a size is negative")
    if left > image.width or top > image.height or left + width < 0 or top + height < 0:
        raise InputError(
            f"{where}.bbox: {list(annotation.bbox)} lies outside its picture {image.file_name} of "
            f"{image.width}x{image.height}"
        )
    return [
        number,
        (left + width / 2) / image.width,
        (top + height / 2) / image.height,
        width / image.width,
        height / image.height,
    ]


def _area(annotation: _Annotation) -> float:
    return annotation.bbox[2] * annotation.bbox[3] if annotation.area is None else annotation.area


def _picture(path: Path, rows: Sequence[tuple[bool, list[float], float]]) -> Picture:
    alone = [(row, area) for is_crowd, row, area in rows if not is_crowd]
    crowd = [row for is_crowd, row, _ in rows if is_crowd]
    return Picture(
        path,
        np.array([row for row, _ in alone], np.float64).reshape(-1, 5),
        crowd=np.array(crowd, np.float64).reshape(-1, 5),
        areas=np.array([area for _, area in alone], np.float64),
    )


def _find_images(path: Path, images: Sequence[_Image]) -> Path:
    """Return the first folder around the file in which its first picture is."""
    split = path.stem.removeprefix("instances_")
    near, above = path.parent, path.parent.parent
    folders = [above / split, above / "images" / split, near / split, above / "images", near / "images", near]
    for folder in folders:
        if (folder / images[0].file_name).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in folders)
    raise InputError(f"{path}: images[0].file_name: {images[0].file_name} is in none of {looked}")


def _check_present(pictures: Sequence[Picture], folder: Path) -> None:
    missing = [picture.path for picture in pictures if not picture.path.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]}: this picture is missing ({len(missing)} of {len(pictures)} are not in {folder}): "
            "fetch them, or take them out of the file's images"
        )
