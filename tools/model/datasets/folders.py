"""A folder a class, as ImageNet has it: the pictures below a folder are of the class that the folder is named for.

Classes are numbered in the order of their folders' sorted names, as torchvision numbers them.
"""

from __future__ import annotations

from pathlib import Path

from agent.errors import InputError
from tools.model.datasets.records import Dataset, Picture, pictures_in

FORM = "a folder a class"
SPLITS = frozenset({"train", "val", "valid", "validation", "test"})


def fits(folder: Path) -> bool:
    """Tell whether a folder directly below holds pictures, or is named as a split."""
    below = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return any(path.name.lower() in SPLITS or pictures_in(path) for path in below)


def read_folders(folder: Path) -> Dataset:
    """List the pictures of every class. Raises :class:`InputError`."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    splits = [path.name for path in below if path.name.lower() in SPLITS]
    if splits:
        raise InputError(f"{folder}: holds {', '.join(splits)}: give one of them, such as {folder / splits[-1]}")
    pictures: list[Picture] = []
    for number, path in enumerate(below):
        mine = pictures_in(path)
        if not mine:
            raise InputError(f"{path}: no pictures of this class; take the folder away, or put some into it")
        pictures += [Picture(one, label=number) for one in mine]
    return Dataset(_dealt(pictures), tuple(path.name for path in below), task="classify", form=FORM, path=folder)


def _dealt(pictures: list[Picture]) -> tuple[Picture, ...]:
    """Return them class by class in pairs, the odd ones out last: so both halves hold every class that has two."""
    by_class: dict[int, list[Picture]] = {}
    for picture in pictures:
        assert picture.label is not None  # this module labels every picture
        by_class.setdefault(picture.label, []).append(picture)
    paired = [one for mine in by_class.values() for one in mine[: len(mine) // 2 * 2]]
    return (*paired, *(mine[-1] for mine in by_class.values() if len(mine) % 2))
