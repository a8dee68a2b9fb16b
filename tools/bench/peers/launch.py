"""Starting a runner's process, and reading its answer."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.errors import LookoutError
from tools.bench.peers.job import Answer, Job

RUNNERS = "tools.bench.peers.runners"
TIMEOUT_S, MAKING_S = 300.0, 900.0
"""A job takes seconds, but the machine may be busy with other things."""

NUMPY_WORKAROUNDS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Set on some hosts for old libraries; they slow a current NumPy."""


class RunnerFailed(LookoutError):
    """A runner did not answer; the message holds its last words."""

    code = "runner_failed"


def answer(python: Path, runner: str, job: Job, folder: Path) -> Answer:
    """Run one job in a fresh process. Raises :class:`RunnerFailed`."""
    with tempfile.TemporaryDirectory(prefix="lookout-bench-") as place:
        told = Path(place) / "job.json"
        told.write_bytes(msgspec.json.encode(job))
        said = call(python, f"{RUNNERS}.{runner}", [str(told)], folder)
    try:
        return msgspec.json.decode(said.strip().rpartition("\n")[2], type=Answer)
    except msgspec.MsgspecError as error:
        raise RunnerFailed(f"{runner}: its last line is no answer: {error}") from error


def call(python: Path, module: str, arguments: Sequence[str], folder: Path, *, timeout_s: float = TIMEOUT_S) -> str:
    """Run a module in a process of its own; return what it printed. Raises :class:`RunnerFailed`."""
    command = [str(python), "-m", module, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=_environment(folder))
    except subprocess.TimeoutExpired as error:
        raise RunnerFailed(f"{module}: no answer within {timeout_s:g} s") from error
    except OSError as error:
        raise RunnerFailed(f"{python}: cannot be started: {error.strerror}") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RunnerFailed(f"{module.rpartition('.')[2]}: {words[-1].strip()[:300]} (exit {done.returncode})")
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment: nothing is asked of the network, and settings are kept in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if name not in NUMPY_WORKAROUNDS}
    return kept | {"YOLO_CONFIG_DIR": str(folder.resolve()), "ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
