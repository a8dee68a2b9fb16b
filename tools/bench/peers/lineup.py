"""Who runs, on which models, and how: with our threads, and as fast as each can. Pure tables.

*Same*: one thread for the runtime's operators, so that what is compared is the loop around it. *Best*: every setup of
the row is tried briefly on this host and the fastest is measured, ours by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.infer.tuning import options_to_try
from agent.types import ModelSpec
from tools.bench.peers.matching import Tolerance

Venv = Literal["ours", "peers", "roboflow"]
Contest = Literal["same", "best"]
Precision = Literal["float", "int8"]


@dataclass(frozen=True)
class Setup:
    """How a runner is started. ``threads`` 0: as it comes."""

    words: str
    threads: int
    ahead: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Runner:
    """``module`` below :mod:`tools.bench.peers.runners`; ``venv``: which environment has what it imports."""

    name: str
    module: str
    title: str
    venv: Venv
    same: Setup
    best: tuple[Setup, ...] = ()

    def setups(self, contest: Contest) -> tuple[Setup, ...]:
        """Return what it may be measured with."""
        return (self.same,) if contest == "same" else self.best


@dataclass(frozen=True)
class PeerModel:
    """One model file, and who runs it in each contest. ``lacking``: why a runner of this name cannot run it."""

    key: str
    title: str
    precision: Precision
    spec: ModelSpec
    files: dict[str, str]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    tolerance: Tolerance
    runners: dict[Contest, tuple[str, ...]]
    lacking: dict[str, str] = field(default_factory=dict)


ONE = "one thread"


def runners(cores: int) -> dict[str, Runner]:
    """Return the table for a host of so many cores."""
    all_cores = f"{cores} threads"
    ahead = "frames read in a thread beside"
    rows = (
        Runner("bare", "bare", "bare `session.run`", "ours", Setup(ONE, 1)),
        Runner(
            "loop", "loop", "Lookout's loop", "ours", Setup(ONE, 1),
            (Setup(ONE, 1), Setup(all_cores, cores),
             *(Setup(f"{one.concurrency} frames at once", one.threads, options={"concurrency": one.concurrency})
               for one in options_to_try(cores, threads=None, spin=False) if one.concurrency > 1)),
        ),
        Runner("plain", "plain", "a plain script", "ours", Setup(ONE, 1), (Setup("ONNX Runtime as it comes", 0),)),
        Runner(
            "openvino", "openvino_async", "OpenVINO's async pipeline", "peers",
            Setup(ONE, 1, options={"hint": "LATENCY"}),
            (Setup("throughput hint", 0, options={"hint": "THROUGHPUT"}),
             Setup(f"throughput hint, {ahead}", 0, ahead=True, options={"hint": "THROUGHPUT"}),
             Setup(f"latency hint, {ahead}", 0, ahead=True, options={"hint": "LATENCY"})),
        ),
        Runner(
            "ncnn", "ncnn_net", "ncnn", "peers", Setup(ONE, 1),
            (Setup(f"{all_cores}, {ahead}", cores, ahead=True), Setup(f"{ONE}, {ahead}", 1, ahead=True)),
        ),
        Runner(
            "opencv", "opencv_dnn", "OpenCV dnn", "ours", Setup(ONE, 1),
            (Setup(f"{all_cores}, {ahead}", cores, ahead=True), Setup(f"{ONE}, {ahead}", 1, ahead=True)),
        ),
        Runner(
            "ultralytics", "ultralytics_predict", "Ultralytics' predict loop", "peers", Setup(ONE, 1),
            (Setup("as it comes", 0),),
        ),
        Runner(
            "roboflow", "roboflow_pipeline", "Roboflow's InferencePipeline", "roboflow",
            Setup(f"{ONE}, the plain script's middle", 1),
        ),
    )  # fmt: skip
    return {row.name: row for row in rows}


FLOAT_RUNNERS: dict[Contest, tuple[str, ...]] = {
    "same": ("bare", "loop", "plain", "openvino", "ncnn", "opencv"),
    "best": ("loop", "plain", "openvino", "ncnn", "opencv"),
}
INT8_RUNNERS: dict[Contest, tuple[str, ...]] = {
    "same": ("bare", "loop", "plain", "openvino", "opencv"),
    "best": ("loop", "openvino"),
}
ULTRALYTICS_RUNNERS: dict[Contest, tuple[str, ...]] = {
    "same": ("bare", "loop", "ultralytics"),
    "best": ("loop", "ultralytics"),
}


@dataclass(frozen=True)
class Cell:
    """One thing that is timed."""

    model: str
    runner: str
    contest: Contest

    def __str__(self) -> str:
        return f"{self.model}, {self.runner}, {self.contest}"


def cells(models: Sequence[PeerModel], table: dict[str, Runner], contests: Sequence[Contest]) -> list[Cell]:
    """Return all cells, a model's together."""
    return [
        Cell(model.key, name, contest)
        for model in models
        for contest in contests
        for name in model.runners[contest]
        if name not in model.lacking and table[name].setups(contest)
    ]
