"""What the deployment part needs of others, as small as it is used. ``app`` wires the real ones.

Real: ``serve.handle.WorkerHandle``, ``loop.pipeline.Pipeline``, ``registry.client.FetchClient``,
``registry.store.Store``, ``inspect.client.InspectClient``, ``serve.tuner.TuneClient``,
``supervise.heartbeat.Heartbeat``.
Tests put fakes behind the same shapes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Set
from pathlib import Path
from typing import Any, Protocol

from agent.loop.records import PipelineStatistics
from agent.process.messages import Inspected, Load, Output, Progress, Ready, Surveyed
from agent.registry.store import StoredRelease
from agent.types import Digest, ReleaseId, RunCost, RunOptions


class WorkerPort(Protocol):
    """A loaded release in its process."""

    @property
    def release(self) -> ReleaseId:
        """The release that it runs."""
        ...

    @property
    def ready(self) -> Ready:
        """What it reported when it was loaded and warm."""
        ...

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        ...

    def infer_file(self, path: Path, timeout_s: float) -> Output:
        """Answer a picture; blocks. Raises LookoutError: ChildDied, ChildHung, OutputError, ModelError."""
        ...

    def promote(self) -> None:
        """Lift its priority to that of a serving worker."""
        ...

    def kill(self, reason: str) -> None:
        """End it at once; a blocked call on it raises."""
        ...

    def memory_bytes(self) -> int:
        """Return its PSS."""
        ...

    def resident_bytes(self) -> int:
        """Return its RSS, which its PSS never exceeds and which costs nothing to ask for."""
        ...

    def close(self) -> None:
        """End it in order; may block for seconds."""
        ...


class WorkerFactory(Protocol):
    """Starts workers."""

    def start(self, *, name: str, load: Load, candidate: bool, timeout_s: float) -> WorkerPort:
        """Start a worker and wait until it is warm. Raises ChildDied, ChildHung, ModelError."""
        ...


class PipelinePort(Protocol):
    """A pipeline's orders; all of them only post, and their effect is told by PipelineEvents."""

    # The worker is Any: a pipeline needs other methods of it (frames, rings) than deployment does.
    def swap(
        self, worker: Any, *, labels: tuple[str, ...], score: float, only: tuple[str, ...] | None, p95_ms: float | None
    ) -> None:
        """Between two frames: ``worker`` is current, who was is previous (warm), who was previous is retired."""
        ...

    def report(self, worker: Any, *, labels: tuple[str, ...], score: float, only: tuple[str, ...] | None) -> None:
        """Report what ``worker`` answers in another way from now on."""
        ...

    def swap_back(self, reason: str) -> None:
        """Make the warm previous current at once; without one nothing happens."""
        ...

    def drop_previous(self) -> None:
        """Retire the warm previous, if there is one."""
        ...

    def take_out(self, reason: str) -> None:
        """Retire current (and a warm previous) once it has answered what it has; nobody serves until a swap."""
        ...

    def shadow(self, worker: Any, *, p95_ms: float | None, max_slowdown: float) -> None:
        """Show ``worker`` frames beside current, at the cost of at most that share of current's rate."""
        ...

    def end_shadow(self) -> None:
        """Retire the worker in the shadow, if there is one; a swap to it ends the shadow, too."""
        ...

    def watch(self, frames: int) -> None:
        """Tell ``served`` every few results until current has answered ``frames`` more."""
        ...

    def statistics(self) -> PipelineStatistics:
        """Return a snapshot; any thread."""
        ...


class FetchPort(Protocol):
    """Brings releases into the store."""

    def fetch(
        self, reference: str, *, on_progress: Callable[[Progress], None], cancel: threading.Event
    ) -> tuple[StoredRelease, dict[str, int]]:
        """Resolve and fetch; blocks until done, failed or cancelled. Returns the metadata versions too."""
        ...

    def survey(
        self, references: Iterable[str], releases: Iterable[str], *, timeout_s: float, cancel: threading.Event
    ) -> Surveyed:
        """Say what references mean now and which releases (``model:version``) were yanked; blocks."""
        ...


class InspectPort(Protocol):
    """Looks at a model file before any worker loads it."""

    def inspect(
        self, path: Path, *, name: str, providers: tuple[str, ...], memory_bytes: int, cancel: threading.Event
    ) -> Inspected:
        """Inspect; blocks. Raises ModelError with the reason in words, ChildDied, ChildHung."""
        ...


class TunePort(Protocol):
    """Measures what a model costs under different options."""

    def measure(
        self,
        load: Load,
        picture: Path,
        options: tuple[RunOptions, ...],
        *,
        seconds_each: float,
        then: Callable[[tuple[RunCost, ...]], tuple[RunOptions, ...]],
        cancel: threading.Event,
    ) -> tuple[RunCost, ...]:
        """Measure ``options``, and what ``then`` asks for having seen those; blocks. Raises LookoutError."""
        ...


class StorePort(Protocol):
    """The device's copy of releases."""

    def release(self, digest: Digest) -> StoredRelease | None:
        """Return a release that is whole, else None."""
        ...

    def releases(self) -> tuple[StoredRelease, ...]:
        """Return every whole release."""
        ...

    def verify(self, digest: Digest) -> StoredRelease:
        """Read every file again and compare it with what was signed. Raises DigestMismatch, StorageError."""
        ...

    def take_in(self, folder: Path) -> StoredRelease:
        """Copy a factory release into the store and verify it. Raises LookoutError."""
        ...

    def collect(self, keep: Set[Digest]) -> Any:
        """Remove every release but those in ``keep``."""
        ...


class Beat(Protocol):
    """The control thread's sign of life."""

    def progress(self) -> None:
        """Say that a turn of the loop was made."""
        ...
