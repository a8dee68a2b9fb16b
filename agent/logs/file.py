"""Log lines to a file of bounded size, for hosts without a journal.

The file is rotated before a line that would make it larger than it may be: ``agent.log`` becomes ``agent.log.1``, that
``.2``, and so on; the oldest is removed. Renaming loses nothing, and lines are whole in every file. Lines that come
together are written together and not synced: the kernel writes them out when it sees fit, which spares an SD card; a
power cut costs the last seconds. A full or broken disk harms nobody: what could not be written is counted, and a line
that was written in part is taken back. A file that somebody else has moved away is begun anew.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from agent.logs.entry import Entry

MODE = 0o640
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class FileSink:
    """See the module. ``keep`` rotated files stay beside the file. One thread at a time writes."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._fd: int | None = None
        self._size = 0
        self.lost = 0
        self.problem: str | None = None

    def write(self, entries: list[Entry]) -> None:
        """Append one line an entry."""
        lines = [entry.json + b"\n" for entry in entries]
        while lines:
            try:
                taken = self._append(lines)
            except OSError as error:
                reason = error.strerror or error
                self.problem = f"{self._path} (logs.file) cannot be written: {reason}; make room, or see its folder"
                self.lost += len(lines)
                self.close()
                return
            lines = lines[taken:]
        self.problem = None

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, lines: list[bytes]) -> int:
        """Write as many lines as the file may still take, at least one; return how many."""
        fd = self._open()
        if self._size and self._size + len(lines[0]) > self._max_bytes:
            self._rotate()
            fd = self._open()
        size, count = self._size, 0
        for line in lines:
            if count and size + len(line) > self._max_bytes:
                break
            size, count = size + len(line), count + 1
        self._write(fd, b"".join(lines[:count]))
        return count

    def _write(self, fd: int, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.write(fd, data[done:])
        except OSError:
            whole = data.rfind(b"\n", 0, done) + 1
            with contextlib.suppress(OSError):
                os.ftruncate(fd, self._size + whole)
            self.lost -= data.count(b"\n", 0, whole)  # these are in the file
            raise
        self._size += done

    def _open(self) -> int:
        """Return the descriptor of what now lies at the path."""
        if self._fd is not None and self._is_ours(self._fd):
            return self._fd
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._fd = os.open(self._path, _FLAGS, MODE)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":  # a power cut went through a line
            self._size += os.write(self._fd, b"\n")
        return self._fd

    def _is_ours(self, fd: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(fd)
        self._size = here.st_size  # somebody may have emptied it
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep, 0, -1):
            younger = self._path if number == 1 else self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError):
                younger.replace(self._numbered(number))
        if self._keep == 0:
            self._path.unlink(missing_ok=True)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
