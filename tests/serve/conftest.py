"""Workers as real processes, with tiny real models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.process.child import Spawner
from agent.process.messages import Load
from agent.serve.handle import WorkerHandle
from agent.types import ModelSpec, RunOptions
from tests.fakes.models import tiny_spec
from tests.patience import patient


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawner]:
    spawner = Spawner(lambda child, line: None)
    yield spawner
    spawner.close()


def load_of(path: Path, spec: ModelSpec | None = None, **changes) -> Load:
    arguments = {
        "spec": spec or tiny_spec(),
        "path": str(path),
        "providers": ("CPUExecutionProvider",),
        "options": RunOptions(1),
        "score_floor": 0.1,
    }
    return Load(**{**arguments, **changes})


@pytest.fixture
def start(spawner: Spawner) -> Iterator[Callable[..., WorkerHandle]]:
    """Start a worker: ``start(path, spec)``; closed in the end."""
    workers: list[WorkerHandle] = []

    def start(
        path: Path, spec: ModelSpec | None = None, *, candidate: bool = False, timeout_s: float | None = None, **changes
    ):
        worker = WorkerHandle.start(
            spawner,
            name=f"worker-{len(workers) + 1}",
            load=load_of(path, spec, **changes),
            candidate=candidate,
            timeout_s=patient(30) if timeout_s is None else timeout_s,
        )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.close()
