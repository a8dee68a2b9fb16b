"""Which cameras are to be open and how far each has come: what a fresh capture process is told. Pure.

Not thread-safe: the handle uses it under its lock. Messages are sorted here too: what a process that is gone, or a
camera of the same name before this one, said or was to be told must not reach the present one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.errors import ProgrammingError
from agent.process.messages import Frame, Health, NeedRing, Open, Rendered, SourceSpec
from agent.types import CameraName

Listener = TypeVar("Listener")


@dataclass
class _Camera(Generic[Listener]):
    source: SourceSpec
    listener: Listener
    index: int = 0
    sequence: int = 0
    skipped: int = 0
    ended: bool = False
    opened: bool = False  # the present process said so; what came before is about a camera of that name before
    ring_needed: bool = False  # the present process asked for a ring, so rings and grants are meant for it


class Book(Generic[Listener]):
    """The cameras by name, each with whoever listens to it."""

    def __init__(self) -> None:
        self._cameras: dict[CameraName, _Camera[Listener]] = {}

    def __len__(self) -> int:
        return len(self._cameras)

    def add(self, camera: CameraName, source: SourceSpec, listener: Listener) -> Open:
        """Take a camera in; return what to tell the process. Raises :class:`ProgrammingError` where it is open."""
        if camera in self._cameras:
            raise ProgrammingError(f"camera {camera} is open already: close it first")
        self._cameras[camera] = _Camera(source, listener)
        return Open(camera, source)

    def remove(self, camera: CameraName) -> bool:
        """Forget a camera; False where there is none."""
        return self._cameras.pop(camera, None) is not None

    def to_open(self) -> list[Open]:
        """Return what a fresh process is told: every camera that has not ended, one past its last frame."""
        return [
            Open(name, camera.source, camera.index, camera.sequence, camera.skipped)
            for name, camera in self._cameras.items()
            if not camera.ended
        ]

    def awaits_ring(self, camera: CameraName) -> bool:
        """Tell whether the present process asked for this camera's ring, so that rings and grants are meant for it."""
        known = self._cameras.get(camera)
        return known is not None and known.ring_needed

    def note(self, message: Health | NeedRing | Frame | Rendered) -> Listener | None:
        """Take note of a message; return who is to hear it, None where it is about no camera of now."""
        camera = self._cameras.get(message.camera)
        if camera is None:
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
            camera.index = message.source_index + 1
            camera.sequence = message.sequence + 1
            camera.skipped = message.skipped
        return camera.listener

    def lost(self) -> list[tuple[CameraName, Listener]]:
        """Take note that the process is gone; return whose camera was open in it."""
        for camera in self._cameras.values():
            camera.opened = camera.ring_needed = False
        return [(name, camera.listener) for name, camera in self._cameras.items() if not camera.ended]
