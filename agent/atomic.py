"""Files that are whole or absent after a power cut: write beside, fsync, rename, fsync the folder.

Everything durable that is not SQLite goes through here, so that one module decides what "on disk" means.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from agent.errors import StorageError


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Raises :class:`StorageError`."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StorageError(f"{folder}: cannot sync the folder: {error.strerror}") from error


def install(temporary: Path, target: Path) -> None:
    """Move a written and synced ``temporary`` file onto ``target`` (same file system), durably.

    Raises :class:`StorageError`.
    """
    try:
        temporary.replace(target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be put in place: {error.strerror}") from error
    sync_folder(target.parent)


def write_bytes(target: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace ``target`` by ``data``: after a crash a reader sees the old bytes or the new, never a mixture.

    Creates the parent folder. Raises :class:`StorageError`, which names the file and says when the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}; free or repair the disk") from error
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        install(temporary, target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}; free or repair the disk") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def write_text(target: Path, text: str, *, mode: int = 0o644) -> None:
    """Like :func:`write_bytes`, UTF-8."""
    write_bytes(target, text.encode(), mode=mode)
