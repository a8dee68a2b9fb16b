"""Cameras and pipelines are reconfigured under load, with a real capture process: each frame is answered exactly once.

Workers are stood in for by one that answers at once; everything else is the agent's own.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from agent.capture.handle import CaptureHandle
from agent.capture.pool import CapturePool
from agent.clock import monotonic_ns
from agent.deploy.records import DeploySettings, PipelineSettings
from agent.loop.pipeline import Pipeline
from agent.loop.plan import CameraPlan
from agent.loop.seeing import Seeing
from agent.loop.setups import CameraSetup, PipelineSetup
from agent.process.child import Spawner
from agent.process.messages import MotionSpec, Output, Ready, SourceSpec, View
from agent.steer.frames import DeployWish, Frames, Opening
from agent.steer.pipelines import Pipelines
from agent.supervise.heartbeat import Heartbeats
from agent.types import CameraName, Digest, ModelName, PipelineName, ReleaseId, Result, RunOptions
from tests.capture.conftest import eventually, write_video
from tests.loop.fakes import LABELS, ONE_PERSON, TIMINGS

FILM, DOOR = CameraName("film"), CameraName("door")
LEFT, RIGHT = PipelineName("left"), PipelineName("right")
FRAMES = 400
PATTERN = SourceSpec("pattern", "pattern", width=320, height=240, fps=60.0)


class Answerer:
    """A worker that answers each frame a little later, on a thread of its own."""

    def __init__(self, name: str, pause_s: float = 0.001) -> None:
        self.name = name
        self.release = ReleaseId(ModelName("model"), "1.0.0", Digest(name))
        self.options = RunOptions(1)
        self.ready = Ready((), (), (), load_ms=1.0, first_run_ms=10.0)
        self.rings: set[tuple[str, int]] = set()
        self.listener: object = None
        self.pause_s = pause_s
        self._asked: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def listen(self, events) -> None:
        self.listener = events

    def attach_ring(self, camera, generation, ring) -> None:
        self.rings.add((camera, generation))

    def detach_ring(self, camera, generation) -> None:
        self.rings.discard((camera, generation))

    def infer(self, request, frame, role) -> None:
        assert (frame.camera, frame.generation) in self.rings
        self._asked.put((request, frame))

    def kill(self, reason) -> None:
        raise AssertionError(reason)

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()

    def _answer(self) -> None:
        while (asked := self._asked.get()) is not None:
            time.sleep(self.pause_s)
            request, frame = asked
            output = Output(request, "serve", frame.width, frame.height, TIMINGS, detections=ONE_PERSON)
            if (listener := self.listener) is not None:
                listener.output(self, output)


class Deployments:
    """Stands in for the deployer: lets an answerer serve each pipeline, and closes what is handed back."""

    def __init__(self) -> None:
        self.wishes: list[DeployWish] = []
        self.workers: dict[PipelineName, Answerer] = {}
        self.handed_back: list[str] = []

    def reconfigure(self, settings, wanted, pipelines) -> None:
        assert {one.name for one in wanted} <= pipelines.keys()
        self.workers = {one.name: self.workers[one.name] for one in wanted}

    def serve(self, name: PipelineName, pipeline: Pipeline) -> None:
        if name not in self.workers:
            self.workers[name] = Answerer(f"worker-{name}-{len(self.handed_back)}")
            pipeline.swap(self.workers[name], labels=LABELS, score=0.3)

    def retired(self, pipeline, worker) -> None:
        self.handed_back.append(worker.name)
        worker.close()

    def swapped(self, pipeline, swap) -> None: ...
    def served(self, pipeline, sample) -> None: ...
    def worker_lost(self, pipeline, release, reason, fell_back) -> None: ...
    def bad_output(self, pipeline, release, reason) -> None: ...


@dataclass
class World:
    """A device without the rest of the agent."""

    per_camera: bool = False
    results: list[Result] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spawner = Spawner(lambda child, line: self._logged(line))
        self.beats = Heartbeats(monotonic_ns)
        beat: Callable = lambda name: self.beats.add(name, 10.0)  # noqa: E731
        self.capture = (
            CapturePool(self.spawner, pulse=beat, still=self.beats.remove)
            if self.per_camera
            else CaptureHandle(self.spawner)
        )
        self.deployments = Deployments()
        self.pipelines = Pipelines()
        self.frames = Frames(
            capture=self.capture, pipelines=self.pipelines, deployer=self.deployments, make=self.make,
            still=lambda name: self.beats.remove(f"pipeline-{name}"), opened={}, told={},
        )  # fmt: skip
        self.capture.start()

    def _logged(self, line) -> None:
        if line.get("level") in ("error", "critical"):
            self.errors.append(str(line))

    def make(self, name: PipelineName, setup: PipelineSetup) -> Pipeline:
        pipeline = Pipeline.of(
            name, setup, capture=self.capture, events=self.deployments, sinks=[self.results.append],
            heartbeat=self.beats.add(f"pipeline-{name}", 10.0), health_sinks=[], seeing=Seeing(setup.seeing),
        )  # fmt: skip
        self.deployments.serve(name, pipeline)
        return pipeline

    def take_up(self, setups: dict[PipelineName, PipelineSetup], openings: dict[CameraName, Opening]) -> None:
        """The order of agent.steer.rows."""
        self.frames.close_cameras(openings)
        self.frames.take_up(setups)
        self.frames.deploy(DeployWish(DeploySettings(), tuple(map(PipelineSettings, setups))))
        self.frames.end_pipelines(setups)
        self.frames.open_cameras(openings)

    def close(self) -> None:
        self.pipelines.stop()
        self.capture.close()
        for worker in self.deployments.workers.values():
            worker.close()
        self.spawner.close()

    def places(self, camera: CameraName = FILM) -> list[int]:
        return [result.frame.source_index for result in self.results if result.frame.camera == camera]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> SourceSpec:
    path = write_video(Path(tmp_path_factory.mktemp("films")) / "film.avi", FRAMES)
    return SourceSpec("file", str(path), pace="lossless")


def watching(*cameras: CameraName, **rest) -> PipelineSetup:
    return PipelineSetup({camera: CameraSetup(lossless=camera == FILM) for camera in cameras}, **rest)


def opened(source: SourceSpec, pipeline: PipelineName = LEFT) -> dict[CameraName, Opening]:
    return {FILM: Opening(source, pipeline)}


VIEWS = [
    {"motion": MotionSpec(6.0, (), ())},
    {"view": View(rotate=90)},
    {"view": View(crop=(0.0, 0.0, 0.5, 1.0))},
    {"view": View(masks=(((0.0, 0.0), (0.5, 0.0), (0.5, 0.5)),))},
    {},
]


def test_a_film_that_is_opened_anew_again_and_again_loses_no_frame_and_shows_none_twice(world, film):
    chance = random.Random(7)
    world.take_up({LEFT: watching(FILM)}, opened(film))
    number = 0
    for number in range(40):
        if world.places()[-1:] == [FRAMES - 1]:
            break
        time.sleep(chance.random() * 0.06)
        source = msgspec.structs.replace(film, **VIEWS[number % len(VIEWS)])
        world.take_up({LEFT: watching(FILM, in_flight=1 + number % 4)}, opened(source))
    assert eventually(lambda: world.places()[-1:] == [FRAMES - 1], 60)
    assert world.places() == list(range(FRAMES))
    assert [result.frame.sequence for result in world.results] == list(range(FRAMES))
    assert len(world.pipelines[LEFT].statistics().cameras) == 1
    assert number > 5, "it was opened anew often enough to say something"
    assert world.errors == []


def test_a_film_that_goes_from_one_pipeline_to_the_other_and_back_is_seen_whole_and_in_order(world, film):
    other = {DOOR: CameraSetup(CameraPlan(max_fps=5.0))}
    homes = {
        LEFT: {LEFT: watching(FILM), RIGHT: PipelineSetup(other)},
        RIGHT: {LEFT: PipelineSetup(other), RIGHT: watching(FILM)},
    }
    moves = 0
    while world.places()[-1:] != [FRAMES - 1] and moves < 60:
        home, away = (LEFT, RIGHT) if moves % 2 == 0 else (RIGHT, LEFT)
        world.take_up(homes[home], {FILM: Opening(film, home), DOOR: Opening(PATTERN, away)})
        for worker in world.deployments.workers.values():
            worker.pause_s = 0.002
        time.sleep(0.1)
        moves += 1
    assert eventually(lambda: world.places()[-1:] == [FRAMES - 1], 60)
    assert world.places() == list(range(FRAMES))
    assert moves > 2
    tracks = [result.detections[0].track for result in world.results if result.frame.camera == FILM]
    begun = [track for track in dict.fromkeys(tracks) if track is not None]
    assert begun == sorted(begun), "the numbers of tracks go on from pipeline to pipeline"
    assert len(begun) > 1
    assert world.errors == []


def test_a_pipeline_that_is_removed_answers_what_it_has_and_leaves_no_thread_ring_or_worker(world, film):
    world.take_up({LEFT: watching(FILM), RIGHT: watching(DOOR)}, {**opened(film), DOOR: Opening(PATTERN, RIGHT)})
    assert eventually(lambda: len(world.places(DOOR)) > 5 and len(world.places()) > 5)
    before = threads(), descriptors()
    for _ in range(5):
        world.take_up({LEFT: watching(FILM)}, opened(film))
        assert list(world.pipelines) == [LEFT]
        assert "lookout-pipeline-right" not in threads()
        assert descriptors() == before[1] - 1, "the ring of the camera that went is closed"
        seen = len(world.places(DOOR))
        world.take_up({LEFT: watching(FILM), RIGHT: watching(DOOR)}, {**opened(film), DOOR: Opening(PATTERN, RIGHT)})
        assert eventually(lambda seen=seen: len(world.places(DOOR)) > seen + 3)
    assert len(world.deployments.handed_back) == 5
    assert (threads(), descriptors()) == before
    statistics = world.pipelines[LEFT].statistics()
    assert statistics.lost == 0
    assert eventually(lambda: world.places()[-1:] == [FRAMES - 1], 60)
    assert world.places() == list(range(FRAMES))


def test_a_camera_that_comes_back_under_its_name_shows_its_new_source(world, film):
    world.take_up({LEFT: watching(FILM, DOOR)}, {**opened(film), DOOR: Opening(PATTERN, LEFT)})
    assert eventually(lambda: len(world.places(DOOR)) > 3)
    small = msgspec.structs.replace(PATTERN, width=160, height=120, seed=3)
    world.take_up({LEFT: watching(FILM, DOOR)}, {**opened(film), DOOR: Opening(small, LEFT)})
    assert eventually(lambda: any(r.frame.width == 160 for r in world.results))
    sizes = [r.frame.width for r in world.results if r.frame.camera == DOOR]
    assert sizes == sorted(sizes, reverse=True), "no frame of the former source comes after one of the new one"


def test_a_capture_process_that_dies_amid_changes_costs_no_frame_of_a_film(world, film):
    world.take_up({LEFT: watching(FILM)}, opened(film))
    assert eventually(lambda: len(world.places()) > 20)
    os.kill(world.capture.pid, 9)
    world.take_up({LEFT: watching(FILM)}, opened(msgspec.structs.replace(film, motion=MotionSpec(6.0, (), ()))))
    world.take_up({LEFT: watching(FILM, in_flight=4)}, opened(film))
    assert eventually(lambda: world.places()[-1:] == [FRAMES - 1], 60)
    assert world.places() == list(range(FRAMES))


def test_with_a_process_for_each_camera_it_is_the_same(film):
    world = World(per_camera=True)
    try:
        world.take_up({LEFT: watching(FILM, DOOR)}, {**opened(film), DOOR: Opening(PATTERN, LEFT)})
        assert eventually(lambda: len(world.places()) > 20 and len(world.places(DOOR)) > 1, 20)
        world.take_up({LEFT: watching(FILM)}, opened(msgspec.structs.replace(film, view=View(rotate=90))))
        assert list(world.capture.pids) == [FILM]
        world.take_up({LEFT: watching(FILM, DOOR)}, {**opened(film), DOOR: Opening(PATTERN, LEFT)})
        assert eventually(lambda: world.places()[-1:] == [FRAMES - 1], 60)
        assert world.places() == list(range(FRAMES))
    finally:
        world.close()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("lookout-")}


def descriptors() -> int:
    """Descriptors of rings that are open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += "lookout-ring" in str(entry.readlink())
        except OSError:
            continue
    return found
