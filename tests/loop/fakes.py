"""A capture, a worker and listeners of a loop without processes: what is asked of them is kept, the test answers."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping, Sequence

from agent.loop.eye import Remembered
from agent.loop.frameloop import FrameLoop
from agent.loop.pictures import Portraits
from agent.loop.plan import CameraPlan
from agent.loop.records import ServedSample, ShadowPair, SwapSeen
from agent.loop.results import Reporting
from agent.loop.seeing import Seeing, SeeingSettings
from agent.loop.setups import CameraSetup, PipelineSetup
from agent.process.messages import Error, Frame, Output, Ready
from agent.types import CameraName, Digest, FrameRef, ModelName, PipelineName, ReleaseId, Result, RunOptions, Timings

LABELS = ("person", "car", "dog")
MS = 1_000_000
TIMINGS = Timings(wait_ms=1.0, preprocess_ms=0.5, run_ms=9.0, postprocess_ms=0.5)


def rows(*boxes: tuple[float, float, float, float, float, float]) -> bytes:
    return b"".join(struct.pack("=6f", *box) for box in boxes)


ONE_PERSON = rows((10, 20, 30, 40, 0.9, 0))


class FakeCapture:
    """Keeps rings and grants; :meth:`write` hands a frame over in the oldest granted slot."""

    def __init__(self) -> None:
        self.granted: dict[str, deque[tuple[int, int]]] = {}
        self.rings: list[tuple[str, int]] = []
        self.sequence: dict[str, int] = {}
        self.renders: list = []

    def attach_ring(self, camera, generation, ring) -> None:
        self.rings.append((camera, generation))
        self.granted[camera] = deque()

    def grant(self, camera, generation, slot) -> None:
        self.granted[camera].append((generation, slot))

    def render(self, message) -> None:
        self.renders.append(message)

    def frame(self, camera: str, *, at_ns: int = 0, skipped: int = 0, motion: float = 1.0) -> Frame | None:
        """The next frame's message; None without a granted slot."""
        if not self.granted.get(camera):
            return None
        generation, slot = self.granted[camera].popleft()
        sequence = self.sequence.get(camera, 0)
        self.sequence[camera] = sequence + 1
        return Frame(CameraName(camera), generation, slot, sequence, sequence, at_ns, 0, skipped, motion)


class FakeWorker:
    """Keeps what it was asked; the test lets it answer, die, and be reaped."""

    def __init__(self, name: str, model: str = "model", *, concurrency: int = 1) -> None:
        self.name = name
        self.release = ReleaseId(ModelName(model), "1.0.0", Digest(name))
        self.options = RunOptions(1, concurrency=concurrency)
        self.ready = Ready((), (), (), load_ms=1.0, first_run_ms=10.0)
        self.alive = True
        self.asked: deque[tuple[int, FrameRef]] = deque()
        self.rings: set[tuple[str, int]] = set()
        self.listener: object | None = None
        self.killed: str | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def listen(self, events) -> None:
        self.listener = events

    def attach_ring(self, camera, generation, ring) -> None:
        self.rings.add((camera, generation))

    def detach_ring(self, camera, generation) -> None:
        self.rings.remove((camera, generation))

    def infer(self, request, frame, role) -> None:
        assert (frame.camera, frame.generation) in self.rings, "asked for a frame of a ring that it does not have"
        self.asked.append((request, frame))

    def kill(self, reason) -> None:
        self.killed = reason

    def output(self, detections: bytes = ONE_PERSON) -> Output:
        """Its answer to the oldest request."""
        request, frame = self.asked.popleft()
        return Output(request, "serve", frame.width, frame.height, TIMINGS, detections=detections)

    def error(self, code: str = "bad_output", reason: str = "not finite") -> Error:
        request, _ = self.asked.popleft()
        return Error(code, reason, request=request)


class FakeEvents:
    """What the deployer was told."""

    def __init__(self) -> None:
        self.swaps: list[SwapSeen] = []
        self.samples: list[ServedSample] = []
        self.lost: list[tuple[ReleaseId, str, bool]] = []
        self.bad: list[str] = []
        self.retired_workers: list[FakeWorker] = []
        self.pairs: list[ShadowPair] = []
        self.shadow_stops: list[str] = []
        self.shadow_failures: list[str] = []

    def swapped(self, pipeline, swap) -> None:
        self.swaps.append(swap)

    def served(self, pipeline, sample) -> None:
        self.samples.append(sample)

    def worker_lost(self, pipeline, release, reason, fell_back) -> None:
        self.lost.append((release, reason, fell_back))

    def bad_output(self, pipeline, release, reason) -> None:
        self.bad.append(reason)

    def shadow_seen(self, pipeline, pair) -> None:
        self.pairs.append(pair)

    def shadow_stopped(self, pipeline, reason) -> None:
        self.shadow_stops.append(reason)

    def shadow_failed(self, pipeline, release, reason) -> None:
        self.shadow_failures.append(reason)

    def retired(self, pipeline, worker) -> None:
        self.retired_workers.append(worker)


class Bench:
    """A frame loop between fakes, with a clock that the test moves."""

    def __init__(
        self,
        cameras: Sequence[str] = ("front",),
        *,
        lossless: Sequence[str] = (),
        in_flight: int = 2,
        seeing: Seeing | None = None,
        plans: Mapping[str, CameraPlan] | None = None,
        portraits: Portraits | None = None,
    ) -> None:
        self.now_ns = 1_000_000 * MS
        self.capture = FakeCapture()
        self.events = FakeEvents()
        self.results: list[Result] = []
        self.health: list[object] = []
        self.departed: dict[str, Remembered] = {}
        self.listener = object()
        self.loop = FrameLoop(
            PipelineName("main"),
            [CameraName(camera) for camera in cameras],
            lossless=[CameraName(camera) for camera in lossless],
            in_flight=in_flight,
            capture=self.capture,
            events=self.events,
            sinks=[self.results.append],
            health_sinks=[self.health.append],
            listener=self.listener,
            plans={CameraName(camera): plan for camera, plan in (plans or {}).items()},
            seeing=seeing,
            departed=self.departed.__setitem__,
            portraits=portraits,
        )
        for camera in cameras:
            self.open(camera)

    def open(self, camera: str, width: int = 64, height: int = 48) -> None:
        """Let capture ask for a ring, as it does for the first frame of a camera that was opened."""
        self.loop.need_ring(self.now_ns, CameraName(camera), width, height)

    def close_camera(self, camera: str, *, another: bool = False) -> None:
        """Close a camera at capture: what it was writing is void."""
        self.capture.granted.pop(camera, None)
        self.loop.camera_closed(self.now_ns, CameraName(camera), another)

    def reconfigure(
        self,
        cameras: Mapping[str, CameraSetup] | Sequence[str],
        *,
        in_flight: int = 2,
        seeing: SeeingSettings = SeeingSettings(),  # noqa: B008 - frozen
    ) -> None:
        """Give the loop another setup; names alone get a camera's defaults."""
        named = cameras if isinstance(cameras, Mapping) else dict.fromkeys(cameras, CameraSetup())
        setup = PipelineSetup({CameraName(name): one for name, one in named.items()}, in_flight, seeing)
        self.loop.reconfigure(self.now_ns, setup)

    def pass_ms(self, ms: float) -> None:
        self.now_ns += int(ms * MS)

    def swap(self, worker: FakeWorker, *, score: float = 0.35, p95_ms: float = 10.0) -> None:
        self.loop.swap(self.now_ns, worker, Reporting(LABELS, score), p95_ms)

    def write(self, camera: str = "front", count: int = 1, *, skipped: int = 0, motion: float = 1.0) -> int:
        """Let capture hand over frames; return how many slots allowed."""
        for written in range(count):
            frame = self.capture.frame(camera, at_ns=self.now_ns, skipped=skipped, motion=motion)
            if frame is None:
                return written
            self.loop.frame(self.now_ns, frame)
        return count

    def answer(self, worker: FakeWorker, count: int = 1, detections: bytes = ONE_PERSON) -> None:
        for _ in range(count):
            self.loop.output(self.now_ns, worker, worker.output(detections))

    def reap(self, worker: FakeWorker, reason: str = "killed by SIGKILL") -> None:
        worker.alive = False
        worker.asked.clear()
        self.loop.died(self.now_ns, worker, reason)

    @property
    def sequences(self) -> list[int]:
        return [result.frame.sequence for result in self.results]

    @property
    def statistics(self):
        return self.loop.statistics(self.now_ns)
