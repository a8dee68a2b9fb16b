"""When what is seen of a camera ends: its source failed or ended, it became another picture, or it was removed. Pure.

Frames outlive what gave them: whatever was captured is answered first. So the tracks of a camera that gives no more
frames end once its last one was delivered; those of a camera that was opened anew on another picture end before the
first frame of the new one is looked at; and a camera that was removed is forgotten, with its rings, when none of its
frames is ready or in flight any more. Where nobody serves, what is ready of it is given up. The pipeline's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.loop.eye import Remembered
from agent.loop.intake import Intake
from agent.loop.rings import Generation
from agent.loop.seeing import Seeing
from agent.process.messages import Health
from agent.types import CameraName

Departed = Callable[[CameraName, Remembered], None]
"""Told that nothing is left of a camera that was removed, and what whoever has it next should know."""

GONE = frozenset({"failed", "ended"})
"""Health of a camera of which nothing is seen any more once its last frame was answered."""


class Farewells:
    """The cameras of one pipeline that end in one way or another. ``forget`` takes rings that are gone."""

    def __init__(
        self, intake: Intake, seeing: Seeing, forget: Callable[[Iterable[Generation]], None], departed: Departed
    ) -> None:
        self._intake = intake
        self._seeing = seeing
        self._forget = forget
        self._departed = departed
        self._parting: set[CameraName] = set()
        self._cuts: dict[CameraName, int] = {}
        self._leaving: set[CameraName] = set()

    def health(self, message: Health) -> None:
        """Take note of a camera's state."""
        (self._parting.add if message.state in GONE else self._parting.discard)(message.camera)

    def closed(self, camera: CameraName, *, another: bool) -> None:
        """Take note that capture closed the camera; ``another``: what it gives later is another picture."""
        last = self._intake.closed(camera)
        if another:
            self._cuts[camera] = last

    def leave(self, camera: CameraName) -> None:
        """Forget the camera as soon as its last frame was answered."""
        self._leaving.add(camera)

    def stay(self, camera: CameraName) -> None:
        """Keep the camera after all."""
        self._leaving.discard(camera)

    def leaving(self, camera: CameraName) -> bool:
        """Return whether the camera was removed and something of it is left."""
        return camera in self._leaving

    def before(self, camera: CameraName, generation: int) -> None:
        """End what was seen of the picture before, where a frame of this generation is about to be looked at."""
        if self._cuts and generation > self._cuts.get(camera, generation):
            del self._cuts[camera]
            self._seeing.camera_gone(camera)

    def look(self, *, served: bool) -> None:
        """End what is over by now. ``served``: somebody answers frames."""
        for name in [name for name in self._parting if not self._intake.cameras[name].waiting]:
            self._parting.discard(name)
            self._seeing.camera_gone(name)
        for name in tuple(self._leaving):
            if not served:
                self._intake.drop_ready(name)
            if not self._intake.cameras[name].waiting:
                self._end(name)

    def _end(self, camera: CameraName) -> None:
        self._leaving.discard(camera)
        self._parting.discard(camera)
        self._cuts.pop(camera, None)
        self._forget(self._intake.remove(camera))
        self._departed(camera, self._seeing.forget(camera))
