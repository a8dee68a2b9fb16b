"""What a device costs that watches one camera at ten frames a second: everything counted, the broker's path as well."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from tools.bench.case import Bench, Case, Figure, Outcome, Wanted
from tools.bench.models import YOLOX_NANO
from tools.bench.quiet import Others
from tools.bench.serving import Seen, look, set_cameras
from tools.bench.whole import VIDEO, Whole

FPS = 10.0
WANTED_PERCENT, WANTED_MB = 10.0, 245.0


class Settings(msgspec.Struct, frozen=True):
    """How long is measured."""

    seconds: Annotated[float, typer.Option(min=1, help="time to look at it")] = 15.0


class TenReport(msgspec.Struct, frozen=True):
    """What was seen."""

    seen: Seen
    others_cores: float


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure and tell."""
    with Others() as others, Whole(bench.shared) as device:
        bench.progress("the first start brings the model and commits it")
        device.commit()
        set_cameras(device, 1, FPS)
        bench.progress(f"looking for {settings.seconds:g} s")
        seen = look(device, seconds=settings.seconds)
    figures = (
        Figure("processor, everything", seen.cpu_together, "%", wanted=Wanted(WANTED_PERCENT, "at_most")),
        *(Figure(f"- {name}", percent, "%") for name, percent in seen.cpu.items()),
        Figure("memory, everything", seen.pss_together, "MB", wanted=Wanted(WANTED_MB, "at_most")),
        *(Figure(f"- {name}", size, "MB") for name, size in seen.pss.items()),
        Figure("frames answered a second", seen.answered / seen.seconds, "fps"),
        Figure("frames lost", seen.lost),
    )
    remark = "Percent of one core. Every frame's detections go to a broker; one 640x480 camera, YOLOX-Nano, one thread."
    return Outcome(figures, TenReport(seen, others.cores), remarks=(remark,))


CASE = Case(
    name="tenfps",
    title="A device at ten frames a second",
    help="Run a whole agent with one camera at 10 fps and YOLOX-Nano; measure its processor time and memory.",
    settings=Settings(),
    quick=Settings(seconds=4.0),
    run=run,
    needs=(VIDEO, f"models/{YOLOX_NANO.file}"),
)
