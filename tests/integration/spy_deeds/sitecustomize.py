"""Loaded by every Python of a watched device: writes down what it does to the world, as Python's audit events tell it.

A line each in ``spy-deeds-<pid>`` of the temporary folder: a program started, a file opened for writing, moved or
removed, an address connected to. Nothing is imported here that an interpreter does not load by itself at its start.
"""

import os
import sys

_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DEEDS = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.symlink", "os.link", "os.chmod", "os.chown",
    "socket.connect",
}  # fmt: skip
_FILE = os.open(
    os.environ["TMPDIR"] + f"/spy-deeds-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
)


def note(event: str, what: tuple) -> None:
    """Write a deed down."""
    if event == "open":
        path, _, flags = what
        if isinstance(path, int) or not (flags or 0) & _FLAGS:
            return
        what = (path,)
    elif event not in _DEEDS:
        return
    elif event == "socket.connect":
        what = what[1:]
    elif event == "subprocess.Popen":
        what = what[1]
    os.write(_FILE, (event + "\t" + "\t".join(map(str, what)) + "\n").encode(errors="replace"))


sys.addaudithook(note)
