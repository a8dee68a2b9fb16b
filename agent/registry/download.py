"""One file on its way into the store: it grows under ``partial/``, is hashed as it comes, synced, and moved.

Only the fetch process imports this. A connection that breaks is taken up again where it stopped, as long as each
attempt brings something; what an earlier fetch left is hashed first. Bytes that are not the signed ones are thrown
away, and asked for once more only where an older part may have been at fault.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import structlog

from agent.errors import DigestMismatch, RegistryUnreachable, StorageError
from agent.registry import layout
from agent.registry.address import Address
from agent.registry.manifest import FileEntry
from agent.registry.store import CHUNK_BYTES, Store
from agent.registry.transfer import Interrupted, Missing, TooLong, Transfer

MAX_ATTEMPTS = 3

log = structlog.get_logger(part="fetch")


class Download:
    """The blob of ``entry``; ``tell`` is called with the bytes there so far."""

    def __init__(
        self, entry: FileEntry, store: Store, transfer: Transfer, address: Address, tell: Callable[[int], None]
    ) -> None:
        self._entry = entry
        self._store = store
        self._transfer = transfer
        self._address = address
        self._tell = tell
        self._partial = store.partial_path(entry)
        self._digest = hashlib.sha256()
        self._size = 0

    def run(self) -> None:
        """Bring the file. Raises :class:`DigestMismatch`, :class:`RegistryUnreachable`, :class:`StorageError`."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            had = size_of(self._partial)
            try:
                self._attempt()
                return
            except Interrupted as error:
                if attempt == MAX_ATTEMPTS or size_of(self._partial) == had:
                    raise
                log.info("file.resumed", path=self._entry.path, reason=error.message)
                self._transfer.rest(attempt)
            except DigestMismatch:
                self._partial.unlink(missing_ok=True)
                if not had or attempt == MAX_ATTEMPTS:
                    raise
                log.info("file.restarted", path=self._entry.path)

    def _attempt(self) -> None:
        try:
            with self._partial.open("a+b") as file:
                self._take_stock(file)
                if self._size < self._entry.size:
                    self._receive(file)
                self._check()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"{self._partial}: cannot be written: {error.strerror}; free or repair the disk"
            ) from error
        self._store.install_blob(self._entry)

    def _take_stock(self, file: BinaryIO) -> None:
        """Hash what an earlier transfer left."""
        self._digest, self._size = hashlib.sha256(), 0
        file.seek(0)
        while piece := file.read(CHUNK_BYTES):
            self._digest.update(piece)
            self._size += len(piece)
        if self._size > self._entry.size:
            self._start_over(file)

    def _start_over(self, file: BinaryIO) -> None:
        file.truncate(0)
        self._digest, self._size = hashlib.sha256(), 0

    def _receive(self, file: BinaryIO) -> None:
        url = self._address.join(layout.blob(self._entry.sha256))
        try:
            with self._transfer.get(url, max_bytes=self._entry.size, offset=self._size) as body:
                if body.offset != self._size:  # the server knows no ranges
                    self._start_over(file)
                for piece in body.pieces:
                    self._append(file, piece)
        except TooLong as error:
            raise self._mismatch(f"longer than the {self._entry.size} bytes that were signed") from error
        except Missing as error:
            raise RegistryUnreachable(
                f"{self._entry.path} is missing at {self._address.shown} ({error.message}); "
                "publish the release again or copy the whole registry"
            ) from error

    def _append(self, file: BinaryIO, piece: bytes) -> None:
        if self._size + len(piece) > self._entry.size:
            raise TooLong
        file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)
        self._tell(self._size)

    def _check(self) -> None:
        if self._size != self._entry.size:
            raise self._mismatch(f"{self._size} bytes long, {self._entry.size} were signed")
        if self._digest.hexdigest() != self._entry.sha256:
            raise self._mismatch("not the file that was signed: its SHA-256 differs")

    def _mismatch(self, what: str) -> DigestMismatch:
        return DigestMismatch(
            f"{self._entry.path} at {self._address.shown} is {what}: damaged or tampered with; "
            "copy the registry again or publish a new version"
        )


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
