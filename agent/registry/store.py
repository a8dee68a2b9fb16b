"""The device's copy of releases, addressed by content.

``blobs/sha256/<hex>`` holds files, ``releases/<digest>.json`` the bytes of manifests exactly as they were signed,
``partial/<hex>`` what a broken transfer had brought. A release is present only when its manifest and every blob of it
are, so a reader never sees half of one, whatever the order in which a power cut left things. Only the fetch process
adds, and only the agent collects; :meth:`Store.exclusive` keeps them apart (a lock on a file, which the kernel frees
when its holder is killed). Reading needs no lock. Callable from any thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from agent import atomic
from agent.errors import DigestMismatch, ManifestError, StorageError
from agent.registry import factory
from agent.registry.manifest import FileEntry, Manifest, load_manifest, release_digest
from agent.types import Digest, ModelName, ReleaseId

CHUNK_BYTES = 1024 * 1024

log = structlog.get_logger(part="registry")


@dataclass(frozen=True)
class StoredRelease:
    """A release that is whole in the store."""

    id: ReleaseId
    manifest: Manifest
    blobs: Path

    def path(self, entry: FileEntry) -> Path:
        """Return where a file of the release lies; its name is its SHA-256, without a suffix."""
        return self.blobs / entry.sha256


class Collected(NamedTuple):
    """What a collection removed."""

    releases: int
    files: int
    freed_bytes: int


class Store:
    """The folder ``root``; it is created when something is written."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.blobs = root / "blobs" / "sha256"
        self.partial = root / "partial"
        self._releases = root / "releases"

    # --- reading ---------------------------------------------------------------------------------------------------

    def release(self, digest: Digest) -> StoredRelease | None:
        """Return the release, or None where its manifest or one of its files is absent or has another size.

        A manifest that is damaged on disk counts as absent. Raises :class:`StorageError`.
        """
        manifest = self._manifest(digest)
        if manifest is None or any(not self._has_size(entry) for entry in manifest.files):
            return None
        return StoredRelease(ReleaseId(ModelName(manifest.model), manifest.version, digest), manifest, self.blobs)

    def releases(self) -> tuple[StoredRelease, ...]:
        """Return every whole release, by digest. Raises :class:`StorageError`."""
        found = (self.release(digest) for digest in self._digests())
        return tuple(release for release in found if release is not None)

    def verify(self, digest: Digest) -> StoredRelease:
        """Read every file of a release again and compare it with what was signed; call it before loading one.

        Raises :class:`DigestMismatch` naming the damaged file, :class:`StorageError` where something is absent. A
        damaged file stays where it is until a fetch of the release replaces it.
        """
        release = self.release(digest)
        if release is None:
            raise StorageError(f"release {digest[:12]} is not whole in {self._root}; deploy it again to fetch it")
        for entry in release.manifest.files:
            if not self.is_sound(entry):
                raise DigestMismatch(
                    f"{entry.path} of {release.id.model}:{release.id.version} is damaged on disk "
                    f"({release.path(entry)}); deploy the release again to fetch it"
                )
        return release

    def is_sound(self, entry: FileEntry) -> bool:
        """Tell whether the blob is there and its bytes are the right ones. Raises :class:`StorageError`."""
        if not self._has_size(entry):
            return False
        path = self.blobs / entry.sha256
        try:
            return hash_file(path) == entry.sha256
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; check the disk") from error

    # --- writing: the fetch process, inside exclusive() -----------------------------------------------------------

    @contextlib.contextmanager
    def exclusive(self, *, wait: bool) -> Iterator[bool]:
        """Hold the store's lock; yields False where another holds it and ``wait`` is false."""
        fd = self._open_lock()
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def make_folders(self) -> None:
        """Create the store's folders. Raises :class:`StorageError`."""
        for folder in (self.blobs, self.partial, self._releases):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"{folder}: cannot be created: {error.strerror}; check the state folder") from error

    def free_bytes(self) -> int:
        """Return how much the store's disk has left for this user. Raises :class:`StorageError`."""
        try:
            disk = os.statvfs(self._root)
        except OSError as error:
            raise StorageError(f"{self._root}: cannot be examined: {error.strerror}") from error
        return disk.f_bavail * disk.f_frsize

    def partial_path(self, entry: FileEntry) -> Path:
        """Return where a blob grows until it is whole and verified."""
        return self.partial / entry.sha256

    def drop_partials(self, keep: Set[str]) -> None:
        """Remove what broken transfers left of blobs whose SHA-256 is not in ``keep``. Raises :class:`StorageError`."""
        for path in _listed(self.partial):
            if path.name not in keep:
                try:
                    path.unlink()
                except OSError as error:
                    raise StorageError(f"{path}: cannot be removed: {error.strerror}") from error

    def install_blob(self, entry: FileEntry) -> None:
        """Move a blob, verified and synced by the caller, from its partial place to its own, durably."""
        atomic.install(self.partial_path(entry), self.blobs / entry.sha256)

    def add_manifest(self, data: bytes) -> Digest:
        """Write a verified manifest; with it the release is present if its blobs are. Raises :class:`StorageError`."""
        digest = release_digest(data)
        atomic.write_bytes(self._releases / f"{digest}.json", data)
        return digest

    def take_in(self, folder: Path) -> StoredRelease:
        """Copy the factory release in ``folder`` into the store, unless it is there; the agent, on a job lane.

        Raises as :func:`agent.registry.factory.take_in`.
        """
        return self.verify(factory.take_in(self, folder))

    # --- tidying: the agent ---------------------------------------------------------------------------------------

    def collect(self, keep: Set[Digest]) -> Collected:
        """Remove every release but those in ``keep``, and every file that none of these names.

        Does nothing while a fetch is running: what it has brought so far belongs to no release yet. Raises
        :class:`StorageError`.
        """
        if not self._root.is_dir():
            return Collected(0, 0, 0)
        with self.exclusive(wait=False) as held:
            if not held:
                return Collected(0, 0, 0)
            try:
                return self._collect(keep)
            except OSError as error:
                raise StorageError(f"{self._root}: cannot be tidied: {error}; check the disk") from error

    def _collect(self, keep: Set[Digest]) -> Collected:
        kept_manifests = [manifest for digest in keep if (manifest := self._manifest(digest)) is not None]
        named = {entry.sha256 for manifest in kept_manifests for entry in manifest.files}
        # Manifests first: a release loses its claim to be whole before it loses a file.
        doomed = [path for path in _listed(self._releases) if path.stem not in keep]
        orphans = [path for path in _listed(self.blobs) if path.name not in named]
        freed = sum(path.stat().st_size for path in doomed + orphans)
        for path in doomed + orphans:
            path.unlink()
        for folder in (self._releases, self.blobs):
            if folder.is_dir():
                atomic.sync_folder(folder)
        if doomed or orphans:
            log.info("store.collected", releases=len(doomed), files=len(orphans), freed_bytes=freed)
        return Collected(len(doomed), len(orphans), freed)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _digests(self) -> list[Digest]:
        names = (path.name.removesuffix(".json") for path in _listed(self._releases))
        return sorted(Digest(name) for name in names if len(name) == 64)

    def _manifest(self, digest: Digest) -> Manifest | None:
        path = self._releases / f"{digest}.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; check the disk") from error
        if release_digest(data) != digest:
            log.warning("store.manifest_damaged", digest=digest, path=str(path))
            return None
        try:
            return load_manifest(data)
        except ManifestError as error:  # signed and once read: written for an agent that knew other keys
            log.warning("store.manifest_unreadable", digest=digest, reason=error.message)
            return None

    def _has_size(self, entry: FileEntry) -> bool:
        try:
            return (self.blobs / entry.sha256).stat().st_size == entry.size
        except OSError:
            return False

    def _open_lock(self) -> int:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            return os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"{self._root}: cannot be locked: {error.strerror}; check the state folder") from error


def hash_file(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in bounded pieces. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
