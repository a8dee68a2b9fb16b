"""The memory of a pipeline's cameras: rings by generation, and who may touch which slot.

A camera that comes back, or with another frame size, gets a new generation; the one before lives on until its last
frame was read, because frames that are ready or in flight stay valid whatever happens to capture: the memory is the
agent's. What capture claims to have written is checked here, since capture parses foreign input. One owner: the
pipeline's thread.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from agent.process.leases import Leases
from agent.process.messages import Frame
from agent.process.ring import RingMemory
from agent.types import CameraName, FrameRef

log = structlog.get_logger(part="loop")

SHADOW, RENDER, NEWEST, WRITING = 1, 1, 1, 1
"""Slots beside those in flight: a shadow's frame, a picture's, the newest one ready, the one being written."""


QUEUE = "queue"
"""The reader that keeps a lent frame ready for a worker."""


def slots_for(in_flight: int) -> int:
    """Return how many slots a ring has: an old and a new worker may both hold ``in_flight`` frames."""
    return 2 * in_flight + SHADOW + RENDER + NEWEST + WRITING


class Generation:
    """One ring and its ledger. ``granted`` are the slots capture may write; empty once it may no more."""

    def __init__(self, camera: CameraName, number: int, memory: RingMemory) -> None:
        self.camera = camera
        self.number = number
        self.memory = memory
        self.leases = Leases(memory.slots)
        self.granted: set[int] = set()

    @property
    def unused(self) -> bool:
        """Whether no slot is written, ready or read."""
        return self.leases.counts().free == self.memory.slots


class Rings:
    """Every generation that still holds a frame, and the newest of each camera."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._last_number = 0
        self._newest: dict[CameraName, Generation] = {}
        self._alive: dict[tuple[CameraName, int], Generation] = {}

    def renew(self, camera: CameraName, width: int, height: int, *, writing: bool = False) -> Generation:
        """Make a generation for frames of this size and return it; the one before gets no more grants.

        ``writing``: capture did not ask for it and may be writing into the one before; that frame still counts, until
        the first one of the new generation has come. Raises :class:`CameraError` for an impossible size,
        :class:`StorageError` where memory is refused.
        """
        memory = RingMemory.create(width, height, self._slots)
        if not writing:
            self.forbid_writing(camera)
        self._last_number += 1
        generation = Generation(camera, self._last_number, memory)
        self._newest[camera] = generation
        self._alive[camera, generation.number] = generation
        return generation

    def resize(self, slots: int) -> None:
        """Make rings of so many slots from now on."""
        self._slots = slots

    def newest(self, camera: CameraName) -> Generation | None:
        """Return the generation into which ``camera`` writes, or wrote last."""
        return self._newest.get(camera)

    def alive(self) -> tuple[Generation, ...]:
        """Return every generation of which a frame may still be asked for, oldest first."""
        return tuple(self._alive.values())

    def grant(self, camera: CameraName) -> tuple[int, int] | None:
        """Take a free slot of the camera's newest ring for writing: (generation, slot), None where none is free."""
        generation = self._newest[camera]
        slot = generation.leases.grant()
        if slot is None:
            return None
        generation.granted.add(slot)
        return generation.number, slot

    def written(self, message: Frame) -> FrameRef | None:
        """Take note of a whole frame; None, with a log line, where capture was not granted that slot."""
        generation = self._alive.get((message.camera, message.generation))
        if generation is None or message.slot not in generation.granted:
            log.error("capture.not_granted", camera=message.camera, generation=message.generation, slot=message.slot)
            return None
        if len(self._alive) > len(self._newest) and generation is self._newest.get(message.camera):
            self._forbid(one for one in self._of(message.camera) if one is not generation)
        generation.granted.discard(message.slot)
        generation.leases.ready(message.slot)
        return FrameRef(
            camera=message.camera,
            generation=message.generation,
            slot=message.slot,
            sequence=message.sequence,
            source_index=message.source_index,
            at_ns=message.at_ns,
            at_utc_ms=message.at_utc_ms,
            width=generation.memory.width,
            height=generation.memory.height,
        )

    def lease(self, frame: FrameRef, reader: str) -> None:
        """Let ``reader`` read the frame."""
        leases = self._alive[frame.camera, frame.generation].leases
        leases.lease(frame.slot, reader)
        if leases.reads(frame.slot, QUEUE):
            leases.release(frame.slot, QUEUE)

    def lend(self, frame: FrameRef, reader: str) -> None:
        """Let ``reader`` read a frame that is ready, and stays so until it is leased or discarded."""
        leases = self._alive[frame.camera, frame.generation].leases
        if not leases.reads(frame.slot, QUEUE):
            leases.lease(frame.slot, QUEUE)
        leases.lease(frame.slot, reader)

    def release(self, frame: FrameRef, reader: str) -> None:
        """End that; the slot is free when nobody else reads it."""
        self._alive[frame.camera, frame.generation].leases.release(frame.slot, reader)

    def discard(self, frame: FrameRef) -> None:
        """Free a frame that is ready and that no worker wants; where it was lent, after that has ended."""
        leases = self._alive[frame.camera, frame.generation].leases
        if leases.reads(frame.slot, QUEUE):
            leases.release(frame.slot, QUEUE)
        else:
            leases.discard(frame.slot)

    def reclaim(self, reader: str) -> None:
        """End every lease of a reader that was reaped."""
        for generation in self._alive.values():
            generation.leases.reclaim(reader)

    def forbid_writing(self, camera: CameraName) -> None:
        """Take back what capture was granted: it was reaped, or said that it writes there no more."""
        self._forbid(self._of(camera))

    def retire(self, camera: CameraName) -> None:
        """Let the camera's last generation go too, once no frame of it is read: the camera was removed."""
        self.forbid_writing(camera)
        self._newest.pop(camera, None)

    def drop_unused(self, camera: CameraName) -> Iterable[Generation]:
        """Close the older generations of ``camera`` that hold no frame any more, and return them."""
        if len(self._alive) == len(self._newest):
            return ()
        newest = self._newest.get(camera)
        gone = [one for one in self._of(camera) if one is not newest and one.unused]
        for generation in gone:
            del self._alive[camera, generation.number]
            generation.memory.close()
        return gone

    def drop_all_unused(self) -> Iterable[Generation]:
        """Do the same for every camera, those that were removed as well."""
        return [gone for camera in {one.camera for one in self._alive.values()} for gone in self.drop_unused(camera)]

    def _of(self, camera: CameraName) -> list[Generation]:
        return [one for one in self._alive.values() if one.camera == camera]

    @staticmethod
    def _forbid(generations: Iterable[Generation]) -> None:
        for generation in generations:
            if generation.granted:
                generation.granted.clear()
                generation.leases.reclaim_writer()

    def close(self) -> None:
        """Close every ring."""
        for generation in self._alive.values():
            generation.memory.close()
        self._alive.clear()
        self._newest.clear()
