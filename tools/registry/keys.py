"""Private keys of a registry: ed25519, one PEM file (PKCS8) a key, mode 0600, encrypted where a passphrase is given.

``root.pem`` (or ``root-1.pem``, ``root-2.pem``, …) and ``targets.pem`` belong offline, ``snapshot.pem`` and
``timestamp.pem`` where ``refresh`` runs. A folder may hold only some of them: what needs an absent key says which.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Set
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from agent import atomic
from agent.errors import InputError, StorageError

PASSPHRASE_VARIABLE = "LOOKOUT_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable

Passphrase = Callable[[Path], "bytes | None"]
"""Gives the passphrase of a key file, None where it has none."""


def passphrase_from_environment(_: Path) -> bytes | None:
    """Return what :data:`PASSPHRASE_VARIABLE` holds, None where it is unset or empty."""
    value = os.environ.get(PASSPHRASE_VARIABLE)
    return value.encode() if value else None


class Keys:
    """The folder of private keys."""

    def __init__(self, folder: Path, passphrase: Passphrase = passphrase_from_environment) -> None:
        self.folder = folder
        self._passphrase = passphrase

    def require_empty(self) -> None:
        """Raise :class:`InputError` where keys are there already: they are never overwritten."""
        there = sorted(self.folder.glob("*.pem"))
        if there:
            raise InputError(f"{there[0]} exists already: keys are never overwritten; choose another folder of keys")

    def create(self, role: str, count: int = 1) -> list[CryptoSigner]:
        """Make and write new keys. Raises :class:`StorageError`."""
        names = [role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)]
        return [self._create(self.folder / f"{name}.pem") for name in names]

    def create_successors(self, role: str, root_version: int, count: int = 1) -> list[CryptoSigner]:
        """Make new keys beside the old ones, named after the root version that brings them in.

        Files of a rotation that was broken off are replaced: no root names their keys. Raises :class:`StorageError`.
        """
        stem = f"{role}-v{root_version}"
        names = [stem] if count == 1 else [f"{stem}-{number}" for number in range(1, count + 1)]
        return [self._create(self.folder / f"{name}.pem") for name in names]

    def files_of(self, roles: Iterable[str], key_ids: Set[str]) -> tuple[Path, ...]:
        """Return the files of ``roles`` in the folder that hold one of these keys."""
        paths = sorted(path for role in roles for path in self._paths(role))
        return tuple(path for path in paths if self._load(path).public_key.keyid in key_ids)

    def signers(self, role: str, key_ids: Iterable[str], threshold: int) -> list[CryptoSigner]:
        """Return signers for ``role``, at least ``threshold`` of those whose ids the registry's root names.

        Raises :class:`InputError` where the keys are absent, foreign, or their passphrase is wrong.
        """
        wanted = set(key_ids)
        paths = self._paths(role)
        if not paths:
            raise InputError(f"{self.folder / f'{role}.pem'} does not exist; give the folder with the key of {role!r}")
        signers = [signer for signer in map(self._load, paths) if signer.public_key.keyid in wanted]
        if not signers:
            raise InputError(
                f"{paths[0]} is not the key that this registry names for {role!r}: "
                "these keys belong to another registry"
            )
        if len(signers) < threshold:
            raise InputError(f"{self.folder} holds {len(signers)} keys of {role!r}; {threshold} are needed to sign")
        return signers

    def _paths(self, role: str) -> list[Path]:
        return sorted({*self.folder.glob(f"{role}.pem"), *self.folder.glob(f"{role}-*.pem")})

    def _create(self, path: Path) -> CryptoSigner:
        private = Ed25519PrivateKey.generate()
        secret = self._passphrase(path)
        protection: KeySerializationEncryption = BestAvailableEncryption(secret) if secret else NoEncryption()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be created: {error.strerror}") from error
        atomic.write_bytes(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection), mode=0o600)
        return CryptoSigner(private)

    def _load(self, path: Path) -> CryptoSigner:
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        secret = self._passphrase(path) if b"ENCRYPTED" in pem else None
        if secret is None and b"ENCRYPTED" in pem:
            raise InputError(f"{path} is encrypted: set {PASSPHRASE_VARIABLE} or run in a terminal to be asked")
        try:
            private = load_pem_private_key(pem, secret)
        except (ValueError, TypeError) as error:
            why = "the passphrase is wrong" if secret else "it is no private key in PEM"
            raise InputError(f"{path}: {why}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InputError(f"{path} is no ed25519 key; 'lookout registry init' makes the right ones")
        return CryptoSigner(private)
