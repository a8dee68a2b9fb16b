"""The ring and the granted slots of one camera, between the reader loop, which puts them in, and the grabber.

Only the newest generation counts: attaching one throws the grants of the one before away. A ring is taken only when
its size was asked for by ``want``, so one that was meant for a capture process that died earlier does no harm.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from agent.capture.source import Picture
from agent.process.ring import RingMemory

Size = tuple[int, int]
"""Width and height in pixels."""


class Slot(NamedTuple):
    """A granted slot: ours to write until its frame is handed over."""

    generation: int
    number: int
    memory: Picture


class Slots:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ring: RingMemory | None = None
        self._generation = -1
        self._granted: deque[int] = deque()
        self._wanted: Size | None = None
        self._closed = False

    def want(self, size: Size) -> bool:
        """Ask for a ring of this size; True where the agent has to be told (it is neither here nor asked for)."""
        with self._changed:
            if self._size() == size:
                return False
            news = self._wanted != size
            self._wanted = size
            return news

    def attach(self, generation: int, ring: RingMemory) -> bool:
        """Take a ring over; False, and the ring is closed, where its size was not asked for."""
        with self._changed:
            size = (ring.width, ring.height)
            if self._closed or size not in (self._wanted, self._size()):
                ring.close()
                return False
            self._drop_ring()
            self._ring, self._generation = ring, generation
            if size == self._wanted:
                self._wanted = None
            self._changed.notify_all()
            return True

    def detach(self, generation: int) -> None:
        """Forget this generation, where it is the present one."""
        with self._changed:
            if generation == self._generation:
                self._drop_ring()
                self._changed.notify_all()

    def grant(self, generation: int, index: int) -> None:
        """Put a slot in; one of another generation, or one that is here already, is ignored."""
        with self._changed:
            ring = self._ring
            if ring is None or generation != self._generation or not 0 <= index < ring.slots:
                return
            if index not in self._granted:
                self._granted.append(index)
                self._changed.notify_all()

    def waiting_for_ring(self) -> bool:
        """Tell whether a ring was asked for and is not here yet."""
        with self._changed:
            return self._wanted is not None

    def has_ring(self) -> bool:
        """Tell whether a ring is here."""
        with self._changed:
            return self._ring is not None

    def take(self) -> Slot | None:
        """Take a granted slot of the present ring, of whatever size; None where there is none."""
        with self._changed:
            return self._take()

    def wait(self, size: Size | None = None) -> Slot | None:
        """Wait for a slot (of a ring of ``size``); None after ``close``, or without ``size`` where no ring is here.

        With ``size`` it waits for the ring too.
        """
        with self._changed:
            while not self._closed:
                if size is None and self._ring is None:
                    return None
                if size in (None, self._size()) and (slot := self._take()) is not None:
                    return slot
                self._changed.wait()
        return None

    def look(self, generation: int, index: int) -> Picture | None:
        """Return a slot's frame, for whoever the agent leased it to; None where its generation is gone.

        What is returned stays readable when the ring goes.
        """
        with self._changed:
            ring = self._ring
            if ring is None or generation != self._generation or not 0 <= index < ring.slots:
                return None
            return ring.frame(index)

    def give_back(self, slot: Slot) -> None:
        """Put a slot that was taken and not used back."""
        with self._changed:
            if slot.generation == self._generation:
                self._granted.appendleft(slot.number)

    def close(self) -> None:
        """Wake the waiter and let the ring go; nothing is given out any more."""
        with self._changed:
            self._closed = True
            self._drop_ring()
            self._changed.notify_all()

    def _size(self) -> Size | None:
        return None if self._ring is None else (self._ring.width, self._ring.height)

    def _take(self) -> Slot | None:
        if self._ring is None or not self._granted:
            return None
        index = self._granted.popleft()
        return Slot(self._generation, index, self._ring.frame(index))

    def _drop_ring(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._ring, self._generation = None, -1
        self._granted.clear()
