"""From the command's arguments to the road: reads the model, the dataset and the keys, and opens the working folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.errors import InputError
from agent.registry.reference import is_version
from agent.types import NAME_PATTERN
from tools.model.datasets.pictures import as_dataset
from tools.model.datasets.read import read_dataset
from tools.model.datasets.records import Dataset, pictures_in
from tools.model.manifest.ask import join
from tools.model.manifest.describe import describe, parse_size, read_labels, read_manifest
from tools.model.manifest.draft import Extras
from tools.model.ship.parts import Parts
from tools.model.ship.road import Order, Shipped, Teller, ship
from tools.model.ship.workbook import opened
from tools.registry.keys import Keys, Passphrase

UNLABELLED_PICTURES = 128
"""Taken, evenly, from a film or a folder without labels."""

_LABEL_FILES = (".json", ".yaml", ".yml")


@dataclass(frozen=True)
class Asked:
    """The command's arguments; see its help."""

    model: Path
    data: Path
    registry: Path
    version: str
    budget: str
    keys: Path
    name: str | None = None
    channel: str | None = None
    work: Path | None = None
    test: Path | None = None
    manifest: Path | None = None
    labels: Path | None = None
    input_size: str | None = None
    description: str = ""
    license: str = ""


def start(asked: Asked, teller: Teller, passphrase: Passphrase, parts: Parts) -> Shipped:
    """Ship what was asked for. Raises what :func:`~tools.model.ship.road.ship` raises."""
    order = order_of(asked, parts)
    work = asked.work or Path(".ship") / f"{order.name}-{order.version}"
    with opened(work) as book:
        return ship(order, Keys(asked.keys, passphrase), parts, book, teller)


def order_of(asked: Asked, parts: Parts) -> Order:
    """Read what was given; everything that a person wrote is checked here. Raises :class:`InputError`."""
    name = asked.name or name_of(asked.model)
    if not re.match(NAME_PATTERN, name):
        raise InputError(f"--name {name}: small letters, digits, '-' and '_', at most 64, are allowed")
    if not is_version(asked.version):
        raise InputError(f"--version {asked.version}: a semantic version like 1.2.0 is needed")
    given = read_labels(asked.labels) if asked.labels else ()
    size = parse_size(asked.input_size) if asked.input_size else None
    described = describe(asked.model, asked.manifest, labels=given, input_size=size)
    base = read_manifest(asked.manifest) if asked.manifest else None
    joined = join(described, read_data(asked.data))
    parts.check_budget(asked.budget, described.spec, joined.dataset)
    test = join(joined.described, read_dataset(asked.test)).dataset if asked.test else None
    return Order(
        model=asked.model,
        data=asked.data,
        described=joined.described,
        dataset=joined.dataset,
        test=test,
        notes=joined.notes,
        budget=asked.budget,
        registry=asked.registry,
        name=name,
        version=asked.version,
        channel=asked.channel,
        extras=Extras(
            description=asked.description or (base.description if base else ""),
            license=asked.license or (base.license if base else ""),
            by_hand=base is not None,
        ),
    )


def read_data(path: Path) -> Dataset:
    """Read a dataset; a film, or a folder that holds pictures and no folder, is one without labels.

    A camera is none: what it shows differs each time, and a ship that was interrupted could not go on. Raises
    :class:`InputError`.
    """
    bare = path.is_dir() and bool(pictures_in(path)) and not any(child.is_dir() for child in path.iterdir())
    film = path.is_file() and path.suffix.lower() not in _LABEL_FILES
    return as_dataset(str(path), limit=UNLABELLED_PICTURES) if bare or film else read_dataset(path)


def name_of(model: Path) -> str:
    """Return a model's name made from its file's."""
    return re.sub(r"[^a-z0-9_-]+", "-", model.stem.lower()).strip("-_")[:64] or "model"
