"""New keys for roles, and a root that lives longer: ``registry rotate``.

A new root is signed by enough of the old root's keys and enough of its own, so that a device goes from any older root
to the newest one step at a time. Order: the roles whose keys change are first signed by their old and new keys
together, which both roots accept; then the root appears. A command killed half-way leaves the old registry, whole.
Where an old key is lost only the new one signs, and for an instant readers see metadata that they do not accept.
Old key files are never deleted here: they are named, to be destroyed by whoever keeps them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from agent import atomic
from agent.errors import InputError
from agent.registry import layout
from tools.registry.init import MAX_ROOT_KEYS
from tools.registry.keys import Keys
from tools.registry.repository import DEFAULT_LIFETIMES, Lifetimes, Repository, exclusive, signed_bytes, utc_now

ROLES = (Root.type, Targets.type, Snapshot.type, Timestamp.type)


@dataclass(frozen=True)
class Rotated:
    """The new root. ``retired``: key files that no role names any more, to be destroyed."""

    version: int
    expires: datetime
    roles: tuple[str, ...]
    root: Path
    retired: tuple[Path, ...]


def rotate(
    registry: Path,
    keys: Keys,
    roles: Sequence[str] = (),
    *,
    root_keys: int | None = None,
    root_threshold: int | None = None,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    now: datetime | None = None,
) -> Rotated:
    """Give each of ``roles`` new keys and sign a new root; without roles only the root's lifetime is renewed.

    ``root_keys`` and ``root_threshold`` change the root's numbers (they need the role ``root``); as they were where
    None. Raises :class:`InputError` where a role is unknown, the numbers make no sense, or a needed key is absent.
    """
    roles = tuple(dict.fromkeys(roles))
    for role in roles:
        if role not in ROLES:
            raise InputError(f"{role!r} is no role of a registry; there are {', '.join(ROLES)}")
    if Root.type not in roles and (root_keys is not None or root_threshold is not None):
        raise InputError("the number of root keys and their threshold change with new root keys: add --role root")
    now = now or utc_now()
    with exclusive(registry):
        repository = Repository.load(registry)
        old = repository.root
        count = root_keys or len(old.roles[Root.type].keyids)
        threshold = root_threshold or old.roles[Root.type].threshold
        if not 1 <= threshold <= count <= MAX_ROOT_KEYS:
            raise InputError(
                f"root keys {count}, threshold {threshold}: needed are 1 <= threshold <= keys <= {MAX_ROOT_KEYS}"
            )
        old_root_signers = _signers(keys, old, Root.type)  # absent keys are told before anything is made
        new = _successor(old, lifetimes, now)
        for role in roles:
            _replace_keys(new, role, keys, count if role == Root.type else 1)
        new.roles[Root.type].threshold = threshold
        if set(roles) - {Root.type}:
            _sign_roles(repository, old, new, keys, roles, lifetimes, now)
        path = registry / layout.METADATA / f"{new.version}.root.json"
        atomic.write_bytes(path, signed_bytes(new, _each_once(old_root_signers, _signers(keys, new, Root.type))))
    gone = {key for role in roles for key in old.roles[role].keyids}
    return Rotated(new.version, new.expires, roles, path, keys.files_of(roles, gone))


def _successor(old: Root, lifetimes: Lifetimes, now: datetime) -> Root:
    new = copy.deepcopy(old)
    new.version += 1
    new.expires = lifetimes.expiry(Root.type, now)
    return new


def _replace_keys(root: Root, role: str, keys: Keys, count: int) -> None:
    for key_id in list(root.roles[role].keyids):
        root.revoke_key(key_id, role)
    for signer in keys.create_successors(role, root.version, count):
        root.add_key(signer.public_key, role)


def _signers(keys: Keys, root: Root, role: str) -> list[CryptoSigner]:
    entry = root.roles[role]
    return keys.signers(role, entry.keyids, entry.threshold)


def _sign_roles(
    repository: Repository,
    old: Root,
    new: Root,
    keys: Keys,
    roles: Sequence[str],
    lifetimes: Lifetimes,
    now: datetime,
) -> None:
    """Sign the roles below the root by old and new keys together; targets only where their own key changes."""
    with_targets = Targets.type in roles
    below = (Targets.type, Snapshot.type, Timestamp.type) if with_targets else (Snapshot.type, Timestamp.type)
    signers: dict[str, list[CryptoSigner]] = {}
    for role in below:
        fresh = _signers(keys, new, role)
        signers[role] = fresh if role not in roles else _each_once(_if_there(keys, old, role), fresh)
    repository.sign_with(signers, lifetimes, now)


def _if_there(keys: Keys, root: Root, role: str) -> list[CryptoSigner]:
    try:
        return _signers(keys, root, role)
    except InputError:  # lost: that may be the very reason for the rotation
        return []


def _each_once(first: list[CryptoSigner], second: list[CryptoSigner]) -> list[CryptoSigner]:
    return list({signer.public_key.keyid: signer for signer in (*first, *second)}.values())
