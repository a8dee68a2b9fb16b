"""Makes a new registry: its keys, the first root, and an empty, signed collection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from agent import atomic
from agent.errors import InputError, StorageError
from agent.registry import layout
from tools.registry.keys import Keys
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes, Repository, exclusive, signed_bytes, utc_now

MAX_ROOT_KEYS = 16


@dataclass(frozen=True)
class Initialised:
    """Where the new registry lies; ``root`` is the file to hand to devices."""

    registry: Path
    keys: Path
    root: Path
    root_expires: datetime


def init_registry(
    registry: Path,
    keys: Keys,
    *,
    root_keys: int = 1,
    root_threshold: int = 1,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    now: datetime | None = None,
) -> Initialised:
    """Make keys and an empty registry; ``root_threshold`` of ``root_keys`` must sign each later root.

    Raises :class:`InputError` where either folder is in use or the numbers make no sense, :class:`StorageError`.
    """
    if not 1 <= root_threshold <= root_keys <= MAX_ROOT_KEYS:
        raise InputError(
            f"root keys {root_keys}, threshold {root_threshold}: needed are 1 <= threshold <= keys <= {MAX_ROOT_KEYS}"
        )
    if any((registry / layout.METADATA).glob("*.root.json")):
        raise InputError(f"{registry} holds a registry already; it is never overwritten: choose another folder")
    keys.require_empty()
    for folder in (registry / layout.METADATA, registry / layout.TARGETS, registry / layout.BLOBS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be created: {error.strerror}") from error
    now = now or utc_now()
    with exclusive(registry):
        root, root_signers = _new_root(keys, root_keys, root_threshold, lifetimes.expiry("root", now))
        data = signed_bytes(root, root_signers)
        Repository.new(registry, root).sign_targets(keys, lifetimes, now)
        # Without a root a folder is no registry: written last, so that a killed init can be told from a finished one.
        atomic.write_bytes(registry / layout.METADATA / "1.root.json", data)
        atomic.write_bytes(registry / layout.ROOT, data)
    return Initialised(registry, keys.folder, registry / layout.ROOT, root.expires)


def _new_root(keys: Keys, count: int, threshold: int, expires: datetime) -> tuple[Root, list[CryptoSigner]]:
    root = Root(version=1, expires=expires, consistent_snapshot=True)
    root_signers = keys.create(Root.type, count)
    for signer in root_signers:
        root.add_key(signer.public_key, Root.type)
    root.roles[Root.type].threshold = threshold
    for role in (Targets.type, Snapshot.type, Timestamp.type):
        root.add_key(keys.create(role)[0].public_key, role)
    return root, root_signers
