"""Installs the root of trust: the one thing that must reach a device by a way that the operator trusts.

Only ``lookout provision`` imports this (it needs TUF). The root is checked to be TUF root metadata signed by its own
keys, and written durably to ``<state>/registry/root.json``. Whoever replaces it changes whom the device obeys, so
another root is refused unless forced; TUF's files of the old one then go.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from agent import atomic
from agent.errors import InputError, StorageError, TrustError
from agent.registry import layout

MAX_ROOT_BYTES = 512_000


@dataclass(frozen=True)
class Provisioned:
    """What the device now trusts. ``changed`` is False where it was there already."""

    path: Path
    version: int
    expires: datetime
    keys: int
    threshold: int
    changed: bool


def provision(root: Path, state: Path, *, force: bool = False) -> Provisioned:
    """Install the root metadata in the file ``root`` under the state folder ``state``.

    Raises :class:`InputError` (no such file, no root metadata), :class:`TrustError` (not signed by its own keys, or
    another root is installed and ``force`` is false), :class:`StorageError`.
    """
    data = _read(root)
    signed = _checked(root, data)
    target = state / "registry" / layout.ROOT
    installed = _installed(target)
    if installed is not None and installed != data and not force:
        raise TrustError(
            f"{target} holds another root already: this device trusts another registry; "
            "use --force to make it trust only the new one"
        )
    if installed != data:
        _make_folder(state)
        atomic.write_bytes(target, data)
        # After the anchor: until then the old files fit the old anchor, and files of a foreign root are never believed.
        shutil.rmtree(target.parent / "tuf", ignore_errors=True)
    role = signed.roles[Root.type]
    return Provisioned(
        target, signed.version, signed.expires, len(role.keyids), role.threshold, changed=installed != data
    )


def _make_folder(state: Path) -> None:
    """Make the state folder where the agent has not yet: for its user and group only."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise StorageError(f"{state}: cannot be made: {error.strerror}; choose another state folder") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give the registry's root.json") from error
    if len(data) > MAX_ROOT_BYTES:
        raise InputError(f"{path} has more than {MAX_ROOT_BYTES} bytes: it is no root.json of a registry")
    return data


def _checked(path: Path, data: bytes) -> Root:
    """Return the root in ``data`` once it is known to be signed by enough of its own keys."""
    try:
        metadata = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise InputError(f"{path} is no TUF metadata; give the root.json that 'lookout registry init' wrote") from error
    root = metadata.signed
    if not isinstance(root, Root):
        raise InputError(f"{path} is {root.type} metadata; give root.json")
    try:
        root.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise TrustError(f"{path} is not signed by its own keys ({error}); get it from the publisher again") from error
    if not root.consistent_snapshot:
        raise InputError(f"{path}: the registry has no consistent snapshots; make it with 'lookout registry init'")
    return root


def _installed(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}; check the state folder") from error
