"""A device of real parts on which a good model serves; only the registry's network is left out."""

from __future__ import annotations

import dataclasses
import hashlib
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
from agent.deploy.optimised import OptimisedCache
from agent.deploy.records import DeploymentStatus, DeploySettings, Outcome, PipelineSettings
from agent.inspect.client import InspectClient
from agent.loop.pipeline import Pipeline
from agent.process.child import Child, ChildSpec, Spawner
from agent.process.messages import SourceSpec
from agent.registry.store import Store
from agent.serve.handle import MODULE, Workers
from agent.types import CameraName, PipelineName, Result
from tests.conftest import ROOT
from tests.fakes.deploying import FakeRegistry, make_release
from tests.fakes.models import TINY_LABELS, fragment, tiny_detector, tiny_spec
from tests.zoo.animals import Animal

MAIN, CAM = PipelineName("main"), CameraName("cam")
RED_BOX = [8.0, 8.0, 16.0, 16.0]
GOOD = "1.0.0"
SETTINGS = DeploySettings(
    probation_frames=30,
    probation_s=0.0,
    load_timeout_s=8.0,
    golden_timeout_s=3.0,
    trial_memory_mb=500,
    rate_baseline_frames=50,
)


class Quiet:
    """A heartbeat that nobody looks at."""

    def progress(self) -> None: ...

    def waiting(self, bound_s: float) -> None: ...


class ZooSpawner(Spawner):
    """Starts another module than the worker's while the test says so."""

    module: str | None = None

    def start(self, spec: ChildSpec) -> Child:
        if self.module is not None and spec.module == MODULE:
            env = {**spec.env, "PYTHONPATH": str(ROOT)}
            spec = dataclasses.replace(spec, module=self.module, env=env)
        return super().start(spec)


class Park:
    """The device. Statuses and results are kept, so that a test can say what happened meanwhile."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = FakeRegistry(Store(root / "store"))
        self.changed = threading.Condition()
        self.results: list[Result] = []
        self.statuses: list[DeploymentStatus] = []
        self.outcomes: list[Outcome] = []
        self.spawner = ZooSpawner(lambda name, line: None)
        self.workers = Workers(self.spawner)
        self.capture = CaptureHandle(self.spawner)
        self.journal = Journal(root / "journal.db")
        self.deployer = Deployer(
            self.journal,
            store=self.registry.store,
            fetch=self.registry,
            workers=self.workers,
            settings=SETTINGS,
            report=self._report,
            boot_id="boot",
            host="zoo",
            inspect=InspectClient(self.spawner),
            cache=OptimisedCache(root / "cache", runtime="here", host="zoo"),
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
        self.capture.open(CAM, SourceSpec("images", str(folder), loop=True, fps=60.0), self.pipeline)

    def close(self) -> None:
        self.deployer.stop()
        self.pipeline.stop()
        self.capture.close()
        self.workers.close()
        self.spawner.close()
        self.journal.close()

    # --- releases ----------------------------------------------------------------------------------------------------

    def publish(self, version: str, model: bytes, *, golden: bool = True, **changes: Any) -> None:
        changes = dict(changes)
        providers = changes.pop("providers", ["CPUExecutionProvider"])
        box = changes.pop("golden_box", RED_BOX)
        blobs: dict[str, bytes] = {}

        def entry(path: str, data: bytes) -> dict[str, Any]:
            digest = hashlib.sha256(data).hexdigest()
            blobs[digest] = data
            return {"path": path, "sha256": digest, "size": len(data)}

        seen = [{"label": "red", "score": 1.0, "box": box}]
        images = [(entry("golden/1.png", png(picture())), seen), (entry("golden/2.png", png(picture() * 0)), [])]
        manifest, _ = make_release(
            version,
            **{
                **fragment(tiny_spec()),
                "labels": list(TINY_LABELS),
                "variants": [
                    {"providers": providers, "precision": "fp32", "file": entry("model.onnx", model)},
                ],
                "golden": [{"image": image, "detections": what} for image, what in images] if golden else [],
                **changes,
            },
        )
        self.registry._remember(manifest, blobs)

    def publish_animal(self, version: str, animal: Animal) -> None:
        folder = self.root / version
        folder.mkdir()
        self.publish(version, animal.make(folder), golden=animal.golden, **animal.manifest)

    # --- what happens ------------------------------------------------------------------------------------------------

    def deploy(self, version: str, module: str | None = None) -> Outcome:
        """Deploy and return how it ended."""
        before = len(self.outcomes)
        self.spawner.module = module
        try:
            self.deployer.deploy(MAIN, f"faces:{version}", on_done=self._done)
            self.wait(lambda: len(self.outcomes) > before, f"the end of {version}")
        finally:
            self.spawner.module = None
        return self.outcomes[before]

    def wait_rest(self) -> None:
        """Return once the good model serves, answers frames, and no other worker is left."""
        self.wait(lambda: self.last.serving is not None and self.last.serving.version == GOOD, f"{GOOD} serves")
        since = len(self.results)
        self.wait(lambda: len(self.results) > since + 5, "frames go on")
        assert self.results[-1].release.version == GOOD
        assert self.last.degraded is None

    @property
    def last(self) -> DeploymentStatus:
        return self.statuses[-1]

    def wait(self, met: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        with self.changed:
            assert self.changed.wait_for(met, timeout_s), f"{what}: {self.statuses[-3:]}"

    def _report(self, status: DeploymentStatus) -> None:
        with self.changed:
            self.statuses.append(status)
            self.changed.notify_all()

    def _done(self, outcome: Outcome) -> None:
        with self.changed:
            self.outcomes.append(outcome)
            self.changed.notify_all()

    def _result(self, result: Result) -> None:
        with self.changed:
            self.results.append(result)
            self.changed.notify_all()


def picture() -> np.ndarray:
    """Black, with one red cell."""
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[8:16, 8:16] = (0, 0, 255)
    return frame


def png(frame: np.ndarray) -> bytes:
    return cv2.imencode(".png", frame)[1].tobytes()


@pytest.fixture(scope="module")
def park(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Park]:
    """The device, with the good model committed and a baseline of frames answered."""
    made = Park(tmp_path_factory.mktemp("park"))
    try:
        made.start()
        made.publish(GOOD, tiny_detector(made.root / "good.onnx").read_bytes())
        outcome = made.deploy(GOOD)
        assert outcome.ok, outcome
        yield made
    finally:
        made.close()
