"""Fakes behind the ports of ``agent.deploy``: workers, a pipeline and a registry in memory; the store is a real one.

What a model does is decided by its version's :class:`Behaviour`: it loads or not, sees what it was told, dies, hangs.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.deploy.deployer import Deployer
from agent.errors import ChildDied, ChildHung, LookoutError, OutputError
from agent.loop.records import LatencySummary, PipelineStatistics, ServedSample, SwapSeen
from agent.process.messages import Load, Output, Progress, Ready, Resolved, Surveyed
from agent.registry.manifest import load_manifest, release_digest
from agent.registry.store import Store, StoredRelease
from agent.types import PipelineName, ReleaseId, Timings

BOX = (10.0, 10.0, 50.0, 50.0)


@dataclass
class Behaviour:
    """What one release does when it is loaded and run."""

    load_error: LookoutError | None = None
    load_errors: int = 1_000_000
    """How many loads fail before one succeeds."""
    load_gate: threading.Event | None = None
    """A load blocks until it is set."""
    infer_error: LookoutError | None = None
    hang: threading.Event | None = None
    """``infer_file`` blocks until it is set, or the worker is killed."""
    seen: tuple[tuple[float, ...], ...] = ((*BOX, 0.9, 0.0),)
    run_ms: float = 5.0
    memory_mb: float = 100.0
    dies_after_trial: bool = False


class FakeWorker:
    """A worker that answers as its behaviour says."""

    def __init__(self, name: str, load: Load, behaviour: Behaviour, *, candidate: bool) -> None:
        self.name = name
        self.release = load.spec.release
        self.load = load
        self.behaviour = behaviour
        self.candidate = candidate
        self.promoted = False
        self.closed = threading.Event()
        self.killed: str | None = None
        self._kill = threading.Event()
        self.ready = Ready(load.providers, (), (), load_ms=20.0, first_run_ms=8.0)
        self.looked_at: list[Path] = []

    @property
    def alive(self) -> bool:
        return not (self.closed.is_set() or self._kill.is_set() or self.behaviour.dies_after_trial)

    def infer_file(self, path: Path, timeout_s: float) -> Output:
        self.looked_at.append(path)
        if self.behaviour.hang is not None:
            while not (self.behaviour.hang.is_set() or self._kill.is_set()):
                if not self.behaviour.hang.wait(min(0.02, timeout_s)):
                    timeout_s -= 0.02
                    if timeout_s <= 0:
                        raise ChildHung(f"{self.name}: no answer in time")
        if self._kill.is_set():
            raise ChildDied(f"{self.name}: {self.killed}")
        if self.behaviour.infer_error is not None:
            raise self.behaviour.infer_error
        rows = np.array(self.behaviour.seen, dtype=np.float32).reshape(-1, 6).tobytes()
        timings = Timings(wait_ms=1.0, preprocess_ms=0.0, run_ms=self.behaviour.run_ms, postprocess_ms=0.0)
        return Output(1, "trial", 100, 100, timings, detections=rows)

    def promote(self) -> None:
        self.promoted = True

    def kill(self, reason: str) -> None:
        self.killed = reason
        self._kill.set()

    def memory_bytes(self) -> int:
        return int(self.behaviour.memory_mb * 1e6)

    def resident_bytes(self) -> int:
        return int(self.behaviour.memory_mb * 1.2e6)

    def close(self) -> None:
        self.closed.set()


class FakeFactory:
    """Starts fake workers; ``behaviours`` by version."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.started: list[FakeWorker] = []

    def start(self, *, name: str, load: Load, candidate: bool, timeout_s: float) -> FakeWorker:
        behaviour = self.behaviours.setdefault(load.spec.release.version, Behaviour())
        if behaviour.load_gate is not None:
            behaviour.load_gate.wait(10)
        if behaviour.load_error is not None and behaviour.load_errors > 0:
            behaviour.load_errors -= 1
            raise behaviour.load_error
        worker = FakeWorker(name, load, behaviour, candidate=candidate)
        self.started.append(worker)
        return worker

    def open(self) -> list[FakeWorker]:
        """Workers that nobody has closed or killed."""
        return [worker for worker in self.started if not worker.closed.is_set() and worker.killed is None]


class FakePipeline:
    """Keeps current and previous as the real one does, and tells events when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = PipelineName(name)
        self.events: Deployer | None = None
        self.current: FakeWorker | None = None
        self.previous: FakeWorker | None = None
        self.shadowed: FakeWorker | None = None
        self.log: list[str] = []
        self.frames = 0
        self.p95_ms = 5.0
        self.rate = 1.0
        self.changed = threading.Condition()
        self.reported: dict[str, dict[str, Any]] = {}
        """Worker → how its answers are reported."""

    # --- orders

    def swap(self, worker: FakeWorker, *, p95_ms: float | None, **reporting: Any) -> None:
        with self.changed:
            self.reported[worker.name] = reporting
            retired = self.previous if self.current is not None else None
            self.previous = self.current or self.previous
            self.current, self.frames, self.shadowed = worker, 0, None
            self._note(f"swap {worker.release.version}")
        self._retire(retired)

    def report(self, worker: FakeWorker, **reporting: Any) -> None:
        with self.changed:
            self.reported[worker.name] = reporting
            self.changed.notify_all()

    def swap_back(self, reason: str) -> None:
        with self.changed:
            if self.previous is None:
                self._note("swap_back nothing")
                return
            retired, self.current, self.previous, self.frames = self.current, self.previous, None, 0
            self._note(f"swap_back {self.current.release.version}")
        self._retire(retired)

    def drop_previous(self) -> None:
        with self.changed:
            retired, self.previous = self.previous, None
        self._retire(retired)

    def take_out(self, reason: str) -> None:
        with self.changed:
            gone = [worker for worker in (self.previous, self.current) if worker is not None]
            self.current = self.previous = None
            self._note("take_out")
        for worker in gone:
            self._retire(worker)

    def shadow(self, worker: FakeWorker, *, p95_ms: float | None, max_slowdown: float) -> None:
        with self.changed:
            self.shadowed = worker
            self._note(f"shadow {worker.release.version}")

    def end_shadow(self) -> None:
        with self.changed:
            worker, self.shadowed = self.shadowed, None
            self._note("end_shadow")
        self._retire(worker)

    def watch(self, frames: int) -> None:
        pass

    def dismiss(self) -> None:
        """Hand every worker back: the pipeline was removed."""
        held = [self.current, self.previous, self.shadowed]
        self.current = self.previous = self.shadowed = None
        for worker in held:
            self._retire(worker)

    def statistics(self) -> PipelineStatistics:
        return PipelineStatistics(
            pipeline=self.name, captured=0, answered=0, failed=0, lost=0, skipped=0, gated=0, in_flight=0, resent=0,
            swaps=0, workers_lost=0, fps=0.0, cameras={}, stages={}, current=None, previous=None,
            serving=None if self.current is None else self._sample(),
        )  # fmt: skip

    # --- what the test makes happen

    def answer(self, frames: int, *, seconds: float = 60.0) -> None:
        """Let current answer ``frames`` more frames."""
        assert self.current is not None
        assert self.events is not None
        first = self.frames == 0
        self.frames += frames
        if first:
            old = self.previous.release if self.previous is not None else None
            seen = SwapSeen("swap", old, self.current.release, gap_ms=0.4, lost=0, skipped=0)
            self.events.swapped(self.name, seen)
        self.events.served(self.name, self._sample(seconds))

    def die(self, reason: str = "killed by SIGSEGV") -> None:
        """Let current's worker die; the warm previous takes over."""
        assert self.current is not None
        assert self.events is not None
        with self.changed:
            dead, self.current, self.previous = self.current, self.previous, None
            dead.kill(reason)
            fell_back = self.current is not None
            self._note(f"died {dead.release.version}")
        self.events.worker_lost(self.name, dead.release, reason, fell_back)
        self.events.retired(self.name, dead)

    def previous_dies(self) -> None:
        """Let the warm previous die: told only by handing it back."""
        assert self.previous is not None
        dead, self.previous = self.previous, None
        dead.kill("killed by SIGKILL")
        self._retire(dead)

    def bad_output(self, reason: str = "output 0 is not finite") -> None:
        assert self.current is not None
        assert self.events is not None
        self.events.bad_output(self.name, self.current.release, reason)

    def serving(self) -> str | None:
        """The version that serves."""
        return self.current.release.version if self.current is not None else None

    def wait_serving(self, version: str, timeout_s: float = 20.0) -> None:
        """Return once ``version`` serves."""
        with self.changed:
            ok = self.changed.wait_for(lambda: self.serving() == version, timeout_s)
        assert ok, f"{version} does not serve after {timeout_s} s, {self.serving()} does: {self.log}"

    def _sample(self, seconds: float = 60.0) -> ServedSample:
        assert self.current is not None
        summary = LatencySummary(self.frames, self.p95_ms, self.p95_ms, self.p95_ms, self.p95_ms)
        return ServedSample(self.current.release, self.frames, seconds, summary, self.rate)

    def _retire(self, worker: FakeWorker | None) -> None:
        if worker is not None and self.events is not None:
            self.events.retired(self.name, worker)

    def _note(self, line: str) -> None:
        self.log.append(line)
        self.changed.notify_all()


@dataclass
class FakeRegistry:
    """Resolves ``name:version`` to releases that the test published, into a real store."""

    store: Store
    published: dict[str, StoredRelease] = field(default_factory=dict)
    errors: dict[str, LookoutError] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=lambda: {"timestamp": 1})
    gate: threading.Event | None = None
    """A fetch blocks until it is set, or it is cancelled."""
    fetching: threading.Event = field(default_factory=threading.Event)
    fetched: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    means: dict[str, str] = field(default_factory=dict)
    """Channel or range → ``name:version``."""
    yanked: dict[str, str] = field(default_factory=dict)
    surveyed: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def publish(self, version: str, *, model: str = "faces", **changes: Any) -> StoredRelease:
        """Make a release; it goes into the store when it is fetched."""
        return self._remember(*make_release(version, model=model, **changes))

    def _remember(self, manifest: bytes, blobs: dict[str, bytes]) -> StoredRelease:
        parsed = load_manifest(manifest)
        digest = release_digest(manifest)
        identity = ReleaseId(parsed.model, parsed.version, digest)  # type: ignore[arg-type]
        stored = StoredRelease(identity, parsed, self.store.blobs)
        self.published[f"{parsed.model}:{parsed.version}"] = stored
        self._bytes = {**getattr(self, "_bytes", {}), digest: (manifest, blobs)}
        return stored

    def deliver(self, reference: str) -> StoredRelease:
        """Put a published release into the store."""
        stored = self.published[reference]
        manifest, blobs = self._bytes[stored.id.digest]
        self.store.make_folders()
        for name, data in blobs.items():
            blob = self.store.blobs / name
            if not blob.exists() or blob.read_bytes() != data:  # a file in use is never truncated
                blob.write_bytes(data)
        self.store.add_manifest(manifest)
        return stored

    def fetch(
        self, reference: str, *, on_progress: Callable[[Progress], None], cancel: threading.Event
    ) -> tuple[StoredRelease, dict[str, int]]:
        self.fetched.append(reference)
        self.fetching.set()
        on_progress(Progress("resolving"))
        while self.gate is not None and not self.gate.wait(0.01):
            if cancel.is_set():
                self.cancelled.set()
                raise LookoutError("cancelled")
        if reference in self.errors:
            raise self.errors[reference]
        on_progress(Progress("fetching", 1, 2))
        return self.deliver(self.means.get(reference, reference)), dict(self.versions)

    def survey(
        self, references: Iterable[str], releases: Iterable[str], *, timeout_s: float, cancel: threading.Event
    ) -> Surveyed:
        self.surveyed.append((tuple(references), tuple(releases)))
        if "survey" in self.errors:
            raise self.errors["survey"]
        resolved = {}
        for reference in self.surveyed[-1][0]:
            found = self.published.get(self.means.get(reference, ""))
            resolved[reference] = (
                Resolved(problem="it means nothing") if found is None else Resolved(found.id.version, found.id.digest)
            )
        return Surveyed(resolved, {one: why for one, why in self.yanked.items() if one in self.surveyed[-1][1]})


def make_release(version: str, *, model: str = "faces", **changes: Any) -> tuple[bytes, dict[str, bytes]]:
    """Return a manifest's bytes and its blobs by digest."""
    model_bytes, image = f"{model} {version}".encode(), b"a picture"
    entry = {"path": "model.onnx", "sha256": _sha(model_bytes), "size": len(model_bytes)}
    manifest: dict[str, Any] = {
        "schema": 1,
        "model": model,
        "version": version,
        "task": "detect",
        "variants": [{"providers": ["CPUExecutionProvider"], "precision": "fp32", "file": entry}],
        "input": {"name": "images", "shape": [1, 3, 64, 64]},
        "decoder": {"kind": "yolox", "strides": [8]},
        "labels": ["face", "cat"],
        "golden": [
            {
                "image": {"path": "golden/1.jpg", "sha256": _sha(image), "size": len(image)},
                "detections": [{"label": "face", "score": 0.9, "box": list(BOX)}],
            }
        ],
        **changes,
    }
    return json.dumps(manifest).encode(), {_sha(model_bytes): model_bytes, _sha(image): image}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def not_finite() -> OutputError:
    """What a worker says of a model that answers NaN."""
    return OutputError("output 0 is not finite")
