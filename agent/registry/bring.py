"""Brings the release that a reference means into the store: metadata, index, manifest, files, in this order.

Runs in the fetch process, on one thread. Nothing is downloaded before the signed manifest says its hash and size, and
nothing is in the store before its bytes were found right and synced. A broken transfer leaves its part behind, and
the next fetch goes on from there; a release already whole costs a reading of its files and no transfer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from agent import errors
from agent.errors import DigestMismatch, StorageError
from agent.process.messages import Fetched, Progress, Refreshed, RegistryAccess
from agent.registry import layout
from agent.registry.address import Address
from agent.registry.connect import connected
from agent.registry.download import Download, size_of
from agent.registry.floor import check_floor
from agent.registry.index import MAX_INDEX_BYTES, load_index
from agent.registry.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest, load_manifest
from agent.registry.reference import Reference, parse_reference
from agent.registry.store import Store
from agent.registry.transfer import Transfer
from agent.registry.trust import Trust
from agent.types import MB, ModelName

OnProgress = Callable[[Progress], None]
log = structlog.get_logger(part="fetch")


def bring(
    access: RegistryAccess,
    reference: str,
    on_progress: OnProgress,
    on_refreshed: Callable[[Refreshed], None] = lambda _: None,
) -> Fetched:
    """Fetch a release, wholly or not at all. Raises the :class:`LookoutError` that says why not."""
    wanted = parse_reference(reference)
    store = Store(Path(access.store_dir))
    refreshed: list[Refreshed] = []

    def note(news: Refreshed) -> None:
        refreshed.append(news)
        on_refreshed(news)

    on_progress(Progress("resolving"))
    with connected(access, note) as (trust, transfer, address):
        version = _resolve(trust, wanted)
        check_floor(wanted.model, version, access.min_versions)
        data, manifest = _manifest(trust, wanted.model, version)
        _bring_files(manifest, store, transfer, address, access, on_progress)
        digest = store.add_manifest(data)
    log.info("release.stored", reference=reference, version=version, digest=digest)
    return Fetched(wanted.model, version, digest, refreshed[0].metadata_versions)


def _resolve(trust: Trust, wanted: Reference) -> str:
    data = trust.target(layout.index_target(wanted.model), max_bytes=MAX_INDEX_BYTES)
    if data is None:
        raise errors.ReferenceError(f"{wanted}: the registry has no model {wanted.model!r}; check the name")
    return load_index(data, wanted.model).resolve(wanted)


def _manifest(trust: Trust, model: ModelName, version: str) -> tuple[bytes, Manifest]:
    path = layout.manifest_target(model, version)
    data = trust.target(path, max_bytes=MAX_MANIFEST_BYTES)
    if data is None:
        raise errors.ReferenceError(f"{model}:{version} is listed but its manifest is not signed; publish it again")
    manifest = load_manifest(data)
    if (manifest.model, manifest.version) != (model, version):
        raise DigestMismatch(f"{path} is the manifest of {manifest.model}:{manifest.version}; publish a new version")
    return data, manifest


def _bring_files(
    manifest: Manifest,
    store: Store,
    transfer: Transfer,
    address: Address,
    access: RegistryAccess,
    on_progress: OnProgress,
) -> None:
    for entry in manifest.files:
        if entry.size > access.max_file_bytes:
            raise StorageError(
                f"{entry.path} has {entry.size / MB:.1f} MB, more than this device takes "
                f"({access.max_file_bytes / MB:.1f} MB, registry.max_file_mb)"
            )
    absent = [entry for entry in manifest.files if not store.is_sound(entry)]
    store.drop_partials({entry.sha256 for entry in absent})
    _check_room(absent, store, access.free_floor_bytes)
    total, done = manifest.total_bytes, manifest.total_bytes - sum(entry.size for entry in absent)
    on_progress(Progress("fetching", done, total))
    for entry in absent:
        before = done

        def tell(size: int, before: int = before) -> None:
            on_progress(Progress("fetching", before + size, total))

        Download(entry, store, transfer, address, tell).run()
        done += entry.size
        on_progress(Progress("fetching", done, total))


def _check_room(absent: list[FileEntry], store: Store, floor_bytes: int) -> None:
    needed = sum(entry.size - size_of(store.partial_path(entry)) for entry in absent)
    missing = needed + floor_bytes - store.free_bytes()
    if absent and missing > 0:
        raise StorageError(
            f"the disk of {store.blobs} lacks {max(missing / MB, 0.1):.1f} MB: the release needs {needed / MB:.1f} MB "
            f"and {floor_bytes / MB:.0f} MB must stay free (registry.free_floor_mb); make room"
        )
