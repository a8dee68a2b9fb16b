"""Turns an author's ``manifest.json`` and the files beside it into what can be published.

SHA-256 and size may be left out: they are filled in. Where they are given they must be right. Nothing outside the
manifest's folder is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import InputError, ManifestError
from agent.registry.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest, load_manifest, release_digest
from agent.registry.manifest_values import path_problem
from agent.registry.store import hash_file
from agent.types import Digest


@dataclass(frozen=True)
class Draft:
    """A release that is ready to be published: the manifest's final bytes, and where its files lie."""

    manifest: Manifest
    data: bytes
    folder: Path

    @property
    def digest(self) -> Digest:
        """The release's digest."""
        return release_digest(self.data)

    def path(self, entry: FileEntry) -> Path:
        """Return where the author's file lies."""
        return self.folder / entry.path


def load_draft(manifest: Path) -> Draft:
    """Read a manifest and look at its files. Raises :class:`ManifestError`, :class:`InputError`."""
    fields = _read(manifest)
    problems = [problem for where, entry in _entries(fields) for problem in _complete(where, entry, manifest.parent)]
    if problems:
        raise ManifestError(f"{manifest} does not fit its files:\n  " + "\n  ".join(problems))
    data = (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    return Draft(load_manifest(data), data, manifest.parent)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the release's manifest.json") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{path} has more than {MAX_MANIFEST_BYTES} bytes; a manifest is much smaller")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is no JSON: {error}") from error


def _entries(fields: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what looks like a file's entry; what does not is left for the manifest's own checks."""
    for part, key in (("variants", "file"), ("golden", "image")):
        items = fields.get(part) if isinstance(fields, dict) else None
        for number, item in enumerate(items if isinstance(items, list) else ()):
            entry = item.get(key) if isinstance(item, dict) else None
            if isinstance(entry, dict) and isinstance(entry.get("path"), str) and not path_problem(entry["path"]):
                yield f"{part}.{number}.{key}", entry


def _complete(where: str, entry: dict[str, Any], folder: Path) -> Iterator[str]:
    """Fill in or check SHA-256 and size; yields what is wrong."""
    path = folder / entry["path"]
    try:
        facts = {"sha256": hash_file(path), "size": path.stat().st_size}
    except OSError as error:
        yield f"{where}.path: {path} cannot be read: {error.strerror}"
        return
    for key, value in facts.items():
        if entry.setdefault(key, value) != value:
            yield f"{where}.{key}: {path} has {value}, got {entry[key]!r}; leave it out to have it filled in"
