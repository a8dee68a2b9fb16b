"""``lookout bench roboflow``: Roboflow's InferencePipeline beside our loop and the plain script whose middle it runs.

Its models come from the network; what runs without is the pipeline with custom logic. Importing it takes most of a
minute, each round anew, so it stands apart from ``peers``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tools.bench.case import Bench, Case, Outcome
from tools.bench.footage import VIDEO
from tools.bench.peers import case as peers


class Settings(msgspec.Struct, frozen=True):
    """What is measured, and with which environment."""

    rounds: Annotated[int, typer.Option(min=1, help="interleaved rounds; medians are reported")] = 5
    seconds: Annotated[float, typer.Option(min=0.2, help="time measured in each round")] = 2.0
    roboflow_python: Annotated[Path, typer.Option(help="what `make bench-roboflow` made")] = peers.ROBOFLOW


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure."""
    return peers.measure(
        bench,
        peers.Settings(
            rounds=settings.rounds,
            seconds=settings.seconds,
            models="yolox",
            runners="plain,roboflow",
            contests="same",
            roboflow_python=settings.roboflow_python,
        ),
    )


CASE = Case(
    name="roboflow",
    title="Against Roboflow's InferencePipeline",
    help="Measure our loop and a plain script beside Roboflow's InferencePipeline with custom logic (offline).",
    settings=Settings(),
    quick=Settings(rounds=1, seconds=0.5),
    run=run,
    in_all=False,
    needs=(VIDEO, "models/yolox_nano.onnx"),
)
