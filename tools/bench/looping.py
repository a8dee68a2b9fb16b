"""``lookout bench loop``: our loop over bare ``session.run``, the short form of ``peers`` for whoever works on it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from tools.bench.case import Bench, Case, Outcome
from tools.bench.footage import VIDEO
from tools.bench.peers import case as peers


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    rounds: Annotated[int, typer.Option(min=1, help="interleaved rounds; medians are reported")] = 5
    seconds: Annotated[float, typer.Option(min=0.2, help="time measured in each round")] = 2.0
    models: Annotated[str, typer.Option(help="yolox, yolox-int8, nanodet, nanodet-int8, with commas between")] = "yolox"


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure."""
    return peers.measure(
        bench,
        peers.Settings(
            rounds=settings.rounds, seconds=settings.seconds, models=settings.models, runners="bare", contests="same"
        ),
    )


CASE = Case(
    name="loop",
    title="The loop over bare `session.run`",
    help="Measure the frame loop's throughput on plaza.avi (lossless) over bare session.run. `peers` has it too.",
    settings=Settings(),
    quick=Settings(rounds=1, seconds=0.5),
    run=run,
    in_all=False,
    needs=(VIDEO, "models/yolox_nano.onnx"),
)
