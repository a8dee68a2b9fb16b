"""A candidate that sees live frames beside the current worker, and serves nobody.

It gets at most one frame at a time, read from the slot that every ring has for it, and is busy at most a stated share
of the time: even if current stood still meanwhile, its rate would fall by no more than that share. Whether it fell all
the same is looked at, too, and ends the shadow. A pair of answers to one frame is handed to whoever compares. One
owner: the pipeline's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agent.clock import NS_PER_MS, NS_PER_S
from agent.loop.intake import Intake
from agent.loop.order import Flight
from agent.loop.ports import PipelineEvents
from agent.loop.records import ShadowPair
from agent.loop.rings import Generation
from agent.process.messages import Error, Output
from agent.types import FrameRef, PipelineName, ReleaseId

if TYPE_CHECKING:
    from agent.serve.handle import WorkerHandle

log = structlog.get_logger(part="loop")

FIRST_REQUEST = 1 << 61
"""Numbers of a shadow's requests begin here: above those of frames that are served, below those of files."""

PATIENCE_S = 20.0
PATIENCE_FACTOR = 100
"""Ten times what a serving worker gets: a candidate runs at low priority."""

LEAVING_S = 2.0
"""What it has for its last frame, of which nobody wants the answer."""

JUDGE_AFTER_S = 5.0
"""Before that, current's rate beside a shadow says too little."""


@dataclass(slots=True)
class Pair:
    """One frame with the candidate: ``asked`` until the candidate answered, ``awaited`` until current did."""

    request: int
    ticket: int
    frame: FrameRef
    sent_ns: int
    asked: bool = True
    awaited: bool = True
    release: ReleaseId | None = None
    current: Output | None = None
    candidate: Output | None = None


def slowed(before_fps: float, now_fps: float, max_slowdown: float, *, behind: bool) -> bool:
    """Whether current became slower than allowed; not where its cameras simply give fewer frames (not ``behind``)."""
    return behind and now_fps < (1.0 - max_slowdown) * before_fps


@dataclass(frozen=True)
class Lent:
    """What the loop lends: its frames, its listener, and ``forget``, which lets workers drop rings that are gone."""

    name: PipelineName
    intake: Intake
    events: PipelineEvents
    forget: Callable[[Iterable[Generation]], None]


class Shadow:
    """One candidate beside current. ``fps``: what current answers, of which it may cost ``max_slowdown``."""

    def __init__(
        self, lent: Lent, worker: WorkerHandle, p95_ms: float, max_slowdown: float, now_ns: int, fps: float
    ) -> None:
        self.worker = worker
        self.reader = f"{worker.name}/shadow"
        """Names its lease: the worker may read the same frame again once it serves."""
        self.serves = False
        self.over = False
        """Nothing of it is left: it serves or was handed back."""
        self._lent = lent
        self._sending = True
        self._leaving = False
        self._pair: Pair | None = None
        self._next_request = FIRST_REQUEST
        self._next_ns = self._began_ns = now_ns
        self._patience_ns = max(int(PATIENCE_S * NS_PER_S), int(PATIENCE_FACTOR * p95_ms * NS_PER_MS))
        self._max_slowdown = max_slowdown
        self._before_fps = fps
        self._answered, self._skipped = 0, lent.intake.skipped
        for generation in lent.intake.generations():
            worker.attach_ring(generation.camera, generation.number, generation.memory)

    def end(self) -> None:
        """Show it no more frames, and hand it back once it has answered the last one."""
        if not self.serves:
            self._sending, self._leaving = False, True
            self._patience_ns = int(LEAVING_S * NS_PER_S)
            self._settle()

    def take_over(self) -> None:
        """Show it no more frames: it serves from now on."""
        self._sending, self.serves = False, True
        self._settle()

    @property
    def holds(self) -> bool:
        """Whether it still reads a frame of the shadow's."""
        return self._pair is not None and self._pair.asked

    def offer(self, now_ns: int, flight: Flight[WorkerHandle]) -> None:
        """Show it a frame that was just sent to current, if it is idle and its share of time allows."""
        if not self._sending or self._pair is not None or now_ns < self._next_ns:
            return
        self._pair = Pair(self._next_request, flight.ticket, flight.frame, now_ns)
        self._next_request += 1
        self._lent.intake.lease(flight.frame, self.reader)
        self.worker.infer(self._pair.request, flight.frame, "shadow")

    def current_answered(self, now_ns: int, ticket: int, release: ReleaseId, output: Output | None) -> None:
        """Take current's answer (None: it has none for this frame)."""
        self._answered += 1
        pair = self._pair
        if pair is None or pair.ticket != ticket:
            return
        pair.awaited, pair.release, pair.current = False, release, output
        self._settle()
        self._look_at_rate(now_ns)

    def answered(self, now_ns: int, message: Output | Error) -> None:
        """Take its own answer."""
        pair = self._pair
        if pair is None or pair.request != message.request or not pair.asked:
            log.info("shadow.stale", worker=self.worker.name, request=message.request)
            return
        pair.asked = False
        busy_ns = now_ns - pair.sent_ns
        self._next_ns = now_ns + int(busy_ns * (1.0 / self._max_slowdown - 1.0))
        self._lent.forget(self._lent.intake.release(pair.frame, self.reader))
        if isinstance(message, Output):
            pair.candidate = message
        elif not self.serves:
            self._sending, self._leaving, pair.awaited = False, True, False
            self._lent.events.shadow_failed(self._lent.name, self.worker.release, message.message)
        self._settle()

    def died(self, reason: str) -> None:
        """Take back what it read: it was reaped."""
        self._lent.forget(self._lent.intake.reclaim(self.reader))
        self._pair, self._sending, self.over = None, False, True
        if not self.serves:
            self.worker.listen(None)
            self._lent.events.shadow_failed(self._lent.name, self.worker.release, reason)
            self._lent.events.retired(self._lent.name, self.worker)

    def due_ns(self) -> int | None:
        """Return until when it must have answered; None: nothing is awaited."""
        pair = self._pair
        return None if pair is None or not pair.asked else pair.sent_ns + self._patience_ns

    def check_deadline(self, now_ns: int) -> None:
        """Kill it where it owes an answer for too long."""
        due_ns = self.due_ns()
        if due_ns is None or now_ns < due_ns:
            return
        log.error("shadow.hung", worker=self.worker.name)
        assert self._pair is not None
        self._pair.sent_ns = now_ns  # killed once; its end is told when it is reaped
        self.worker.kill(f"no answer for {self._patience_ns / NS_PER_S:.0f} s in its shadow")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Tell a pair that is whole, and let a worker go that is shown no more."""
        pair = self._pair
        if pair is not None and not pair.asked and not (pair.awaited and self._sending):
            self._pair = None
            if self._sending and pair.current is not None and pair.candidate is not None and pair.release is not None:
                told = ShadowPair(pair.release, pair.frame.camera, pair.current, pair.candidate)
                self._lent.events.shadow_seen(self._lent.name, told)
        if self._pair is not None or self.over or not (self._leaving or self.serves):
            return
        self.over = True
        if not self.serves:
            self.worker.listen(None)
            self._lent.events.retired(self._lent.name, self.worker)

    def _look_at_rate(self, now_ns: int) -> None:
        """End the shadow where current became too slow beside it."""
        seconds = (now_ns - self._began_ns) / NS_PER_S
        if not self._sending or seconds < JUDGE_AFTER_S:
            return
        intake = self._lent.intake
        lossless = any(camera.lossless for camera in intake.cameras.values())
        now_fps = self._answered / seconds
        behind = lossless or intake.skipped > self._skipped
        if slowed(self._before_fps, now_fps, self._max_slowdown, behind=behind):
            self._sending = False
            reason = f"the current model fell from {self._before_fps:.1f} to {now_fps:.1f} frames a second beside it"
            self._lent.events.shadow_stopped(self._lent.name, reason)


class Shadows:
    """The candidate in one pipeline's shadow, and those that left it and still read a frame."""

    def __init__(self, lent: Lent) -> None:
        self._lent = lent
        self._all: list[Shadow] = []

    def begin(self, now_ns: int, worker: WorkerHandle, p95_ms: float, max_slowdown: float, fps: float) -> None:
        """Show ``worker`` frames from now on; who is in the shadow leaves it."""
        self.end()
        self._all.append(Shadow(self._lent, worker, p95_ms, max_slowdown, now_ns, fps))

    def end(self) -> None:
        """Hand the candidate back once it has answered the last frame."""
        for one in self._living():
            one.end()

    def take_over(self, worker: WorkerHandle) -> bool:
        """Return whether ``worker`` was in the shadow; it serves from now on and is shown no more."""
        found = self._of(worker)
        if found is not None:
            found.take_over()
        return found is not None

    def workers(self) -> tuple[WorkerHandle, ...]:
        """Return the workers that do not serve."""
        return tuple(one.worker for one in self._living() if not one.serves)

    def holds(self, worker: WorkerHandle) -> bool:
        """Return whether ``worker`` still reads a frame of the shadow's."""
        found = self._of(worker)
        return found is not None and found.holds

    def offer(self, now_ns: int, flight: Flight[WorkerHandle]) -> None:
        """Show the candidate a frame that was just sent to current, if it may have one."""
        for one in self._all:
            one.offer(now_ns, flight)

    def current_answered(self, now_ns: int, ticket: int, release: ReleaseId, output: Output | None) -> None:
        """Take current's answer (None: it has none for this frame)."""
        for one in self._living():
            one.current_answered(now_ns, ticket, release, output)

    def output(self, now_ns: int, worker: WorkerHandle, message: Output | Error) -> bool:
        """Take an answer; False where it is none of the shadow's."""
        if message.request is None or message.request < FIRST_REQUEST:
            return False
        found = self._of(worker)
        if found is not None:
            found.answered(now_ns, message)
        return True

    def died(self, worker: WorkerHandle, reason: str) -> bool:
        """Take back what a reaped worker read for the shadow; True where it did nothing else."""
        found = self._of(worker)
        if found is None:
            return False
        found.died(reason)
        return not found.serves

    def due_ns(self) -> int | None:
        """Return until when an answer must have come; None: nothing is awaited."""
        return min((due for one in self._all if (due := one.due_ns()) is not None), default=None)

    def check_deadline(self, now_ns: int) -> None:
        """Kill who owes an answer for too long."""
        for one in self._living():
            one.check_deadline(now_ns)

    def close(self) -> None:
        """Stop listening."""
        for one in self._living():
            one.worker.listen(None)

    def _living(self) -> list[Shadow]:
        """Forget those that are over, and return the others."""
        if self._all:
            self._all = [one for one in self._all if not one.over]
        return self._all

    def _of(self, worker: WorkerHandle) -> Shadow | None:
        return next((one for one in self._living() if one.worker is worker), None)
