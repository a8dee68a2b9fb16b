"""Which cameras are to be open and how far each has come: what a fresh capture process is told. Pure.

Not thread-safe: the handle uses it under its lock. Messages are sorted here too: what a process that is gone, or a
camera of the same name before this one, said or was to be told must not reach the present one. A camera that is closed
and opened again is deaf until the process has said that the former one is closed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from agent.errors import ProgrammingError
from agent.process.messages import Frame, Health, NeedRing, Open, Rendered, SourceSpec
from agent.types import CameraName

Listener = TypeVar("Listener")


class Reached(NamedTuple):
    """How far a camera has come: its next frame's place in the source, that frame's sequence, frames dropped so far."""

    place: int = 0
    sequence: int = 0
    skipped: int = 0


BEGINNING = Reached()


@dataclass
class _Camera(Generic[Listener]):
    source: SourceSpec
    listener: Listener
    reached: Reached
    ended: bool = False
    opened: bool = False  # the present process said so; what came before is about a camera of that name before
    ring_needed: bool = False  # the present process asked for a ring, so rings and grants are meant for it


class Book(Generic[Listener]):
    """The cameras by name, each with whoever listens to it."""

    def __init__(self) -> None:
        self._cameras: dict[CameraName, _Camera[Listener]] = {}
        self._closing: Counter[CameraName] = Counter()

    def __len__(self) -> int:
        return len(self._cameras)

    def add(self, camera: CameraName, source: SourceSpec, listener: Listener, reached: Reached = BEGINNING) -> Open:
        """Take a camera in; return what to tell the process. Raises :class:`ProgrammingError` where it is open."""
        if camera in self._cameras:
            raise ProgrammingError(f"camera {camera} is open already: close it first")
        self._cameras[camera] = _Camera(source, listener, reached)
        return Open(camera, source, *reached)

    def remove(self, camera: CameraName, *, told: bool) -> Reached | None:
        """Forget a camera; return how far it had come, None where there is none. ``told``: the process will answer."""
        found = self._cameras.pop(camera, None)
        if found is None:
            return None
        if told:
            self._closing[camera] += 1
        return found.reached

    def closed(self, camera: CameraName) -> None:
        """Take note that the process has closed a camera; one that was opened since is heard from now on."""
        if self._closing[camera] <= 1:
            del self._closing[camera]
        else:
            self._closing[camera] -= 1

    def to_open(self) -> list[Open]:
        """Return what a fresh process is told: every camera that has not ended, one past its last frame."""
        return [
            Open(name, camera.source, *camera.reached) for name, camera in self._cameras.items() if not camera.ended
        ]

    def awaits_ring(self, camera: CameraName) -> bool:
        """Tell whether the present process asked for this camera's ring, so that rings and grants are meant for it."""
        known = self._cameras.get(camera)
        return known is not None and known.ring_needed

    def note(self, message: Health | NeedRing | Frame | Rendered) -> Listener | None:
        """Take note of a message; return who is to hear it, None where it is about no camera of now."""
        camera = self._cameras.get(message.camera)
        if camera is None or self._closing[message.camera]:
            return None
        if isinstance(message, Health):
            camera.opened = camera.opened or message.state == "opening"
        if not camera.opened:
            return None
        if isinstance(message, Health):
            camera.ended = message.state == "ended"
        elif isinstance(message, NeedRing):
            camera.ring_needed = True
        elif isinstance(message, Frame):
            camera.reached = Reached(message.source_index + 1, message.sequence + 1, message.skipped)
        return camera.listener

    def lost(self) -> list[tuple[CameraName, Listener]]:
        """Take note that the process is gone; return whose camera was open in it."""
        self._closing.clear()
        for camera in self._cameras.values():
            camera.opened = camera.ring_needed = False
        return [(name, camera.listener) for name, camera in self._cameras.items() if not camera.ended]
