"""A registry's folder and its signed metadata, on the publisher's side (TUF Metadata API).

Readers may come at any instant and without a lock: whatever is new gets a new name (a version or a hash in it), and
``timestamp.json``, the only file ever replaced, is written last. So a reader sees the old registry or the new one,
and a command killed half-way leaves files that nothing refers to. What lies in the folder is verified before it is
signed again: a copy that somebody changed never gets a signature. One writer at a time (a lock on ``.lock``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from agent import atomic
from agent.errors import InputError, StorageError, TrustError
from agent.registry import layout
from agent.registry.index import Index, dump_index, load_index
from agent.types import ModelName
from tools.registry.keys import Keys

_BELOW_ROOT = ("targets", "snapshot", "timestamp")

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class Lifetimes:
    """How long each role's signature is good."""

    root: timedelta = timedelta(days=365)
    targets: timedelta = timedelta(days=180)
    snapshot: timedelta = timedelta(days=30)
    timestamp: timedelta = timedelta(days=14)

    def expiry(self, role: str, now: datetime) -> datetime:
        """Return when a signature made ``now`` ends, in whole seconds as TUF wants it."""
        lifetime: timedelta = getattr(self, role)
        return (now + lifetime).replace(microsecond=0)


DEFAULT_LIFETIMES = Lifetimes()


def utc_now() -> datetime:
    """Return the present in UTC."""
    return datetime.now(timezone.utc)


class Repository:
    """The registry in ``folder``; :meth:`load` reads it, the other methods need that to have happened."""

    def __init__(self, folder: Path, root: Root, timestamp: Timestamp, snapshot: Snapshot, targets: Targets) -> None:
        self.folder = folder
        self.root = root
        self.timestamp = timestamp
        self.snapshot = snapshot
        self.targets = targets

    @classmethod
    def new(cls, folder: Path, root: Root) -> Repository:
        """Return an empty registry that was never signed."""
        timestamp, snapshot, targets = Timestamp(), Snapshot(), Targets()
        for signed in (timestamp, snapshot, targets):
            signed.version = 0  # its first signature makes it 1
        return cls(folder, root, timestamp, snapshot, targets)

    @classmethod
    def load(cls, folder: Path) -> Repository:
        """Read and verify the metadata. Raises :class:`InputError` (no registry), :class:`TrustError` (changed)."""
        metadata = folder / layout.METADATA
        roots = sorted(metadata.glob("*.root.json"), key=lambda path: int(path.name.split(".")[0]))
        if not roots:
            raise InputError(f"{folder} is no registry; make one with 'lookout registry init {folder}'")
        root = _read(roots[-1], Root)
        signed_root = _verified(roots[-1], root, root.signed, Root.type)
        return cls(folder, signed_root, *cls._chain(metadata, signed_root))

    @staticmethod
    def _chain(metadata: Path, root: Root) -> tuple[Timestamp, Snapshot, Targets]:
        """Follow the references: what nothing refers to (a command was killed) is not part of the registry."""
        path = metadata / layout.TIMESTAMP
        timestamp = _verified(path, _read(path, Timestamp), root, Timestamp.type)
        path = metadata / f"{timestamp.snapshot_meta.version}.snapshot.json"
        snapshot = _verified(path, _read(path, Snapshot), root, Snapshot.type)
        path = metadata / f"{snapshot.meta['targets.json'].version}.targets.json"
        return timestamp, snapshot, _verified(path, _read(path, Targets), root, Targets.type)

    # --- reading -----------------------------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """Return the names of all models."""
        return sorted(path.split("/")[1] for path in self.targets.targets if path.endswith("/index.json"))

    def index(self, model: str) -> Index | None:
        """Return a model's index, None without such a model. Raises :class:`TrustError` where it was changed."""
        data = self.read_target(layout.index_target(model))
        return load_index(data, ModelName(model)) if data is not None else None

    def read_target(self, target: str) -> bytes | None:
        """Return the verified bytes of a signed target, None where there is none of this name."""
        info = self.targets.targets.get(target)
        if info is None:
            return None
        path = self._target_path(info)
        try:
            data = path.read_bytes()
            info.verify_length_and_hashes(data)
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}; restore the registry") from error
        except RepositoryError as error:
            raise TrustError(
                f"{path} is not what was signed ({error}); restore the registry from a good copy"
            ) from error
        return data

    def _target_path(self, info: TargetFile) -> Path:
        return self.folder / layout.TARGETS / layout.hashed(info.path, info.hashes["sha256"])

    # --- writing: inside exclusive() ---------------------------------------------------------------------------------

    def add_target(self, target: str, data: bytes) -> None:
        """Write a target's bytes under their hashed name and list it; it is signed by :meth:`sign_targets`."""
        info = TargetFile.from_data(target, data, ["sha256"])
        atomic.write_bytes(self._target_path(info), data)
        self.targets.targets[target] = info

    def add_index(self, index: Index) -> None:
        """Write a model's index and list it."""
        self.add_target(layout.index_target(index.model), dump_index(index))

    def sign_targets(self, keys: Keys, lifetimes: Lifetimes, now: datetime) -> None:
        """Sign what the targets list now, then everything above it: with this the change is visible."""
        self.sign_with({role: self._signers(keys, role) for role in _BELOW_ROOT}, lifetimes, now)

    def sign_online(self, keys: Keys, lifetimes: Lifetimes, now: datetime) -> None:
        """Sign snapshot and timestamp anew: the registry stays as it is and lives longer."""
        self.sign_with({role: self._signers(keys, role) for role in _BELOW_ROOT[1:]}, lifetimes, now)

    def sign_with(self, signers: Mapping[str, list[CryptoSigner]], lifetimes: Lifetimes, now: datetime) -> None:
        """Sign with chosen signers: snapshot and timestamp, and targets too where they have some."""
        if "targets" in signers:
            data = _sign(self.targets, signers["targets"], lifetimes, now)
            atomic.write_bytes(self.folder / layout.METADATA / f"{self.targets.version}.targets.json", data)
            self.snapshot.meta["targets.json"] = MetaFile.from_data(self.targets.version, data, ["sha256"])
        self._sign_online(signers["snapshot"], signers["timestamp"], lifetimes, now)

    def _sign_online(
        self, snapshot: list[CryptoSigner], timestamp: list[CryptoSigner], lifetimes: Lifetimes, now: datetime
    ) -> None:
        data = _sign(self.snapshot, snapshot, lifetimes, now)
        atomic.write_bytes(self.folder / layout.METADATA / f"{self.snapshot.version}.snapshot.json", data)
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, data, ["sha256"])
        data = _sign(self.timestamp, timestamp, lifetimes, now)
        atomic.write_bytes(self.folder / layout.METADATA / layout.TIMESTAMP, data)

    def _signers(self, keys: Keys, role: str) -> list[CryptoSigner]:
        entry = self.root.roles[role]
        return keys.signers(role, entry.keyids, entry.threshold)


def _sign(signed: S, signers: list[CryptoSigner], lifetimes: Lifetimes, now: datetime) -> bytes:
    signed.version += 1
    signed.expires = lifetimes.expiry(signed.type, now)
    return signed_bytes(signed, signers)


def signed_bytes(signed: S, signers: list[CryptoSigner]) -> bytes:
    """Return the file of a role, signed by all ``signers``."""
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Be the only writer of the registry in ``folder``; waits for another one. Raises :class:`StorageError`."""
    try:
        fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be locked: {error.strerror}; is it the registry's folder?") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _read(path: Path, kind: type[S]) -> Metadata[S]:
    try:
        metadata = Metadata[S].from_bytes(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; restore the registry") from error
    except DeserializationError as error:
        raise TrustError(f"{path} is no metadata; restore the registry from a good copy") from error
    if not isinstance(metadata.signed, kind):
        raise TrustError(f"{path} is {metadata.signed.type} metadata; restore the registry from a good copy")
    return metadata


def _verified(path: Path, metadata: Metadata[S], root: Root, role: str) -> S:
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise TrustError(f"{path} is not signed by this registry's keys ({error}); restore a good copy") from error
    return metadata.signed
