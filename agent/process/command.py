"""How a child is called: its command line, and an environment of a short list of names, never the agent's secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR",
    "LD_LIBRARY_PATH", "LD_PRELOAD",  # where a Jetson's CUDA lies, and the libgomp that it needs loaded first
    "PYTHONPATH", "PYTHONHOME",  # the child must find the package that the agent runs from
)  # fmt: skip
FIXED = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",  # threads are asked for by name, never taken by a library
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",  # last words must be out before the process is
}

_RUN_MODULE = (
    "import runpy, sys; del sys.path[0]; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""``-P -m``, for a Python without ``-P``."""


def command(module: str, channel_fd: int, log_level: str) -> list[str]:
    """Return the words that start ``module`` as a child of this process."""
    # A stray agent/ in the working folder is not ours; Python 3.10 knows no -P.
    run = ["-P", "-m"] if sys.version_info >= (3, 11) else ["-c", _RUN_MODULE]
    arguments = {"--channel-fd": channel_fd, "--parent-pid": os.getpid(), "--log-level": log_level}
    return [sys.executable, *run, module, *(str(word) for pair in arguments.items() for word in pair)]


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return all that a child finds in its environment: a few inherited names, what is fixed, and its ``own``."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **FIXED, **own}
