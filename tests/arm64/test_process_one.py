"""The agent as process 1 of a container without an init: it must hear SIGTERM, and end in order with all that is its.

To process 1 the kernel gives only those signals that it has a handler for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from agent.supervise.local import ask
from tests.integration.device import LOOKOUT, Device
from tests.integration.processes import until
from tests.patience import patient

INSIDE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a process namespace of its own needs root and unshare (util-linux)")
    made = Device(tmp_path_factory.mktemp("w") / "one", "one")
    made.write()
    return made


def first(unshare: int) -> int | None:
    """The process that is number 1 inside."""
    text = Path(f"/proc/{unshare}/task/{unshare}/children").read_text(encoding="ascii").split()
    return int(text[0]) if text else None


def test_the_agent_as_process_one_is_alive_and_ends_in_order_when_it_is_told_to(device: Device) -> None:
    with device.log.open("ab") as log:
        namespace = subprocess.Popen(
            [*INSIDE, str(LOOKOUT), "run", "-c", str(device.file)],
            cwd=device.folder,
            env=device.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        until(device.socket.exists, 30, device.last_words)
        assert ask(device.socket, "alive", patient(15)) == {"late": []}
        assert device.status().pid == 1
        agent = first(namespace.pid)
        assert agent is not None
        os.kill(agent, signal.SIGTERM)
        assert namespace.wait(patient(30)) == 0, device.last_words()
    finally:
        namespace.kill()
        namespace.wait()
    assert not device.socket.exists()
    device.look_tidy()
