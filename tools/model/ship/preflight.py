"""What can be refused before the first slow step: no room, no keys, a version that is there already."""

from __future__ import annotations

import shutil
from pathlib import Path

from agent.errors import InputError, StorageError
from agent.registry import layout
from agent.registry.manifest import release_digest
from agent.registry.store import hash_file
from tools.registry.keys import Keys
from tools.registry.maintain import set_channel
from tools.registry.repository import Repository

_SIGNERS = ("targets", "snapshot", "timestamp")
_ROOM_FACTOR = 6
_ROOM_BYTES = 50_000_000


def require_room(folder: Path, model: Path) -> None:
    """Refuse to begin what the disk cannot hold. Raises :class:`StorageError`."""
    wanted = _ROOM_FACTOR * model.stat().st_size + _ROOM_BYTES
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise StorageError(
            f"{folder}: has {free / 1e6:.0f} MB free, shipping this model takes about {wanted / 1e6:.0f} MB; "
            "make room, or choose another folder with --work"
        )


def require_publishable(registry: Path, keys: Keys, model: str, version: str, drafted: Path) -> None:
    """Refuse a version that is published, unless as the very release that ``drafted`` holds, and keys that cannot sign.

    Raises :class:`InputError`, :class:`~agent.errors.TrustError`.
    """
    repository = Repository.load(registry)
    found = _digest(repository, model, version)
    if found is not None and not (drafted.is_file() and hash_file(drafted) == found):
        raise InputError(f"{model}:{version} is published already and a version never changes; give another --version")
    for role in _SIGNERS:
        named = repository.root.roles[role]
        keys.signers(role, named.keyids, named.threshold)


def published_digest(registry: Path, model: str, version: str) -> str | None:
    """Return the digest of a published release, None where there is none. Raises what reading a registry raises."""
    return _digest(Repository.load(registry), model, version)


def point_channel(registry: Path, keys: Keys, model: str, version: str, channel: str | None) -> None:
    """Let ``channel`` point to a published version, where it does not yet."""
    index = Repository.load(registry).index(model)
    if channel is not None and index is not None and index.channels.get(channel) != version:
        set_channel(registry, keys, model, channel, version)


def _digest(repository: Repository, model: str, version: str) -> str | None:
    data = repository.read_target(layout.manifest_target(model, version))
    return None if data is None else release_digest(data)
