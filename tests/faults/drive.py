"""A drive with a volatile write cache, served to the kernel as one big file: ``python drive.py IMAGE FILE``.

It speaks the protocol of ``/dev/fuse`` itself and mounts a file system whose root *is* a regular file, over ``FILE``;
a loop device on it carries a real ext4. What ext4 writes lies in the drive's cache until ext4 asks for a flush; only
then it reaches ``IMAGE``. Commands come as lines on the standard input, each answered by a line:

``cut SEED``   the power goes: of what was not flushed, each piece of 4 KiB reaches the image or not, as the seed has
               it; whatever is written later is taken and forgotten. The image is what the next boot finds.
``slow A B``   from now on every flush takes between A and B seconds, and every write a tenth of that.

It ends when it was unmounted, or at the end of its input. Standard library only: it starts in 50 ms, a life each.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import struct
import sys
import threading
import time
from pathlib import Path

PIECE = 4096
MAX_WRITE = 1 << 20
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42  # these want no answer
GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT = 3, 4, 14, 15, 16, 17, 18, 20, 25, 26
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
MS_NOSUID_NODEV, MNT_DETACH = 6, 2

_HEADER = struct.Struct("<IIQQIIIHH")
_ANSWER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_PLACE = struct.Struct("<QQI")  # of a read or a write: handle, offset, size
_WRITE_HEAD = 40
_libc = ctypes.CDLL(None, use_errno=True)


class Drive:
    """The content as it is seen, what of it is not flushed yet, and the image that survives."""

    def __init__(self, image: Path) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._content = bytearray(image.read_bytes())
        self._unflushed: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()
        self._dead = False
        self._delay_s = (0.0, 0.0)

    @property
    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._content[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self._linger(0.1)
        with self._lock:
            self._content[offset : offset + len(data)] = data
            self._unflushed.append((offset, data))

    def flush(self) -> None:
        """Make what was written before the call durable."""
        with self._lock:
            due = len(self._unflushed)
        self._linger(1.0)
        with self._lock:
            if not self._dead:
                for offset, data in self._unflushed[:due]:
                    os.pwrite(self._image, data, offset)
            del self._unflushed[:due]

    def slow(self, low_s: float, high_s: float) -> None:
        self._delay_s = (low_s, high_s)

    def cut(self, seed: int) -> None:
        rng = random.Random(seed)
        share = rng.choice((0.0, 0.0, 0.5, 0.9))  # of the pieces: mostly none survives
        with self._lock:
            self._dead = True
            for offset, data in self._unflushed:
                for start in range(0, len(data), PIECE):
                    if rng.random() < share:
                        os.pwrite(self._image, data[start : start + PIECE], offset + start)
            self._unflushed.clear()

    def _linger(self, share: float) -> None:
        if self._delay_s[1] and not self._dead:
            time.sleep(share * random.uniform(*self._delay_s))


class Server:
    """Answers the kernel's requests about the one file."""

    def __init__(self, drive: Drive, file: Path) -> None:
        self._drive = drive
        self._fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._fd},rootmode=100600,user_id=0,group_id=0,allow_other"
        self._target = str(file).encode()
        if _libc.mount(b"drive", self._target, b"fuse", MS_NOSUID_NODEV, options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(file))

    def unmount(self) -> None:
        _libc.umount2(self._target, MNT_DETACH)

    def serve(self) -> None:
        """Answer until it is unmounted."""
        while True:
            try:
                request = os.read(self._fd, MAX_WRITE + 65536)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # it was taken back
                    continue
                raise
            _, code, unique, *_ = _HEADER.unpack_from(request)
            if code in (FORGET, INTERRUPT, BATCH_FORGET):
                continue
            fault, told = self._answer(code, request[_HEADER.size :])
            with contextlib.suppress(FileNotFoundError):  # interrupted: nobody waits for it
                os.write(self._fd, _ANSWER.pack(_ANSWER.size + len(told), -fault, unique) + told)

    def _answer(self, code: int, body: bytes) -> tuple[int, bytes]:
        """Return the error's number, 0 where there is none, and the answer."""
        if code == READ:
            _, offset, size = _PLACE.unpack_from(body)
            return 0, self._drive.read(offset, size)
        if code == WRITE:
            _, offset, size = _PLACE.unpack_from(body)
            self._drive.write(offset, body[_WRITE_HEAD : _WRITE_HEAD + size])
            return 0, struct.pack("<II", size, 0)
        if code == FSYNC:
            self._drive.flush()
            return 0, b""
        if code in (GETATTR, SETATTR):
            size = self._drive.size
            about = _ATTRIBUTES.pack(1, size, size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, PIECE, 0)
            return 0, struct.pack("<QII", 3600, 0, 0) + about
        if code == INIT:
            _, minor, ahead, _ = struct.unpack_from("<4I", body)
            flags = BIG_WRITES | MAX_PAGES
            pages = MAX_WRITE // PIECE
            return 0, struct.pack("<4I2H2I2H32x", 7, min(minor, 31), ahead, flags, 16, 12, MAX_WRITE, 1, pages, 0)
        simple = {OPEN: struct.pack("<QIi", 1, 0, 0), RELEASE: b"", FLUSH: b"", STATFS: bytes(80)}
        return (0, simple[code]) if code in simple else (errno.ENOSYS, b"")


def main(image: str, file: str) -> None:
    drive = Drive(Path(image))
    server = Server(drive, Path(file))
    threading.Thread(target=_obey, args=(drive, server), daemon=True).start()
    server.serve()


def _obey(drive: Drive, server: Server) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *values = line.split()
        if verb == "cut":
            drive.cut(int(values[0]))
        elif verb == "slow":
            drive.slow(float(values[0]), float(values[1]))
        print("done", flush=True)
    server.unmount()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
