"""The rig with the real deployment part on top: store, journal, trial, probation, and workers that are brought back.

Only the registry's network is left out: :class:`Shelf` takes releases from a folder into the store. Use
:class:`Deployed` as a context manager; what the deployer tells is kept in lists, as the rig does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from agent.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from agent.deploy.deployer import Deployer
from agent.deploy.journal import Journal
from agent.deploy.machine import State
from agent.deploy.optimised import OptimisedCache
from agent.deploy.records import DeploymentStatus, DeploySettings, Outcome, PipelineSettings
from agent.errors import StorageError
from agent.process.messages import Load, Progress, SourceSpec, Surveyed
from agent.registry.store import Store, StoredRelease
from agent.serve.handle import WorkerHandle, Workers
from agent.types import Digest
from tools.bench.models import LABELS, NANODET_M, SCORE, YOLOX_NANO, BenchModel
from tools.bench.rig import PIPELINE, Rig

MODEL = "watch"
"""One line of releases, so that probation compares them: 1.0.0 is YOLOX-Nano, 2.0.0 NanoDet-m."""

FIRST, SECOND = f"{MODEL}:1.0.0", f"{MODEL}:2.0.0"
RUNTIME = "bench"


class Told(NamedTuple):
    """A status of the deployment, and when it was told."""

    at_ns: int
    status: DeploymentStatus


class Shelf:
    """Releases in folders, instead of a registry; the deployer's ``FetchPort``."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def add(self, shared: Path, model: BenchModel, reference: str) -> None:
        """Make a release of one of the shared models."""
        folder = self._folder / reference
        folder.mkdir(parents=True)
        data = (shared / "models" / model.file).read_bytes()
        (folder / "model.onnx").write_bytes(data)
        (folder / "manifest.json").write_text(json.dumps(manifest(model, reference, data)))

    def fetch(
        self, reference: str, *, on_progress: Callable[[Progress], None], cancel: threading.Event
    ) -> tuple[StoredRelease, dict[str, int]]:
        """Take a release into the store. Raises StorageError for one that is not on the shelf."""
        del on_progress, cancel
        folder = self._folder / reference
        if not folder.is_dir():
            raise StorageError(f"{reference} is not on the shelf")
        return self._store.take_in(folder), {}

    def survey(
        self, references: Iterable[str], releases: Iterable[str], *, timeout_s: float, cancel: threading.Event
    ) -> Surveyed:
        """Know of nothing new."""
        del references, releases, timeout_s, cancel
        return Surveyed({}, {})


class TimedWorkers:
    """The real start of workers, with a note of how long each took."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.starts_ms: list[float] = []

    def start(self, *, name: str, load: Load, candidate: bool, timeout_s: float) -> WorkerHandle:
        """See :meth:`agent.serve.handle.WorkerHandle.start`."""
        began_ns = monotonic_ns()
        worker = self._workers.start(name=name, load=load, candidate=candidate, timeout_s=timeout_s)
        self.starts_ms.append((monotonic_ns() - began_ns) / NS_PER_MS)
        return worker


class Deployed:
    """A pipeline whose models are deployed, not merely swapped; ``rig`` has what it answered."""

    def __init__(self, shared: Path, source: SourceSpec, settings: DeploySettings) -> None:
        self.told: list[Told] = []
        self.outcomes: list[Outcome] = []
        self._shared = shared
        self._source = source
        self._settings = settings
        self._ahead_ns = 0
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Deployed:
        with contextlib.ExitStack() as undo:
            root = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="lookout-bench-")))
            self.rig = undo.enter_context(Rig({"plaza": self._source}))
            self._workers = Workers(self.rig.spawner)
            undo.callback(self._workers.close)
            self.workers = TimedWorkers(self._workers)
            journal = Journal(root / "journal.db")
            undo.callback(journal.close)
            store = Store(root / "store")
            shelf = Shelf(store, root / "shelf")
            shelf.add(self._shared, YOLOX_NANO, FIRST)
            shelf.add(self._shared, NANODET_M, SECOND)
            self.deployer = Deployer(
                journal,
                store=store,
                fetch=shelf,
                workers=self.workers,
                settings=self._settings,
                report=self._told,
                boot_id=RUNTIME,
                host=RUNTIME,
                cache=OptimisedCache(root / "cache", runtime=RUNTIME, host=RUNTIME),
                now_ns=lambda: monotonic_ns() + self._ahead_ns,
            )
            self.rig.also = self.deployer
            undo.callback(self.deployer.stop)
            self.deployer.start((PipelineSettings(PIPELINE, score=SCORE),), {PIPELINE: self.rig.pipeline})
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def deploy(self, reference: str, *, until: State, force: bool = False) -> None:
        """Deploy a release and wait until it is on probation or committed."""
        before = len(self.told)
        self.deployer.deploy(PIPELINE, reference, force=force, on_done=self._done)
        self.wait_state(until, before)

    def wait_state(self, state: State, since: int) -> None:
        """Return once a status since position ``since`` of ``told`` says ``state``."""
        self.rig.wait(lambda: self.since(since, state) is not None, f"a deployment to be {state.value}")

    def since(self, position: int, state: State) -> Told | None:
        """Return the first status since ``position`` of ``told`` that says ``state``."""
        return next((one for one in self.told[position:] if one.status.state is state), None)

    def wait_serving(self, reference: str) -> None:
        """Return once the latest result is this release's."""
        version = reference.partition(":")[2]
        self.rig.wait(
            lambda: bool(self.rig.results) and self.rig.results[-1].release.version == version, f"{reference} to serve"
        )

    def kill_current(self) -> tuple[int, int]:
        """SIGKILL the worker that serves; return its pid and when."""
        version = self.rig.results[-1].release.version
        worker = next(one for one in reversed(self._workers.living()) if one.release.version == version)
        at_ns = monotonic_ns()
        os.kill(worker.pid, signal.SIGKILL)
        return worker.pid, at_ns

    def pass_time(self, seconds: float) -> None:
        """Let the deployer believe that this time has passed: deaths of before are forgotten."""
        self._ahead_ns += round(seconds * NS_PER_S)

    def digest_of(self, reference: str) -> Digest:
        """Return the digest of a release that has answered frames."""
        version = reference.partition(":")[2]
        return next(one.release.digest for one in reversed(self.rig.results) if one.release.version == version)

    def _told(self, status: DeploymentStatus) -> None:
        self.told.append(Told(monotonic_ns(), status))
        self.rig.noted()

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.rig.noted()


def manifest(model: BenchModel, reference: str, data: bytes) -> dict[str, Any]:
    """Return the manifest of a release of ``model``, whose one file ``model.onnx`` holds ``data``."""
    name, _, version = reference.partition(":")
    spec = model.spec
    image = spec.input
    entry = {"path": "model.onnx", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return {
        "schema": 1,
        "model": name,
        "version": version,
        "task": spec.task,
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": entry}],
        "input": {
            "name": image.name,
            "shape": image.shape,
            "resize": image.resize,
            "mean": image.mean,
            "std": image.std,
        },
        "decoder": {"kind": spec.decoder.kind, **spec.decoder.params},
        "labels": LABELS,
    }
