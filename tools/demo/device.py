"""The demo's device: its configuration, and the agent as a real ``lookout run`` process.

State, socket and log lie below one folder of the demo, which is gone afterwards: nothing is installed on the host.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tools.demo import processes
from tools.demo.failure import DemoFailed
from tools.demo.processes import Running
from tools.demo.subject import FACES, Subject

DEVICE = "demo"
WORKER_MODULE = "agent.serve.main"
PROVISION_TIMEOUT_S = 30


@dataclass(frozen=True)
class Probation:
    """How long a swap stays on trial in the demo; the product's own default is 60 frames and 10 s."""

    frames: int
    seconds: float


def config(
    folder: Path, clip: Path, *, registry_url: str, broker_port: int, probation: Probation, subject: Subject = FACES
) -> dict[str, Any]:
    """Return the device's configuration: one looped clip as a live camera, every frame reported."""
    return {
        "schema": 1,
        "device": {"id": DEVICE},
        "paths": {"state": str(folder / "state"), "runtime": str(folder / "run")},
        "cameras": {subject.camera: {"source": {"kind": "file", "path": str(clip), "pace": "realtime", "loop": True}}},
        "pipelines": {subject.pipeline: {"cameras": [subject.camera]}},
        "inference": {"threads": 1},
        "registry": {"url": registry_url, "trust_clock": True},
        "mqtt": {"host": "127.0.0.1", "port": broker_port},
        "report": {"detections_hz": 1000.0, "all": True, "telemetry_s": 2.0},
        "deploy": {"probation": {"frames": probation.frames, "seconds": probation.seconds}},
    }


def write_config(folder: Path, content: dict[str, Any]) -> Path:
    """Write ``demo.yaml`` and make the folders it names."""
    for name in ("state", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def lookout() -> list[str]:
    """Return how to call the installed ``lookout``, or the module where only the checkout is there."""
    script = Path(sysconfig.get_path("scripts")) / "lookout"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "agent"]


def provision(config_path: Path, root: Path, *, patience: float = 1.0) -> None:
    """Give the device its root of trust. Raises :class:`DemoFailed`."""
    limit_s = PROVISION_TIMEOUT_S * patience
    command = [*lookout(), "provision", "--root", str(root), "-c", str(config_path)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DemoFailed(f"'lookout provision' did not end within {limit_s:g} s") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise DemoFailed(f"'lookout provision' failed: {words[-1] if words else f'exit status {done.returncode}'}")


def start(stack: ExitStack, config_path: Path, log_path: Path) -> Running:
    """Start ``lookout run``; it ends with ``stack``."""
    return processes.start(stack, "agent", [*lookout(), "run", "-c", str(config_path)], log_path)


def require_alive(agent: Running) -> None:
    """Raise :class:`DemoFailed` when the agent has ended: waiting for it makes no sense any more."""
    status = agent.exit_status
    if status is not None:
        last = " / ".join(agent.tail(2)) or "nothing"
        raise DemoFailed(f"the agent ended with status {status}; its last words: {last}")


def workers(agent: Running) -> list[psutil.Process]:
    """Return the agent's worker processes, each the home of one loaded model."""
    return [child for child in agent.children() if WORKER_MODULE in _command_line(child)]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
