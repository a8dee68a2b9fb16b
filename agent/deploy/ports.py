"""What the deployment part needs of others, as small as it is used. ``app`` wires the real ones.

Real: ``serve.handle.WorkerHandle``, ``loop.pipeline.Pipeline``, ``registry.client.FetchClient``,
``registry.store.Store``, ``supervise.heartbeat.Heartbeat``. Tests put fakes behind the same shapes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, Protocol

from agent.loop.records import PipelineStatistics
from agent.process.messages import Load, Output, Progress, Ready
from agent.registry.store import StoredRelease
from agent.types import Digest, ReleaseId


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

    def swap_back(self, reason: str) -> None:
        """Make the warm previous current at once; without one nothing happens."""
        ...

    def drop_previous(self) -> None:
        """Retire the warm previous, if there is one."""
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

    def collect(self, keep: Set[Digest]) -> Any:
        """Remove every release but those in ``keep``."""
        ...


class Beat(Protocol):
    """The control thread's sign of life."""

    def progress(self) -> None:
        """Say that a turn of the loop was made."""
        ...
