"""What is known of one camera of a pipeline: its ready frames, its gate and its frame rate, its counters. Pure.

Owned by the pipeline's thread.
"""

from __future__ import annotations

from collections import deque

from agent.clock import NS_PER_S
from agent.loop.cadence import Cadence
from agent.loop.plan import CameraPlan
from agent.loop.records import CameraHealth, CameraStatistics
from agent.loop.stats import Rate
from agent.process.messages import Condition
from agent.types import CameraName, FrameRef
from agent.vision.gate import Gate
from agent.vision.whynot import Sights


class Camera:
    """What is known of one camera, and its counters."""

    def __init__(self, name: CameraName, plan: CameraPlan, *, lossless: bool) -> None:
        self.name = name
        self.lossless = lossless
        self.writable = False
        self.ready: deque[FrameRef] = deque()
        self.health: CameraHealth = "opening"
        self.reason = ""
        self.size: tuple[int, int] | None = None
        self.rate = Rate()
        self.captured = self.answered = self.failed = self.lost = self.replaced = self.gated = 0
        self.plan = plan
        self.gate = None if plan.gate is None else Gate(plan.gate)
        self.cadence = Cadence(plan.max_fps)
        self.known = False
        """Objects were seen of late: the gate lets them be looked at again sooner."""
        self.newest_ns: int | None = None
        self.conditions: tuple[Condition, ...] = ()
        self.changed_fps: float | None = None
        self._dropped = 0
        self._dropped_before = 0

    @property
    def skipped(self) -> int:
        """Live frames that a newer one replaced, here or in capture."""
        return self.replaced + self._dropped_before + self._dropped

    @property
    def waiting(self) -> int:
        """Frames that are ready or in flight."""
        return self.captured - self.answered - self.failed - self.lost - self.replaced - self.gated

    def note_dropped(self, since_opened: int) -> None:
        """Take over capture's own count, which starts again where the camera was opened anew."""
        if since_opened < self._dropped:
            self._dropped_before += self._dropped
        self._dropped = since_opened

    def silent(self, health: CameraHealth, reason: str) -> None:
        """Take note that nobody captures it at the moment."""
        self.health, self.reason, self.writable = health, reason, False
        self.conditions, self.changed_fps = (), None

    def follow(self, plan: CameraPlan, *, lossless: bool) -> None:
        """Take part as ``plan`` says from now on. Its frame rate's bound is not touched: see ``Intake.limit``."""
        if plan.gate != self.plan.gate:
            self.gate = None if plan.gate is None else Gate(plan.gate)
        self.plan, self.lossless = plan, lossless

    def statistics(self, now_ns: int, sights: Sights | None = None) -> CameraStatistics:
        """Sum up."""
        return CameraStatistics(
            camera=self.name,
            health=self.health,
            reason=self.reason,
            size=self.size,
            fps=self.rate.per_second(now_ns),
            captured=self.captured,
            answered=self.answered,
            failed=self.failed,
            lost=self.lost,
            skipped=self.skipped,
            replaced=self.replaced,
            gated=self.gated,
            idle_s=None if self.newest_ns is None else self._idle_s(now_ns, self.newest_ns),
            sights=sights,
            conditions=self.conditions,
            changed_fps=self.changed_fps,
        )

    def _idle_s(self, now_ns: int, newest_ns: int) -> float:
        """Return how long a frame has been due: one that its bound does not allow yet is not missed."""
        return max(0.0, (now_ns - newest_ns - self.cadence.interval_ns) / NS_PER_S)


class Past:
    """What cameras counted that were removed since."""

    def __init__(self) -> None:
        self.captured = self.answered = self.failed = self.lost = self.skipped = self.gated = 0

    def add(self, camera: Camera) -> None:
        """Keep a camera's counters."""
        self.captured += camera.captured
        self.answered += camera.answered
        self.failed += camera.failed
        self.lost += camera.lost
        self.skipped += camera.skipped
        self.gated += camera.gated
