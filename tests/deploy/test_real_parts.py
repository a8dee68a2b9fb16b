"""The same promises with the real worker process, pipeline, capture process and store, on tiny real ONNX models."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.capture.handle import CaptureHandle
from agent.deploy.deployer import Deployer
from agent.deploy.journal import Journal
from agent.deploy.machine import State
from agent.deploy.records import DeploymentStatus, DeploySettings, Outcome, PipelineSettings
from agent.loop.pipeline import Pipeline
from agent.process.child import Spawner
from agent.process.messages import SourceSpec
from agent.registry.store import Store
from agent.serve.handle import WorkerHandle, Workers
from agent.types import CameraName, PipelineName, Result
from tests.fakes.deploying import FakeRegistry, make_release
from tests.fakes.models import TINY_LABELS, fragment, nan_model, tiny_detector, tiny_spec
from tests.patience import patient

MAIN, CAM = PipelineName("main"), CameraName("cam")
RED_CELL = [8.0, 8.0, 16.0, 16.0]


class Quiet:
    """A heartbeat that nobody looks at."""

    def progress(self) -> None: ...

    def waiting(self, bound_s: float) -> None: ...


def picture() -> np.ndarray:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[8:16, 8:16] = (0, 0, 255)
    return frame


class Real:
    """A device of real parts; only the registry's network is left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = FakeRegistry(Store(root / "store"))
        self.changed = threading.Condition()
        self.results: list[Result] = []
        self.last: DeploymentStatus | None = None
        self.outcomes: list[Outcome] = []
        self.spawner = Spawner(lambda name, line: None)
        self.workers = Workers(self.spawner)
        self.capture = CaptureHandle(self.spawner)
        self.journal = Journal(root / "journal.db")
        self.deployer = Deployer(
            self.journal,
            store=self.registry.store,
            fetch=self.registry,
            workers=self.workers,
            settings=DeploySettings(
                probation_frames=20,
                probation_s=0.2,
                load_timeout_s=patient(60),
                golden_timeout_s=patient(30),
            ),
            report=self._report,
            boot_id="boot",
            host="test",
        )
        self.pipeline = Pipeline(
            MAIN,
            (CAM,),
            in_flight=2,
            capture=self.capture,
            events=self.deployer,
            sinks=(self._result,),
            heartbeat=Quiet(),
        )

    def start(self) -> None:
        folder = self.root / "frames"
        folder.mkdir()
        cv2.imwrite(str(folder / "1.png"), picture())
        self.capture.start()
        self.pipeline.start()
        self.deployer.start((PipelineSettings(MAIN),), {MAIN: self.pipeline})
        self.capture.open(CAM, SourceSpec("images", str(folder), loop=True, fps=100.0), self.pipeline)

    def close(self) -> None:
        self.deployer.stop()
        self.pipeline.stop()
        self.capture.close()
        self.workers.close()
        self.spawner.close()
        self.journal.close()

    def publish(self, version: str, write: Callable[..., Any] = tiny_detector, box: Any = None) -> None:
        model = write(self.root / f"{version}.onnx").read_bytes()
        image = cv2.imencode(".png", picture())[1].tobytes()
        entry = {"path": "model.onnx", "sha256": hashlib.sha256(model).hexdigest(), "size": len(model)}
        golden = {"path": "golden/1.png", "sha256": hashlib.sha256(image).hexdigest(), "size": len(image)}
        seen = [{"label": "red", "score": 1.0, "box": box or RED_CELL}]
        manifest, _ = make_release(
            version,
            labels=list(TINY_LABELS),
            variants=[{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": entry}],
            golden=[{"image": golden, "detections": seen}],
            **fragment(tiny_spec()),
        )
        self.registry._remember(manifest, {entry["sha256"]: model, golden["sha256"]: image})

    def deploy(self, version: str) -> Outcome:
        before = len(self.outcomes)
        self.deployer.deploy(MAIN, f"faces:{version}", on_done=self._done)
        self.wait(lambda: len(self.outcomes) > before, version)
        return self.outcomes[-1]

    def serving(self) -> WorkerHandle:
        current = self.pipeline.statistics().current
        return next(worker for worker in self.workers.living() if worker.release == current)

    def wait(self, met: Callable[[], object], what: str = "", timeout_s: float = 20.0) -> None:
        with self.changed:
            assert self.changed.wait_for(met, patient(timeout_s)), f"{what}: {self.last}"

    def _report(self, status: DeploymentStatus) -> None:
        with self.changed:
            self.last = status
            self.changed.notify_all()

    def _done(self, outcome: Outcome) -> None:
        with self.changed:
            self.outcomes.append(outcome)
            self.changed.notify_all()

    def _result(self, result: Result) -> None:
        with self.changed:
            self.results.append(result)
            self.changed.notify_all()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    device = Real(tmp_path)
    try:
        device.start()
        yield device
    finally:
        device.close()


def test_deploy_swap_refuse_and_come_back_from_a_kill_with_real_processes(real: Real) -> None:
    real.publish("1.0.0")
    assert real.deploy("1.0.0").ok
    detection = real.results[-1].detections
    assert detection is not None
    assert detection[0].label == "red"

    real.publish("1.1.0")
    receipt = real.deploy("1.1.0").receipt
    assert receipt is not None
    assert receipt.lost == 0
    assert receipt.latency_ms.before is not None
    assert receipt.latency_ms.after is not None
    assert (receipt.memory_mb.after or 0) > 10

    real.publish("1.2.0", nan_model)
    outcome = real.deploy("1.2.0")
    assert (outcome.state, outcome.ok) == (State.FAILED, False)
    assert "finite" in (outcome.reason or ""), outcome.reason
    real.publish("1.3.0", box=[30.0, 30.0, 50.0, 50.0])
    assert "golden/1.png: expected red 1.00 at [30, 30, 50, 50]" in (real.deploy("1.3.0").reason or "")

    victim = real.serving()
    assert victim.release.version == "1.1.0"
    os.kill(victim.pid, signal.SIGKILL)
    real.wait(lambda: real.last is not None and "SIGKILL" in (real.last.degraded or ""), "the death is told")
    real.wait(lambda: real.last is not None and real.last.degraded is None, "the model is restored")
    seen = len(real.results)
    real.wait(lambda: len(real.results) > seen + 5, "frames go on")
    assert real.results[-1].release.version == "1.1.0"
    assert real.last is not None
    assert real.last.state is State.FAILED

    sequences = [result.frame.sequence for result in real.results]
    assert sequences == sorted(set(sequences)), "in order, each once"
    assert len(real.workers.living()) == 1, "nothing is left behind"


def test_a_committed_worker_that_grew_over_its_bound_is_killed_and_brought_back(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.publish("1.0.0")
    assert real.deploy("1.0.0").ok
    first = real.serving()
    with monkeypatch.context() as patched:  # every worker has grown too much for a moment
        patched.setattr("agent.deploy.guard.serving_bound", lambda *_: (1, "this test"))
        patched.setattr("agent.deploy.guard.GROWTH", 0.5)
        real.wait(lambda: real.last is not None and "memory grew" in (real.last.degraded or ""), "the death is told")
    real.wait(lambda: real.last is not None and real.last.degraded is None, "the model is restored")
    assert real.serving().pid != first.pid
    seen = len(real.results)
    real.wait(lambda: len(real.results) > seen + 5, "frames go on")
    assert real.pipeline.statistics().lost == 0
