"""A spawner of test children, and how to see whether a process runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.process.child import Child, ChildSpec, Spawner
from agent.process.messages import Hello
from tests.patience import patient

CHILDREN = Path(__file__).parent / "children"

Records = list[tuple[str, Mapping[str, Any]]]


def runs(pid: int) -> bool:
    """Whether the process runs; PID 1 may leave zombies, which do not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether ``condition`` came true in time."""
    deadline = time.monotonic() + patient(timeout_s)
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def python() -> str:
    return sys.executable


@pytest.fixture
def records() -> Records:
    return []


@pytest.fixture
def spawner(records: Records) -> Iterator[Spawner]:
    made = Spawner(lambda child, record: records.append((child, record)))
    yield made
    made.close()


@pytest.fixture
def probe(spawner: Spawner) -> Callable[..., Child]:
    """Start the test child, having read its Hello: ``probe("crash")``."""

    def start(what: str, **spec: Any) -> Child:
        env = {"PYTHONPATH": str(CHILDREN), "PROBE": what}
        child = spawner.start(ChildSpec("probe", "probe_child", env=env, **spec))
        received = child.channel.receive(20)
        assert received is not None
        assert isinstance(received[0], Hello)
        child.hello = received[0]  # type: ignore[attr-defined]  # for the tests alone
        return child

    return start
