"""Two pipelines of one device: other cameras, another model, one capture process."""

from __future__ import annotations

import threading

import pytest

from agent.capture.handle import CaptureHandle
from agent.clock import monotonic_ns
from agent.loop.pipeline import Pipeline
from agent.process.child import Spawner
from agent.process.messages import SourceSpec
from agent.serve.handle import WorkerHandle
from agent.supervise.heartbeat import Heartbeats
from agent.types import CameraName, PipelineName, Result
from tests.loop.fakes import FakeEvents
from tools.bench.models import LABELS, NANODET_M, SCORE, YOLOX_NANO

pytestmark = pytest.mark.shared

WATCHED = {"street": (YOLOX_NANO, "plaza.avi"), "door": (NANODET_M, "one-by-one-person-detection.mp4")}
ENOUGH = 25


def test_each_pipeline_answers_its_own_camera_by_its_own_model_and_one_ends_without_the_other(shared):
    results: dict[str, list[Result]] = {name: [] for name in WATCHED}
    seen = threading.Condition()

    def taken(name: str, result: Result) -> None:
        with seen:
            results[name].append(result)
            seen.notify_all()

    spawner = Spawner(lambda child, line: None)
    capture = CaptureHandle(spawner)
    pipelines, workers = {}, []
    try:
        capture.start()
        for name, (model, video) in WATCHED.items():
            camera = CameraName(f"{name}-camera")
            pipeline = pipelines[name] = Pipeline(
                PipelineName(name), [camera], in_flight=2, capture=capture, events=FakeEvents(),
                sinks=[lambda result, name=name: taken(name, result)],
                heartbeat=Heartbeats(monotonic_ns).add(name, 10.0), lossless=[camera],
            )  # fmt: skip
            pipeline.start()
            worker = WorkerHandle.start(spawner, name=name, load=model.load(shared), candidate=False, timeout_s=60)
            workers.append(worker)
            pipeline.swap(worker, labels=LABELS, score=SCORE)
            capture.open(camera, SourceSpec("file", str(shared / "data/video" / video), "lossless", True), pipeline)
        with seen:
            assert seen.wait_for(lambda: all(len(found) >= ENOUGH for found in results.values()), 60)
        for name, (model, _) in WATCHED.items():
            assert {result.release.model for result in results[name]} == {model.spec.release.model}
            assert [r.frame.sequence for r in results[name][:ENOUGH]] == list(range(ENOUGH))
            assert {result.frame.camera for result in results[name]} == {f"{name}-camera"}
        capture.close_camera(CameraName("door-camera"))
        pipelines["door"].stop()
        before = len(results["street"])
        with seen:
            assert seen.wait_for(lambda: len(results["street"]) >= before + ENOUGH, 60)
        assert pipelines["street"].statistics().lost == 0
    finally:
        for pipeline in pipelines.values():
            pipeline.stop()
        capture.close()
        for worker in workers:
            worker.close()
        spawner.close()
