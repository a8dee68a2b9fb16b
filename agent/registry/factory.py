"""The factory release: a folder with ``manifest.json`` and the files that it names, taken into the store.

It is trusted because it lies where the local configuration says, which no operator can change from afar; every file is
compared with the manifest all the same. Called on a job lane: it reads and writes the disk.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import DigestMismatch, ManifestError, StorageError
from agent.registry.manifest import MAX_MANIFEST_BYTES, FileEntry, load_manifest, release_digest

if TYPE_CHECKING:
    from agent.registry.store import Store
    from agent.types import Digest


CHUNK_BYTES = 1024 * 1024


def take_in(store: Store, folder: Path) -> Digest:
    """Copy the release in ``folder`` into the store, unless it is there; return its digest.

    Raises :class:`StorageError` for what cannot be read or written, :class:`ManifestError`, :class:`DigestMismatch`.
    """
    data = _read(folder / "manifest.json")
    try:
        manifest = load_manifest(data)
    except ManifestError as error:
        raise ManifestError(f"factory model {folder}: {error.message}", field=error.field) from error
    digest = release_digest(data)
    if store.release(digest) is not None and all(store.is_sound(entry) for entry in manifest.files):
        return digest
    store.make_folders()
    with store.exclusive(wait=True):
        for entry in manifest.files:
            if not store.is_sound(entry):
                _copy(store, folder, entry)
        return store.add_manifest(data)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise StorageError(
            f"factory model: {path} cannot be read: {error.strerror}; check pipelines.*.factory"
        ) from error


def _copy(store: Store, folder: Path, entry: FileEntry) -> None:
    source, target, digest = folder / entry.path, store.partial_path(entry), hashlib.sha256()
    try:
        with source.open("rb") as read, target.open("wb") as written:
            while piece := read.read(CHUNK_BYTES):
                digest.update(piece)
                written.write(piece)
            written.flush()
            os.fsync(written.fileno())
    except OSError as error:
        raise StorageError(f"factory model: {source} cannot be copied: {error.strerror}") from error
    if digest.hexdigest() != entry.sha256:
        target.unlink(missing_ok=True)
        raise DigestMismatch(f"factory model: {source} is not the file that its manifest names; install it again")
    store.install_blob(entry)
