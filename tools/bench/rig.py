"""The real frame loop without the rest of the agent: capture process, pipeline and workers, and what they tell.

For benchmarks and for tests that drive the loop themselves. Everything the pipeline tells is kept in lists; a waiting
thread is woken by each of them. ``also`` is told all of it too, where there is more of the agent than the loop.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agent.capture.handle import CaptureHandle
from agent.clock import monotonic_ns
from agent.loop.pipeline import Pipeline
from agent.loop.plan import CameraPlan
from agent.loop.ports import PipelineEvents
from agent.loop.records import ServedSample, ShadowPair, SwapSeen
from agent.process.child import Spawner
from agent.process.messages import Health, Load, SourceSpec
from agent.serve.handle import WorkerHandle
from agent.supervise.heartbeat import Heartbeats
from agent.types import CameraName, PipelineName, ReleaseId, Result
from tools.bench.models import LABELS, SCORE

PIPELINE = PipelineName("rig")
START_S = 60.0
WAIT_S = 60.0


class Rig:
    """A pipeline over ``cameras``, its processes, and what was seen of them. Use it as a context manager."""

    def __init__(
        self, cameras: Mapping[str, SourceSpec], *, in_flight: int = 3, plans: Mapping[str, CameraPlan] | None = None
    ) -> None:
        self.results: list[Result] = []
        self.times_ns: list[int] = []
        self.health: list[Health] = []
        self.swaps: list[SwapSeen] = []
        self.samples: list[ServedSample] = []
        self.lost: list[tuple[ReleaseId, str, bool]] = []
        self.lost_at: list[int] = []
        self.bad: list[str] = []
        self.retired_workers: list[WorkerHandle] = []
        self.logs: list[tuple[str, Mapping[str, Any]]] = []
        self.also: PipelineEvents | None = None
        self._told = threading.Condition()
        self._numbers = itertools.count(1)
        self._cameras = {CameraName(name): source for name, source in cameras.items()}
        self._workers: list[WorkerHandle] = []
        self._undo = contextlib.ExitStack()
        self.spawner = Spawner(lambda child, line: self.logs.append((child, line)))
        self.capture = CaptureHandle(self.spawner)
        self.pipeline = Pipeline(
            PIPELINE,
            tuple(self._cameras),
            in_flight=in_flight,
            capture=self.capture,
            events=self,
            sinks=[self._result],
            heartbeat=Heartbeats(monotonic_ns).add("rig", 10.0),
            lossless=[name for name, source in self._cameras.items() if source.pace == "lossless"],
            health_sinks=[self._health],
            plans={CameraName(name): plan for name, plan in (plans or {}).items()},
        )

    def __enter__(self) -> Rig:
        self._undo.callback(self.spawner.close)
        self._undo.callback(self._close_workers)
        self._undo.callback(self.capture.close)
        self._undo.callback(self.pipeline.stop)
        self.pipeline.start()
        self.capture.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def open_cameras(self) -> None:
        """Let the frames come."""
        for name, source in self._cameras.items():
            self.capture.open(name, source, self.pipeline)

    def start_worker(self, load: Load, *, candidate: bool = False) -> WorkerHandle:
        """Start a worker; the rig closes it in the end."""
        worker = WorkerHandle.start(
            self.spawner, name=f"worker-{next(self._numbers)}", load=load, candidate=candidate, timeout_s=START_S
        )
        self._workers.append(worker)
        return worker

    def swap(self, worker: WorkerHandle, labels: Sequence[str] = LABELS, score: float = SCORE) -> None:
        """Let a worker serve."""
        self.pipeline.swap(worker, labels=labels, score=score)

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
        """Return once ``condition`` holds. Raises :class:`TimeoutError`, which says for ``what`` was waited."""
        with self._told:
            if not self._told.wait_for(condition, timeout_s):
                raise TimeoutError(f"waited {timeout_s:g} s for {what}: {self.pipeline.statistics()}")

    def wait_results(self, count: int, timeout_s: float = WAIT_S) -> None:
        """Return once there are ``count`` results."""
        self.wait(lambda: len(self.results) >= count, f"{count} results", timeout_s)

    def wait_swaps(self, count: int) -> None:
        """Return once the first answers after ``count`` swaps were seen."""
        self.wait(lambda: len(self.swaps) >= count, f"{count} swaps")

    def wait_ended(self, timeout_s: float = WAIT_S) -> None:
        """Return once every camera gave its last frame, and what was captured was answered or left out."""
        cameras = set(self._cameras)
        self.wait(lambda: {one.camera for one in self.health if one.state == "ended"} == cameras, "the end", timeout_s)
        deadline = time.monotonic() + timeout_s
        while self._waiting():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_s:g} s for the last answers: {self.pipeline.statistics()}")
            with self._told:
                self._told.wait(0.05)

    def _waiting(self) -> int:
        """Return how many frames are ready or in flight."""
        seen = self.pipeline.statistics()
        replaced = sum(camera.replaced for camera in seen.cameras.values())
        return seen.captured - seen.answered - seen.failed - seen.lost - seen.gated - replaced

    def wait_lost(self, count: int) -> None:
        """Return once ``count`` deaths of a current worker were noticed."""
        self.wait(lambda: len(self.lost) >= count, f"{count} deaths")

    def _close_workers(self) -> None:
        for worker in self._workers:
            worker.close()

    def noted(self) -> None:
        """Wake whoever waits: something that a condition may be about has changed. Any thread."""
        with self._noted():
            pass

    # --- what the pipeline tells, on its thread ----------------------------------------------------------------------

    def _result(self, result: Result) -> None:
        with self._noted():
            self.times_ns.append(monotonic_ns())
            self.results.append(result)

    def _health(self, message: Health) -> None:
        with self._noted():
            self.health.append(message)

    def swapped(self, pipeline: PipelineName, swap: SwapSeen) -> None:
        """Keep it."""
        if self.also is not None:
            self.also.swapped(pipeline, swap)
        with self._noted():
            self.swaps.append(swap)

    def served(self, pipeline: PipelineName, sample: ServedSample) -> None:
        """Keep it."""
        if self.also is not None:
            self.also.served(pipeline, sample)
        with self._noted():
            self.samples.append(sample)

    def worker_lost(self, pipeline: PipelineName, release: ReleaseId, reason: str, fell_back: bool) -> None:
        """Keep it."""
        if self.also is not None:
            self.also.worker_lost(pipeline, release, reason, fell_back)
        with self._noted():
            self.lost.append((release, reason, fell_back))
            self.lost_at.append(len(self.results))

    def bad_output(self, pipeline: PipelineName, release: ReleaseId, reason: str) -> None:
        """Keep it."""
        if self.also is not None:
            self.also.bad_output(pipeline, release, reason)
        with self._noted():
            self.bad.append(reason)

    def shadow_seen(self, pipeline: PipelineName, pair: ShadowPair) -> None:
        """Pass it on: the rig itself lends no frames to a shadow."""
        if self.also is not None:
            self.also.shadow_seen(pipeline, pair)

    def shadow_stopped(self, pipeline: PipelineName, reason: str) -> None:
        """Pass it on, see above."""
        if self.also is not None:
            self.also.shadow_stopped(pipeline, reason)

    def shadow_failed(self, pipeline: PipelineName, release: ReleaseId, reason: str) -> None:
        """Pass it on, see above."""
        if self.also is not None:
            self.also.shadow_failed(pipeline, release, reason)

    def retired(self, pipeline: PipelineName, worker: WorkerHandle) -> None:
        """Keep it, it is closed in the end; or let whoever is told too close it."""
        if self.also is not None:
            self.also.retired(pipeline, worker)
            return
        with self._noted():
            self.retired_workers.append(worker)

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        with self._told:
            yield
            self._told.notify_all()
