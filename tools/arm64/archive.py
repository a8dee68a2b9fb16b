"""Reads an image out of a file in Docker's archive format: its configuration, its size, and its files as one folder."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from agent.errors import InputError

BYTES_PER_MB = 1_000_000
_CHUNK = 1 << 20
_DELETED = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True)
class Image:
    """What the archive says: ``config`` is the image's configuration, ``layers`` are names in the archive, in order."""

    archive: Path
    config: dict[str, Any]
    layers: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """How containers of it run: user, environment, health check and the like."""
        found = self.config.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def own_layers(self) -> tuple[str, ...]:
        """The layers that our Dockerfile adds to its base, whose last stage begins with ``ARG VERSION``."""
        below = 0
        for step in self.config.get("history") or ():
            if "ARG VERSION" in step.get("created_by", ""):
                return self.layers[below:]
            below += not step.get("empty_layer")
        return self.layers


def read(path: Path) -> Image:
    """Read what the archive holds. Raises :class:`InputError` where it is no archive of one image."""
    try:
        with tarfile.open(path) as archive:
            (entry,) = json.load(_member(archive, "manifest.json"))
            config = json.load(_member(archive, entry["Config"]))
            return Image(path, config, tuple(entry["Layers"]))
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no archive of one image ({error})") from error


def _member(archive: tarfile.TarFile, name: str) -> BinaryIO:
    found = archive.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found  # type: ignore[return-value] # IO[bytes], which it is


def sizes_mb(image: Image, layers: Sequence[str]) -> tuple[float, float]:
    """Return MB of some layers: compressed, as a registry sends them, and unpacked, as they lie on the device."""
    packed = unpacked = 0
    with tarfile.open(image.archive) as archive:
        for layer in layers:
            squeeze = zlib.compressobj(6, wbits=31)
            for chunk in _chunks(_member(archive, layer)):
                packed += len(squeeze.compress(chunk))
            packed += len(squeeze.flush())
            with tarfile.open(fileobj=_member(archive, layer)) as files:
                unpacked += sum(member.size for member in files if member.isreg())
    return packed / BYTES_PER_MB, unpacked / BYTES_PER_MB


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def unpack(image: Image, root: Path) -> None:
    """Lay the layers over one another into ``root``, which must not be there yet."""
    root.mkdir(parents=True)
    with tarfile.open(image.archive) as archive:
        for layer in image.layers:
            with tarfile.open(fileobj=_member(archive, layer)) as files:
                _lay(files, root)


def _lay(files: tarfile.TarFile, root: Path) -> None:
    """Lay one layer over what is there; a name that begins with ``.wh.`` takes something away."""
    kept = []
    for member in files:
        path = PurePosixPath(member.name)
        if path.name == _OPAQUE:
            for below in (root / path.parent).iterdir():
                _remove(below)
        elif path.name.startswith(_DELETED):
            _remove(root / path.parent / path.name.removeprefix(_DELETED))
        elif not member.isdev():
            kept.append(member)
    for member in kept:
        target = root / member.name
        if not (member.isdir() and target.is_dir() and not target.is_symlink()):
            _remove(target)
        files.extract(member, root, numeric_owner=True, filter="tar" if os.geteuid() == 0 else "data")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()
