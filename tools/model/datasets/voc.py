"""Pascal VOC's XML: one file a picture, in ``Annotations/`` (pictures in ``JPEGImages/``) or beside the pictures.

Corners are pixels counted from 1, the far ones inclusive. Objects marked ``difficult`` count neither for nor against a
model. The names of the classes are those of ``classes.txt`` where it is there, else all that occur, sorted. Documents
with a DTD are refused: entities are how an XML file attacks its reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import numpy as np

from agent.errors import InputError
from tools.model.datasets.records import SUFFIXES, Dataset, Picture, read_text

FORM = "Pascal VOC"
_MOST_CHARACTERS = 4_000_000
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass
class _Node:
    tag: str
    line: int
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    def first(self, tag: str) -> _Node | None:
        return next((child for child in self.children if child.tag == tag), None)


@dataclass(frozen=True)
class _Object:
    name: str
    line: int
    difficult: bool
    box: tuple[float, float, float, float]  # cx cy w h, relative


def read_voc(annotations: Path, images: Path, stems: Sequence[str] | None = None) -> Dataset:
    """Read the files of the folder ``annotations``, or only those named by ``stems``; pictures are in ``images``.

    Raises :class:`InputError` naming file and line.
    """
    names = sorted(path.stem for path in annotations.glob("*.xml")) if stems is None else sorted(stems)
    if not names:
        raise InputError(f"{annotations}: no .xml files in it")
    found = [(_picture_of(annotations / f"{stem}.xml", images), annotations / f"{stem}.xml") for stem in names]
    objects = [_read(path) for _, path in found]
    classes = _classes(annotations, images, objects)
    numbers = {name: number for number, name in enumerate(classes)}
    pictures = []
    for (picture, path), mine in zip(found, objects, strict=True):
        for one in mine:
            if one.name not in numbers:
                raise InputError(f"{path}:{one.line}: class {one.name!r} is not in classes.txt")
        pictures.append(Picture(picture, _rows(mine, numbers, False), crowd=_rows(mine, numbers, True)))
    if not any(len(picture.truth) for picture in pictures):
        raise InputError(f"{annotations}: no picture has a label")
    return Dataset(tuple(sorted(pictures, key=lambda one: one.path)), classes, form=FORM, path=annotations)


def _picture_of(path: Path, images: Path) -> Path:
    """Return the picture of the same name; the file's own ``filename`` is often that of another machine."""
    for suffix in sorted(SUFFIXES):
        for ending in (suffix, suffix.upper()):
            if (candidate := images / f"{path.stem}{ending}").is_file():
                return candidate
    raise InputError(f"{path}: {images} has no picture {path.stem} ({', '.join(sorted(SUFFIXES))})")


def _classes(annotations: Path, images: Path, objects: Sequence[Sequence[_Object]]) -> tuple[str, ...]:
    for folder in (annotations, annotations.parent, images):
        if (path := folder / "classes.txt").is_file():
            return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    return tuple(sorted({one.name for mine in objects for one in mine}))


def _rows(objects: Sequence[_Object], numbers: dict[str, int], difficult: bool) -> np.ndarray:
    rows = [[numbers[one.name], *one.box] for one in objects if one.difficult == difficult]
    return np.array(rows, np.float64).reshape(-1, 5)


def _read(path: Path) -> list[_Object]:
    root = _parse(read_text(path), path)
    if root.tag != "annotation":
        raise InputError(f"{path}:{root.line}: the root is <{root.tag}>; <annotation> is needed")
    size = root.first("size")
    if size is None:
        raise InputError(f"{path}:{root.line}: <size> is missing")
    width, height = (_number(size, tag, path) for tag in ("width", "height"))
    if width < 1 or height < 1:
        raise InputError(f"{path}:{size.line}: <size> of {width:g}x{height:g}: write the picture's width and height")
    return list(_objects(root, width, height, path))


def _objects(root: _Node, width: float, height: float, path: Path) -> Iterator[_Object]:
    for node in root.children:
        if node.tag != "object":
            continue
        name, corners = node.first("name"), node.first("bndbox")
        if name is None or not name.text.strip():
            raise InputError(f"{path}:{node.line}: this <object> has no <name>")
        if corners is None:
            raise InputError(f"{path}:{node.line}: this <object> has no <bndbox>")
        x1, y1, x2, y2 = (_number(corners, tag, path) for tag in _CORNERS)
        x1, y1 = max(0.0, x1 - 1), max(0.0, y1 - 1)
        if x2 <= x1 or y2 <= y1 or x1 >= width or y1 >= height:
            raise InputError(
                f"{path}:{corners.line}: <bndbox> {x1 + 1:g} {y1 + 1:g} {x2:g} {y2:g} is no box in a picture of "
                f"{width:g}x{height:g}"
            )
        difficult = node.first("difficult")
        box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        yield _Object(name.text.strip(), node.line, difficult is not None and difficult.text.strip() == "1", box)


def _number(node: _Node, tag: str, path: Path) -> float:
    child = node.first(tag)
    if child is None:
        raise InputError(f"{path}:{node.line}: <{node.tag}> has no <{tag}>")
    try:
        value = float(child.text)
    except ValueError as error:
        raise InputError(f"{path}:{child.line}: <{tag}> {child.text.strip()!r} is no number") from error
    if not np.isfinite(value):
        raise InputError(f"{path}:{child.line}: <{tag}> {child.text.strip()!r} is no finite number")
    return value


def _parse(text: str, path: Path) -> _Node:
    """Return the root. Built on expat itself, which tells lines and lets a DTD be refused before it is read."""
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"{path}: has {len(text)} characters; a VOC file is much smaller")
    parser = expat.ParserCreate()
    document = _Node("", 0)
    stack = [document]

    def start(tag: str, _attributes: object) -> None:
        node = _Node(tag, parser.CurrentLineNumber)
        stack[-1].children.append(node)
        stack.append(node)

    def end(_tag: str) -> None:
        stack.pop()

    def characters(data: str) -> None:
        stack[-1].text += data

    def doctype(*_: object) -> None:
        raise InputError(f"{path}:{parser.CurrentLineNumber}: has a DTD (<!DOCTYPE …>), which is refused: take it out")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, doctype
    parser.buffer_text = True
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise InputError(f"{path}:{error.lineno}: is no XML: {expat.ErrorString(error.code)}") from error
    return document.children[0]
