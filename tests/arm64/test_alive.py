"""The health check of a container: cheap, and right about an agent that hangs, is gone, or is merely degraded."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.supervise import alive
from agent.supervise.local import LocalServer
from tests.conftest import ROOT
from tests.patience import patient


@pytest.fixture
def late() -> list[str]:
    """What the agent says that hangs."""
    return []


@pytest.fixture
def socket(tmp_path_factory: pytest.TempPathFactory, late: list[str]) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("a") / "agent.sock"
    server = LocalServer(path, {"alive": lambda: {"late": late}})
    server.start()
    yield path
    server.stop()


def check(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing but Python's own library in reach."""
    command = [sys.executable, "-S", "-m", "agent.supervise.alive", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=patient(30), check=False)


def test_an_agent_that_makes_progress_is_healthy_and_the_check_needs_no_library(socket: Path) -> None:
    done = check(socket)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_socket_is_found_where_the_image_has_it(socket: Path) -> None:
    assert check(RUNTIME_DIRECTORY=str(socket.parent)).returncode == 0


def test_an_agent_with_a_hanging_loop_is_unhealthy_and_the_loop_is_named(socket: Path, late: list[str]) -> None:
    late += ["pipeline-main", "capture"]
    done = check(socket)
    assert (done.returncode, done.stderr) == (1, "hangs: pipeline-main, capture\n")


def test_no_agent_is_unhealthy(tmp_path: Path) -> None:
    done = check(tmp_path / "agent.sock")
    assert done.returncode == 1
    assert "no agent answers" in done.stderr


def test_an_agent_that_does_not_answer_in_time_is_unhealthy(tmp_path_factory: pytest.TempPathFactory) -> None:
    path, go = tmp_path_factory.mktemp("a") / "agent.sock", threading.Event()
    server = LocalServer(path, {"alive": lambda: go.wait(patient(30))})
    server.start()
    try:
        assert "no agent answers" in (alive.check(str(path), timeout_s=0.2) or "")
    finally:
        go.set()
        server.stop()


def test_something_else_at_the_socket_is_no_agent(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("a") / "agent.sock"
    server = LocalServer(path, {})
    server.start()
    try:
        assert "is no agent" in (alive.check(str(path)) or "")
    finally:
        server.stop()
