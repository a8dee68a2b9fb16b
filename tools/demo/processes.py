"""Processes that the demo starts, and the proof that none of them is left.

Each is started in a session of its own, so that Ctrl-C reaches only the demo, which then ends them, and through
:mod:`tools.demo.tether`, so that it dies with the demo even when the demo is killed. One ``ExitStack`` ends them all:
SIGTERM, a while to tidy up, SIGKILL. Call from the main thread: a tether is tied to the thread that starts it.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from tools.demo.failure import DemoFailed

LogPath = Path
STOP_TIMEOUT_S = 10.0
TAIL_LINES = 30


class Running:
    """A started process; ``log_path`` holds what it said on standard error."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: LogPath) -> None:
        self.name = name
        self.log_path = log_path
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """Return the last lines of its log."""
        return tail(self.log_path, lines)

    def children(self) -> list[psutil.Process]:
        """Return its living descendants."""
        with suppress(psutil.NoSuchProcess):
            return [child for child in psutil.Process(self.pid).children(recursive=True) if is_alive(child)]
        return []

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, then SIGKILL to what is left of its group; idempotent."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def start(
    stack: ExitStack,
    name: str,
    argv: Sequence[str],
    log_path: LogPath,
    *,
    env: Mapping[str, str] | None = None,
    ready: str | None = None,
    timeout_s: float = 15.0,
) -> Running:
    """Start ``argv``; with ``ready``, return once a line of its standard output begins so.

    Its standard error (and its output, unless ``ready``) goes to ``log_path``. Raises :class:`DemoFailed`.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.demo.tether", str(os.getpid()), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if ready else log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    running = Running(name, process, log_path)
    stack.callback(running.stop)
    if ready:
        _await_line(running, process, ready, timeout_s)
    return running


def _await_line(running: Running, process: subprocess.Popen[bytes], ready: str, timeout_s: float) -> None:
    """Read standard output until the line comes. Raises :class:`DemoFailed`."""
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_s
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not any(line.startswith(ready) for line in said.decode(errors="replace").splitlines()):
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise DemoFailed(f"the {running.name} was not ready within {timeout_s:g} s; see {running.log_path}")
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                last = " / ".join(running.tail(3)) or "nothing"
                raise DemoFailed(f"the {running.name} ended before it was ready; its last words: {last}")
            said += chunk


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a text file, [] where there is none."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return []


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs. A zombie does not: it only waits for its parent to look."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def survivors(family: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Give ``family`` up to ``timeout_s`` to end, and return who did not."""
    _, left = psutil.wait_procs([process for process in family if is_alive(process)], timeout=timeout_s)
    return [process for process in left if is_alive(process)]
