"""One agent a state folder: a lock that the kernel lets go of however the agent ends.

Two agents on one state would each write the journal and the store. The lock file itself stays; it holds the pid of
the last owner, for the message only.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from agent.errors import StorageError, SurroundingsError


class AlreadyRunning(SurroundingsError):
    """Another agent uses this state folder or this socket."""

    code = "already_running"


class StateLock:
    """The lock, held from construction to ``release``. Raises :class:`AlreadyRunning` or :class:`StorageError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writable = True
        self._fd: int | None = self._open()
        try:
            self._take(self._fd)
        except BaseException:
            self.release()
            raise

    def _open(self) -> int:
        """Open the file; on a read-only disk the folder itself, which can be locked too."""
        try:
            # Close-on-exec, so that no child keeps the lock after the agent's end.
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            if error.errno != errno.EROFS:
                problem = f"{self.path}: cannot be opened: {error.strerror}; check the state folder"
                raise StorageError(problem) from error
        self._writable = False
        try:
            return os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{self.path.parent}: cannot be opened: {error.strerror}; check the disk") from error

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = self._owner(fd)
            raise AlreadyRunning(
                f"another agent (pid {owner}) uses {self.path.parent}; "
                "stop it, or give this one a paths.state of its own"
            ) from None
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be locked: {error.strerror}; use a local file system") from error
        if not self._writable:
            return
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}; free or repair the disk") from error

    def _owner(self, fd: int) -> str:
        """Return the pid that the owner wrote down."""
        text = os.pread(fd, 32, 0) if self._writable else b""
        return text.decode("ascii", "replace").strip() or "unknown"

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
