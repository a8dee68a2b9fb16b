"""What the registry's signed metadata says, or why it is not believed (TUF, client side).

Only the fetch process imports this. ``<metadata>/root.json`` is the anchor that the device was provisioned with and is
never written here; TUF's own files lie in ``<metadata>/tuf``. Order: :meth:`Trust.refresh` once, then
:meth:`Trust.target`. python-tuf renames without fsync, so after a refresh every file and the folder are synced before a
version is reported: what the agent journals must be on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from agent import atomic
from agent.clock import utc_ms
from agent.errors import (
    DigestMismatch,
    LookoutError,
    MetadataExpired,
    NotProvisioned,
    ProgrammingError,
    RegistryUnreachable,
    StorageError,
    TrustError,
)
from agent.registry import layout
from agent.registry.address import Address
from agent.registry.transfer import Missing, TooLong, Transfer

ROLES = ("root", "timestamp", "snapshot", "targets")
_FOLLOWS = {
    "root": frozenset[str](),
    "timestamp": frozenset({"timestamp"}),
    "snapshot": frozenset({"timestamp", "snapshot"}),
    "targets": frozenset({"snapshot", "targets"}),
}
"""Whose new keys begin a role's count of versions anew: the only way back after somebody ran it up with a stolen key.

A version is told by the role above, so that role's new keys count too; a root's number never goes back.
"""
_LARGEST_METADATA = 5_000_000  # TUF gives each role a tighter cap of its own


class Fetcher(FetcherInterface):
    """TUF's view of our transfer: a missing file is a 404, everything else keeps its own error."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A generator: what is raised while it runs reaches the caller unwrapped.
        try:
            with self._transfer.get(url, max_bytes=_LARGEST_METADATA) as body:
                yield from body.pieces
        except Missing as error:
            raise exceptions.DownloadHTTPError(error.message, 404) from error
        except TooLong as error:
            raise exceptions.DownloadLengthMismatchError(f"{url} is longer than allowed") from error


class Trust:
    """The registry at ``address`` as this device may see it. Raises :class:`NotProvisioned` without an anchor."""

    def __init__(self, address: Address, metadata: Path, transfer: Transfer) -> None:
        self._address = address
        self._folder = metadata / "tuf"
        self._fetcher = Fetcher(transfer)
        root = _anchor(metadata / layout.ROOT)
        self.anchor = hashlib.sha256(root).hexdigest()
        self.begun_anew: tuple[str, ...] = ()
        """After a refresh: roles to which a root newer than the one seen gave new keys, so that they count anew."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            before_ms = utc_ms()
            self._updater = Updater(
                str(self._folder), address.join(layout.METADATA), fetcher=self._fetcher, bootstrap=root
            )
            self.judged_at_ms = min(before_ms, utc_ms())
            """The time by which all metadata is found expired or not: TUF takes it once, however long it then asks."""
        except OSError as error:
            raise self._cannot_write(error) from error
        except exceptions.RepositoryError as error:
            raise TrustError(
                f"{metadata / layout.ROOT} is no valid root of trust ({error}); provision this device again"
            ) from error
        self._versions: dict[str, int] | None = None

    def refresh(self, seen: Mapping[str, int] = {}) -> dict[str, int]:
        """Bring the metadata up to date and return role → version, all of it on the disk.

        ``seen`` is what the journal remembers: lower versions are refused although TUF's own files may be lost.
        Raises :class:`MetadataExpired`, :class:`TrustError`, :class:`RegistryUnreachable`, :class:`StorageError`.
        """
        with self._in_our_words():
            self._updater.refresh()
        self._sync()
        versions = {role: self._version(role) for role in ROLES}
        self._refuse_older(versions, seen)
        self._versions = versions
        return dict(versions)

    def digest(self, path: str) -> str | None:
        """Return the signed SHA-256 of a target without fetching it, None where nothing is signed under this name."""
        if self._versions is None:
            raise ProgrammingError("Trust.digest before Trust.refresh")
        with self._in_our_words():
            info = self._updater.get_targetinfo(path)
        return None if info is None else info.hashes.get("sha256")

    def target(self, path: str, *, max_bytes: int) -> bytes | None:
        """Return the verified bytes of a signed target, None where nothing is signed under this name.

        Raises :class:`DigestMismatch` where the bytes are not the signed ones, :class:`TrustError`,
        :class:`RegistryUnreachable`.
        """
        if self._versions is None:
            raise ProgrammingError("Trust.target before Trust.refresh")
        with self._in_our_words():
            info = self._updater.get_targetinfo(path)
        if info is None:
            return None
        if info.length > max_bytes:
            raise TrustError(f"{path} is signed with {info.length} bytes; at most {max_bytes} are allowed")
        return self._download(path, info)

    def _download(self, path: str, info: TargetFile) -> bytes:
        url = self._address.join(f"{layout.TARGETS}/{layout.hashed(path, info.hashes.get('sha256', ''))}")
        try:
            data = self._fetcher.download_bytes(url, info.length)
            info.verify_length_and_hashes(data)
        except exceptions.DownloadHTTPError as error:
            raise RegistryUnreachable(
                f"{path} is signed but missing at {self._address.shown}; publish again or copy the whole registry"
            ) from error
        except (exceptions.LengthOrHashMismatchError, exceptions.DownloadLengthMismatchError) as error:
            raise DigestMismatch(
                f"{path} at {self._address.shown} is not what was signed: damaged or tampered with; "
                "copy the registry again or publish a new version"
            ) from error
        return data

    # --- what the journal has seen ----------------------------------------------------------------------------------

    def _refuse_older(self, versions: Mapping[str, int], seen: Mapping[str, int]) -> None:
        """Refuse versions below ``seen``; new keys of a role begin its count anew, as TUF has it."""
        renewed = self._renewed(seen.get("root", 0), versions["root"]) if seen else set()
        self.begun_anew = tuple(role for role in ROLES if renewed & _FOLLOWS[role])
        for role, version in versions.items():
            if version < seen.get(role, 0) and role not in self.begun_anew:
                raise TrustError(
                    f"{self._address.shown} offers older metadata than this device has seen ({role!r} has version "
                    f"{version}, the device's journal holds {seen[role]}): an old copy, or somebody rolls it back; "
                    "restore the newest registry"
                )

    def _renewed(self, seen_root: int, root: int) -> set[str]:
        """Return the roles whose keys changed after the root that the journal has seen."""
        if root <= seen_root:
            return set()
        before, now = self._keys_in(seen_root), self._keys_in(root)
        return {role for role in ROLES if before and now and before.get(role) != now.get(role)}

    def _keys_in(self, version: int) -> dict[str, list[str]]:
        """Return role → sorted ids of its keys in a verified root; empty where that root is not there."""
        try:
            data = (self._folder / "root_history" / f"{version}.root.json").read_bytes()
        except OSError:
            return {}
        return {role: sorted(entry["keyids"]) for role, entry in json.loads(data)["signed"]["roles"].items()}

    # --- in words --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        """Turn TUF's errors into ours; those of our transfer pass as they are."""
        try:
            yield
        except exceptions.DownloadHTTPError as error:
            raise RegistryUnreachable(
                f"there is no whole registry at {self._address.shown}: {error}; check registry.url"
            ) from error
        except (exceptions.RepositoryError, exceptions.DownloadError) as error:
            raise self._not_believed(error) from error
        except OSError as error:
            raise self._cannot_write(error) from error

    def _not_believed(self, error: Exception) -> LookoutError:
        where, why = self._address.shown, str(error)
        if isinstance(error, exceptions.ExpiredMetadataError):
            now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
            return MetadataExpired(
                f"the metadata of {where} has expired ({why}); its publisher must run 'lookout registry refresh', "
                f"or this device's clock ({now}) is wrong"
            )
        if isinstance(error, exceptions.BadVersionNumberError):
            return TrustError(
                f"{where} offers older metadata than this device has seen ({why}): an old copy, or somebody rolls it "
                "back; restore the newest registry"
            )
        if isinstance(error, exceptions.UnsignedMetadataError):
            return TrustError(
                f"the metadata of {where} is not signed by the keys that this device trusts ({why}): tampered with, or "
                "another registry than the device was provisioned for"
            )
        return TrustError(f"the metadata of {where} is not valid ({why}); restore the registry or publish again")

    def _cannot_write(self, error: OSError) -> StorageError:
        return StorageError(f"{self._folder}: cannot be written: {error.strerror}; free or repair the disk")

    # --- on the disk ------------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        history = self._folder / "root_history"
        for path in [*self._folder.glob("*.json"), *history.glob("*.json")]:
            try:
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except OSError as error:
                raise self._cannot_write(error) from error
        atomic.sync_folder(history)
        atomic.sync_folder(self._folder)

    def _version(self, role: str) -> int:
        """Read a role's version from the file that TUF keeps: what it has verified and nothing else."""
        return int(json.loads((self._folder / f"{role}.json").read_bytes())["signed"]["version"])


def _anchor(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotProvisioned(
            f"{path} does not exist: this device trusts no registry yet; run 'lookout provision --root root.json'"
        ) from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}; check the state folder") from error
