"""More and more cameras on one worker: what each gets, how old results are, what it costs, and what is left out.

The cost grows with the frames that are answered until the worker has no time left; from there on frames are skipped,
every camera gets its share, and no result is older for it than the turns of the other cameras take.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from tools.bench.case import Bench, Case, Figure, Outcome, TextTable, Wanted
from tools.bench.models import YOLOX_NANO
from tools.bench.quiet import Others
from tools.bench.serving import Seen, look, set_cameras
from tools.bench.whole import VIDEO, Whole

FAIR = 0.8
"""The camera that got least, over the one that got most, give or take one frame."""


class Settings(msgspec.Struct, frozen=True):
    """What is run."""

    cameras: Annotated[str, typer.Option(help="how many cameras, with commas between")] = "1,2,4,8,16"
    fps: Annotated[float, typer.Option(min=0.1, help="what each camera gives a second")] = 10.0
    seconds: Annotated[float, typer.Option(min=1, help="time to look at each")] = 4.0


class ScaleReport(msgspec.Struct, frozen=True):
    """What was seen, by the number of cameras."""

    fps: float
    seen: dict[int, Seen]


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure and tell."""
    seen: dict[int, Seen] = {}
    with Others() as others, Whole(bench.shared) as device:
        bench.progress("the first start brings the model and commits it")
        device.commit()
        for count in (int(number) for number in settings.cameras.split(",")):
            set_cameras(device, count, settings.fps)
            seen[count] = look(device, seconds=settings.seconds)
            bench.progress(f"{count} cameras: {seen[count].answered / seen[count].seconds:.0f} fps answered")
    figures = (
        Figure("frames lost", sum(one.lost for one in seen.values()), wanted=Wanted(0, "at_most")),
        Figure(
            "the camera that got least over the one that got most",
            min(one.fairness for one in seen.values()),
            "x",
            wanted=Wanted(FAIR, "at_least"),
        ),
    )
    columns = ("cameras", "fps a camera", "least / most", "skipped", "age p50, p99", "processor", "memory")
    table = TextTable(
        f"Cameras of {settings.fps:g} fps on one worker",
        columns,
        tuple(_row(count, one) for count, one in seen.items()),
    )
    return Outcome(figures, ScaleReport(settings.fps, seen), tables=(table,), others_cores=others.cores)


def _row(count: int, seen: Seen) -> tuple[str, ...]:
    ages = [seen.age_ms(percent) for percent in (50, 99)]
    return (
        str(count),
        f"{sum(seen.fps.values()) / len(seen.fps):.1f}",
        f"{seen.fairness:.2f}",
        f"{seen.skipped / max(1, seen.skipped + seen.answered):.0%}",
        "-" if None in ages else f"{ages[0]:.0f}, {ages[1]:.0f} ms",
        f"{seen.cpu_together:.0f} %",
        f"{seen.pss_together:.0f} MB",
    )


CASE = Case(
    name="scale",
    title="1 to 16 cameras on one worker",
    help="Run a whole agent with more and more cameras; measure rates, fairness, ages, processor time and memory.",
    settings=Settings(),
    quick=Settings(cameras="1,4", seconds=2.0),
    run=run,
    needs=(VIDEO, f"models/{YOLOX_NANO.file}"),
)
