"""Nothing is left behind however the agent ends: no process, nothing in /dev/shm."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from .conftest import CHILDREN, eventually, runs


def start(python: str, how: str) -> tuple[subprocess.Popen[str], list[int]]:
    parent = subprocess.Popen([python, str(CHILDREN / "parent.py"), how], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    return parent, pids


@pytest.mark.parametrize("how", ["end", "kill the agent", "kill all", "kill the agent while its children are stopped"])
def test_no_child_and_no_memory_outlives_the_agent(how, python):
    shm = set(Path("/dev/shm").iterdir())
    parent, pids = start(python, how)
    if how.endswith("stopped"):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    if how != "end":
        parent.kill()
    if how == "kill all":
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    parent.wait(10)
    parent.stdout.close()
    assert eventually(lambda: not any(runs(pid) for pid in pids), 5)
    assert set(Path("/dev/shm").iterdir()) == shm


def test_a_child_whose_agent_is_gone_already_ends_at_once(python):
    ran = subprocess.run(
        [python, "-m", "agent.capture.main", "--channel-fd", "0", "--parent-pid", "1"], timeout=20, check=False
    )
    assert ran.returncode == 0
