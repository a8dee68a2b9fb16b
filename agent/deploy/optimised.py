"""The cache of models that this host's ONNX Runtime has optimised: what is in it, and whether it is still what it was.

An entry belongs to one variant of one release (by digest), one version of ONNX Runtime, one provider and one processor:
all of them are in its name, so that an update of anything makes another entry. Beside each file lies a note with its
SHA-256, written atomically after the file is whole and synced. An entry that is damaged, foreign or missing is none:
the model's own file is loaded and the entry made anew. Entries go with their release. Any thread, mostly job lanes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Set
from pathlib import Path

import msgspec
import structlog

from agent import atomic
from agent.errors import StorageError
from agent.registry.store import hash_file
from agent.types import Digest

ROOM_BYTES = 64 * 1024 * 1024
"""Left free on the disk: a faster start is not worth more than that."""

log = structlog.get_logger(part="deploy")


class Note(msgspec.Struct, frozen=True):
    """What the agent remembers of an entry."""

    digest: Digest
    variant: int
    runtime: str
    provider: str
    host: str
    sha256: str
    size: int


class Key(msgspec.Struct, frozen=True):
    """What an entry is good for."""

    digest: Digest
    variant: int
    runtime: str
    provider: str
    host: str

    @property
    def name(self) -> str:
        """The entry's file name, without its ending."""
        rest = hashlib.sha256("\0".join((self.digest, self.runtime, self.provider, self.host)).encode()).hexdigest()
        return f"{self.digest[:16]}-{self.variant}-{rest[:16]}"


class OptimisedCache:
    """The folder ``root``. ``runtime``: ONNX Runtime's name and version; ``host``: the processor."""

    def __init__(self, root: Path, *, runtime: str, host: str) -> None:
        self._root = root
        self._runtime = runtime
        self._host = host
        self._lock = threading.RLock()
        self._writing: set[Path] = set()

    def key(self, digest: Digest, variant: int, provider: str) -> Key:
        """Return the key of a variant on this host, now."""
        return Key(digest, variant, self._runtime, provider, self._host)

    def find(self, key: Key) -> Path | None:
        """Return the optimised model, None where there is none that is what it was."""
        path = self._file(key)
        try:
            note = msgspec.json.decode(self._note(key).read_bytes(), type=Note)
            same = path.stat().st_size == note.size and hash_file(path) == note.sha256
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            log.warning("cache.ignored", entry=path.name, reason=str(error))
            return None
        if _key_of(note) != key or not same:
            reason = "its bytes have changed" if _key_of(note) == key else "it is another one's"
            log.warning("cache.ignored", entry=path.name, reason=reason)
            return None
        return path

    def reserve(self, key: Key, model_bytes: int) -> Path | None:
        """Return where a worker may leave the optimised model; None where the disk has no room.

        Whoever got a path must call :meth:`keep` or :meth:`drop` with it.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            disk = os.statvfs(self._root)
        except OSError as error:
            log.warning("cache.not_used", problem=str(error))
            return None
        if disk.f_bavail * disk.f_frsize < 2 * model_bytes + ROOM_BYTES:
            return None
        path = self._root / f"{key.name}.{os.urandom(4).hex()}.part"
        with self._lock:
            self._writing.add(path)
        return path

    def keep(self, key: Key, written: Path) -> None:
        """Take over what a worker left at ``written``, if it left something; never raises: it is only a cache."""
        try:
            if not written.is_file() or written.is_symlink():
                return
            _sync(written)
            note = Note(
                key.digest, key.variant, key.runtime, key.provider, key.host, hash_file(written), written.stat().st_size
            )
            with self._lock:
                self._note(key).unlink(missing_ok=True)  # a file without its note is no entry
                atomic.install(written, self._file(key))
                atomic.write_bytes(self._note(key), msgspec.json.encode(note))
        except (OSError, StorageError) as error:
            log.warning("cache.not_kept", entry=key.name, problem=str(error))
        finally:
            self.drop(written)

    def drop(self, written: Path) -> None:
        """Forget a reserved path and whatever lies there."""
        with contextlib.suppress(OSError):
            written.unlink(missing_ok=True)
        with self._lock:
            self._writing.discard(written)

    def forget(self, key: Key) -> None:
        """Remove an entry: a worker died of it, or beside it."""
        for path in (self._note(key), self._file(key)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def collect(self, keep: Set[Digest]) -> int:
        """Remove what belongs to no release in ``keep``, to another host or version, or to nobody; return how many."""
        removed = 0
        with self._lock:
            for path in _listed(self._root):
                if path not in self._writing and not self._wanted(path, keep):
                    with contextlib.suppress(OSError):
                        path.unlink()
                        removed += 1
        return removed

    def _wanted(self, path: Path, keep: Set[Digest]) -> bool:
        if path.suffix not in (".ort", ".json"):
            return False
        try:
            note = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Note)
        except (OSError, ValueError):
            return False
        ours = (note.runtime, note.host) == (self._runtime, self._host)
        return ours and note.digest in keep and path.stem == _key_of(note).name

    def _file(self, key: Key) -> Path:
        return self._root / f"{key.name}.ort"

    def _note(self, key: Key) -> Path:
        return self._root / f"{key.name}.json"


def _key_of(note: Note) -> Key:
    return Key(note.digest, note.variant, note.runtime, note.provider, note.host)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _listed(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_file()]
    except OSError:
        return []
