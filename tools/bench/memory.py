"""How much memory each process of a whole device takes: the real agent, capture, and the worker.

PSS, once frames were answered for a while: one 640x480 camera at 25 frames a second, YOLOX-Nano, a broker, a registry
(:mod:`tools.bench.whole`). The ring's pages are shared by three processes and count by thirds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import psutil
import typer

from agent.process.memory import pss_bytes
from agent.supervise.status import Status
from agent.types import MB
from tools.bench.case import Bench, Case, Figure, Outcome, Wanted
from tools.bench.models import YOLOX_NANO
from tools.bench.whole import VIDEO, Whole
from tools.demo import device as devices

WANTED = {"agent": 60.0, "capture": 80.0, "worker": 105.0}
MODULES = {"capture": "agent.capture.main", "worker": "agent.serve.main"}
SETTLE_S = 5.0


class MemoryReport(msgspec.Struct, frozen=True):
    """PSS in MB of each process, and of all."""

    agent: float
    capture: float
    worker: float

    @property
    def together(self) -> float:
        """Of all three."""
        return self.agent + self.capture + self.worker


class Settings(msgspec.Struct, frozen=True):
    """What may be chosen."""

    frames: Annotated[int, typer.Option(min=1, help="frames to answer before measuring")] = 250


def memory_case(shared: Path, *, frames: int) -> MemoryReport:
    """Measure. Raises :class:`~tools.bench.broker.NoBroker` and TimeoutError."""
    with Whole(shared) as device:
        device.commit()
        with device.running([*devices.lookout(), "run", "-c", str(device.config)]) as agent:
            device.wait(agent, lambda status: _answered(status) >= frames)
            time.sleep(SETTLE_S)
            children = {_module(child): child.pid for child in psutil.Process(agent.pid).children()}
            sizes = {name: pss_bytes(children[module]) / MB for name, module in MODULES.items()}
            return MemoryReport(agent=pss_bytes(agent.pid) / MB, **sizes)


def _answered(status: Status) -> int:
    return sum(camera.answered for camera in status.cameras)


def _module(process: psutil.Process) -> str | None:
    """Return what a child of the agent runs."""
    line = process.cmdline()
    return next((module for module in MODULES.values() if module in line), None)


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure and tell."""
    report = memory_case(bench.shared, frames=settings.frames)
    words = {"agent": "the agent's own process", "capture": "capture", "worker": "the worker"}
    figures = [
        Figure(words[name], getattr(report, name), "MB", wanted=Wanted(bound, "at_most"))
        for name, bound in WANTED.items()
    ]
    return Outcome((*figures, Figure("together", report.together, "MB")), report)


CASE = Case(
    name="memory",
    title="Memory of a device with one camera",
    help="Run a whole agent with one 640x480 camera and YOLOX-Nano; measure the PSS of each process.",
    settings=Settings(),
    quick=Settings(frames=30),
    run=run,
    needs=(VIDEO, f"models/{YOLOX_NANO.file}"),
)
