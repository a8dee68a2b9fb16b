"""What becomes of results: a chain of plain callables on the pipeline's thread, and the way off that thread.

:class:`Reports` chooses what is worth reporting (a pure policy, the time comes in), :class:`States` sums a camera up
whenever its summary changes, and :class:`HandOver` is the bounded queue to the thread on which messages are built:
nothing here serialises. A full queue drops its oldest item, since a newer report is worth more, and counts it.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from agent.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from agent.loop.records import CameraHealth
from agent.loop.stats import Rate
from agent.process.messages import Condition, Health
from agent.types import CameraName, Result, Scene

T = TypeVar("T")
Clock = Callable[[], int]

FPS_CHANGED = 0.2
"""A rate that moved by less than this part is no change."""


BURST_NS = 10 * NS_PER_MS
"""How much too early an event may come: results that waited for an older one come all at once."""


class RateLimiter:
    """At most ``hz`` events a second and key, evenly spaced but for :data:`BURST_NS`; 0: none. Pure."""

    def __init__(self, hz: float) -> None:
        self._period_ns = int(NS_PER_S / hz) if hz > 0 else 0
        self._due_ns: dict[str, int] = {}

    def allows(self, key: str, now_ns: int) -> bool:
        """Return whether an event of ``key`` may pass now, and count it if so."""
        if self._period_ns == 0:
            return False
        due_ns = self._due_ns.get(key, now_ns)
        if now_ns < due_ns - BURST_NS:
            return False
        # From where it was due, not from now: else 30 frames a second limited to 5 would come out as 4.3.
        self._due_ns[key] = max(due_ns, now_ns - self._period_ns) + self._period_ns
        return True


class Reports:
    """A sink: passes on, at most ``hz`` a second and camera, results in which something was found (``all``: each)."""

    def __init__(
        self, take: Callable[[Result], None], *, hz: float, all_frames: bool, now_ns: Clock = monotonic_ns
    ) -> None:
        self._take = take
        self._limiter = RateLimiter(hz)
        self._all_frames = all_frames
        self._now_ns = now_ns

    def reconfigure(self, *, hz: float, all_frames: bool) -> None:
        """Pass on so many from now on; any thread."""
        self._limiter, self._all_frames = RateLimiter(hz), all_frames

    def __call__(self, result: Result) -> None:
        """Take a result."""
        found = result.detections or result.classes
        if (found or self._all_frames) and self._limiter.allows(result.frame.camera, self._now_ns()):
            self._take(result)


class CameraSummary(msgspec.Struct, frozen=True):
    """A camera at one moment: how many of each label are seen, whether it is well, frames answered a second.

    ``counts`` and ``zones`` are those of tracks, where there are some; ``lines`` says how often each was crossed in and
    out since the agent started.
    """

    camera: CameraName
    counts: dict[str, int]
    health: CameraHealth
    reason: str
    fps: float
    zones: dict[str, dict[str, int]] = {}
    lines: dict[str, tuple[int, int]] = {}
    conditions: tuple[Condition, ...] = ()
    changed_fps: float | None = None


class States:
    """A sink and a health sink: passes a camera's summary on when it changed, at most each ``every_s`` and camera.

    What changed sooner is told with the next result; a change of health is told at once.
    """

    def __init__(
        self, take: Callable[[CameraSummary], None], *, every_s: float = 1.0, now_ns: Clock = monotonic_ns
    ) -> None:
        self._take = take
        self._every_ns = int(every_s * NS_PER_S)
        self._now_ns = now_ns
        self._rates: dict[CameraName, Rate] = {}
        self._told: dict[CameraName, tuple[CameraSummary, int]] = {}
        self._health: dict[CameraName, Health] = {}

    def __call__(self, result: Result) -> None:
        """Take a result."""
        now_ns, camera = self._now_ns(), result.frame.camera
        rate = self._rates.setdefault(camera, Rate())
        rate.add(now_ns)
        told = self._told.get(camera)
        if told is not None and now_ns - told[1] < self._every_ns:
            return
        self._tell(camera, _scene(result), rate.per_second(now_ns), now_ns)

    def health(self, message: Health) -> None:
        """Take a change of a camera's state; a camera that does not stream sees nothing."""
        self._health[message.camera] = message
        told = self._told.get(message.camera)
        streaming = message.state == "streaming"
        scene = Scene() if told is None else Scene(told[0].counts, told[0].zones, told[0].lines)
        if not streaming:
            scene = Scene({}, {zone: {} for zone in scene.zones}, scene.lines)
        now_ns = self._now_ns()
        rate = self._rates.get(message.camera)
        self._tell(message.camera, scene, rate.per_second(now_ns) if rate and streaming else 0.0, now_ns)

    def forget(self, camera: CameraName) -> None:
        """Forget a camera that was removed: no pipeline has it any more."""
        for table in (self._rates, self._told, self._health):
            table.pop(camera, None)

    def _tell(self, camera: CameraName, scene: Scene, fps: float, now_ns: int) -> None:
        health = self._health.get(camera)
        summary = CameraSummary(
            camera=camera,
            counts=scene.counts,
            health=health.state if health is not None else "streaming",
            reason=health.reason if health is not None else "",
            fps=round(fps, 1),
            zones=scene.zones,
            lines=scene.lines,
            conditions=health.conditions if health is not None else (),
            changed_fps=None if health is None or health.changed_fps is None else round(health.changed_fps, 1),
        )
        told = self._told.get(camera)
        if told is None or _differ(told[0], summary):
            self._told[camera] = (summary, now_ns)
            self._take(summary)


def _scene(result: Result) -> Scene:
    """Return what there is to count: tracks, else what is in this very frame."""
    if result.scene is not None:
        return result.scene
    found = result.detections if result.detections is not None else result.classes
    return Scene(dict(Counter(one.label for one in found or ())))


def _differ(old: CameraSummary, new: CameraSummary) -> bool:
    """Return whether the difference is worth a message."""
    if msgspec.structs.replace(old, fps=new.fps) != new:
        return True
    return abs(new.fps - old.fps) > FPS_CHANGED * max(old.fps, new.fps, 1.0)


class HandOver(Generic[T]):
    """A bounded queue with a thread of its own, ``lookout-<name>``, that gives each item to ``handle``.

    ``handle`` must raise nothing: an exception ends the thread, and is a bug.
    """

    def __init__(self, name: str, handle: Callable[[T], None], *, limit: int = 64) -> None:
        self._handle = handle
        self._limit = limit
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"lookout-{name}", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand an item over, from any thread; the oldest is dropped where there are too many."""
        with self._changed:
            if len(self._items) >= self._limit:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify()

    def close(self) -> None:
        """Handle what is left and end the thread. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._items) or self._closing)
                if not self._items:
                    return
                item = self._items.popleft()
            self._handle(item)
