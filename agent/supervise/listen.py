"""A Unix socket at a path, for one agent alone: a living agent's is left to it, a dead one's is replaced."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from agent.errors import StorageError
from agent.supervise.lock import AlreadyRunning

PEER_TIMEOUT_S = 2.0
BACKLOG = 16


def refuse_living(path: Path) -> None:
    """Raise :class:`AlreadyRunning` when somebody listens at ``path``."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StorageError(f"{path}: is no socket; remove it, or choose another paths.runtime")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PEER_TIMEOUT_S)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except (BlockingIOError, TimeoutError):
            pass  # its queue is full: somebody listens, however slowly
        except OSError as error:
            raise StorageError(f"{path}: cannot be probed: {error.strerror or error}; remove it") from error
    raise AlreadyRunning(f"another agent listens at {path}; stop it, or give this one a paths.runtime of its own")


def listen_at(path: Path) -> tuple[socket.socket, int]:
    """Return a listener at ``path`` and its inode; it appears there with its mode, and in place of a stale one."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        listener.bind(os.fspath(beside))
        beside.chmod(0o660)
        listener.listen(BACKLOG)
        beside.replace(path)
        return listener, path.stat().st_ino
    except OSError as error:
        listener.close()
        with contextlib.suppress(OSError):
            beside.unlink()
        reason = error.strerror or str(error)  # a path too long has no number of its own
        raise StorageError(f"{path}: cannot listen: {reason}; check paths.runtime", field="paths.runtime") from error
