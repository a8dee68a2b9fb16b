"""Frames in shared memory: one sealed memfd per camera and frame size (a generation), cut into slots.

The agent creates the memfd and keeps the descriptor; capture attaches it writable, workers read-only. The size is
sealed, so no process can make another fault by shrinking it. A slot holds one frame, height x width x 3, ``uint8``,
BGR, rows without gaps, and starts on a page. Who may touch which slot is :mod:`agent.process.leases`' business, not
this module's. Nothing has a name: the memory goes with its last descriptor and mapping, however the processes end.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from typing import TYPE_CHECKING

from agent.errors import CameraError, ChildError, ProgrammingError, StorageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
CHANNELS = 3
MAX_SIDE = 16384
MAX_SLOTS = 64


class RingMemory:
    """The memory of one generation. One thread at a time may use an instance; nothing is mapped before ``frame``."""

    def __init__(self, fd: int, width: int, height: int, slots: int, *, writable: bool) -> None:
        self.fd = fd
        self.width = width
        self.height = height
        self.slots = slots
        self._writable = writable
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls, width: int, height: int, slots: int) -> RingMemory:
        """Make the memory. Pages cost nothing until they are written.

        Raises :class:`CameraError` for frames of an impossible size, :class:`StorageError` where memory is refused.
        """
        _check(width, height, slots)
        try:
            fd = os.memfd_create(f"lookout-ring-{width}x{height}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise StorageError(f"a ring for {width}x{height} frames cannot be made: {error.strerror}") from error
        try:
            os.ftruncate(fd, _slot_bytes(width, height) * slots)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        except OSError as error:
            os.close(fd)
            raise StorageError(
                f"a ring of {slots} frames of {width}x{height} cannot be made: {error.strerror}; free memory"
            ) from error
        return cls(fd, width, height, slots, writable=True)

    @classmethod
    def attach(cls, fd: int, width: int, height: int, slots: int, *, writable: bool) -> RingMemory:
        """Take over a received descriptor. Raises :class:`ChildError` where size or seals are not the ring's.

        The descriptor is closed when it is refused.
        """
        try:
            _check(width, height, slots)
            size = os.fstat(fd).st_size
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except (OSError, CameraError, ProgrammingError) as error:
            _close(fd)
            raise ChildError(f"descriptor {fd} is no ring of {slots} frames of {width}x{height}: {error}") from error
        if size != _slot_bytes(width, height) * slots or seals & SEALS != SEALS:
            _close(fd)
            raise ChildError(
                f"descriptor {fd} is no sealed ring of {slots} frames of {width}x{height}: "
                f"{size} bytes, seals {seals:#x}"
            )
        return cls(fd, width, height, slots, writable=writable)

    def frame(self, slot: int) -> NDArray[np.uint8]:
        """Return a view on the slot: (height, width, 3) ``uint8`` BGR, read-only unless attached writable."""
        import numpy as np  # not at the top: the agent creates rings and should not pay for numpy by that

        if not 0 <= slot < self.slots:
            raise ProgrammingError(f"slot {slot} does not exist in a ring of {self.slots}")
        count = self.width * self.height * CHANNELS
        offset = slot * _slot_bytes(self.width, self.height)
        view = np.frombuffer(self._mapped(), dtype=np.uint8, count=count, offset=offset)
        return view.reshape(self.height, self.width, CHANNELS)

    def close(self) -> None:
        """Give descriptor and mapping back; views that are still held stay valid until they are dropped. Idempotent."""
        if self.fd >= 0:
            _close(self.fd)
            self.fd = -1
        mapping, self._map = self._map, None
        if mapping is not None:
            with contextlib.suppress(BufferError):  # views are held: the last one to go unmaps it
                mapping.close()

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            if self.fd < 0:
                raise ProgrammingError("the ring is closed")
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if self._writable else 0)
            size = _slot_bytes(self.width, self.height) * self.slots
            self._map = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED, prot=protection)
        return self._map


def _slot_bytes(width: int, height: int) -> int:
    """Bytes of a slot, rounded up to whole pages."""
    return -(-width * height * CHANNELS // mmap.PAGESIZE) * mmap.PAGESIZE


def _check(width: int, height: int, slots: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise CameraError(f"frames of {width}x{height} cannot be kept: each side has 1 to {MAX_SIDE} pixels")
    if not 0 < slots <= MAX_SLOTS:
        raise ProgrammingError(f"a ring has 1 to {MAX_SLOTS} slots, not {slots}")


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)
