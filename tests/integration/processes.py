"""What /proc says of processes: who runs, whose child it is, what it has mapped. A zombie does not run.

The first process of a container may never reap, so a process that ended can stay visible for ever: every look here
reads the state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import patient

WORKER, CAPTURE, FETCH = "agent.serve.main", "agent.capture.main", "agent.registry.fetch"
PAUSE_S = 0.02


@dataclass(frozen=True)
class Process:
    """One process at one moment."""

    pid: int
    parent: int
    command: tuple[str, ...]

    @property
    def module(self) -> str | None:
        """What a child runs: the agent names it before the channel."""
        return self.command[self.command.index("--channel-fd") - 1] if "--channel-fd" in self.command else None


def look() -> list[Process]:
    """Every process that runs."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                state, parent, *_ = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                if state not in "ZX":
                    found.append(Process(int(folder.name), int(parent), tuple(command)))
    return found


def running(pids: Iterable[int]) -> list[int]:
    """Those of them that run."""
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
                found.append(pid)
    return found


def family(agent: int) -> list[Process]:
    """The agent, if it runs, all its descendants, and every child that says that this agent started it."""
    seen = look()
    pids = {agent}
    for _ in range(8):  # generations
        pids |= {process.pid for process in seen if process.parent in pids}
    mark = ("--parent-pid", str(agent))
    started = {p.pid for p in seen if mark in zip(p.command, p.command[1:], strict=False)}
    return [process for process in seen if process.pid in pids | started]


def children(agent: int, module: str) -> list[int]:
    """Pids of the agent's children that run ``module``, the oldest first."""
    return sorted(process.pid for process in family(agent) if process.module == module)


def kill(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def descriptors(pid: int) -> int:
    """How many files the process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def mapped(pid: int) -> set[str]:
    """Paths of the files that are mapped into the process: its native libraries, among others."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {parts[5] for line in lines if len(parts := line.split(maxsplit=5)) == 6 and parts[5].startswith("/")}


def until(
    what: Callable[[], Any],
    timeout_s: float,
    why: Callable[[], str] = lambda: "it did not happen",
    *,
    pause_s: float = PAUSE_S,
) -> Any:
    """Return what ``what`` gives as soon as it is true; fail with ``why`` after ``timeout_s``."""
    deadline = time.monotonic() + patient(timeout_s)
    while not (found := what()):
        assert time.monotonic() < deadline, f"{why()} (within {timeout_s:g} s)"
        time.sleep(pause_s)
    return found
