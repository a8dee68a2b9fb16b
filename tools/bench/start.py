"""How long the agent takes from its start to the first detection that it publishes, and where the time goes.

The device is a whole one (:mod:`tools.bench.whole`) whose model is committed and cached; each start is a new process,
as after a power cut, with the files it reads in the page cache. What happens side by side is told by when it was done:
capture opens the camera and a worker loads the model while the agent's other parts start.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agent.clock import NS_PER_S, monotonic_ns
from tools.bench.case import Bench, Case, Figure, Outcome, Wanted
from tools.bench.models import YOLOX_NANO
from tools.bench.quiet import Others
from tools.bench.whole import START_S, VIDEO, Whole

WANTED_S = 3.0

STAGES = {
    "python": "the interpreter runs",
    "imports": "everything is imported",
    "config": "the configuration is read",
    "journal": "the journal is open",
    "built": "all parts are built",
    "started": "all parts run",
    "camera": "the camera's first frame waits",
    "worker": "the worker has loaded the model",
    "answer": "the first frame is answered",
}
PUBLISHED = "published"


class StartReport(msgspec.Struct, frozen=True):
    """Seconds since the process was started, of each start; the last stage is the broker's word."""

    starts: int
    done_s: dict[str, tuple[float, ...]]
    others_cores: float

    @property
    def published_s(self) -> float:
        """Start to first published detection, median."""
        return statistics.median(self.done_s[PUBLISHED])


class Settings(msgspec.Struct, frozen=True):
    """What may be chosen."""

    starts: Annotated[int, typer.Option(min=1, help="starts; medians are reported")] = 7
    patience: Annotated[float, typer.Option(min=1, help="times longer that everything may take (emulation)")] = 1.0


def start_case(shared: Path, settings: Settings, progress: Any) -> StartReport:
    """Measure. Raises :class:`~tools.bench.broker.NoBroker` and TimeoutError."""
    seen: dict[str, list[float]] = {}
    with Others() as others, Whole(shared, patience=settings.patience) as device:
        progress("the first start brings the model and commits it")
        device.commit()
        for number in range(settings.starts):
            took = _once(device, settings.patience)
            progress(f"start {number + 1}: {took[PUBLISHED]:.2f} s")
            for name, seconds in took.items():
                seen.setdefault(name, []).append(seconds)
    return StartReport(settings.starts, {name: tuple(values) for name, values in seen.items()}, others.cores)


def _once(device: Whole, patience: float) -> dict[str, float]:
    """Start it once and return when each stage was done."""
    marks = device.folder / "marks"
    marks.unlink(missing_ok=True)
    device.ear.forget()
    began_ns = monotonic_ns()
    with device.running([sys.executable, "-m", "tools.bench.started", str(marks), str(device.config)]):
        if not device.ear.heard.wait(START_S * patience):
            raise TimeoutError(f"no detection was published within {START_S * patience:g} s:\n{device.last_words()}")
    done_ns = {name: int(at) for name, at in (line.split() for line in marks.read_text().splitlines())}
    done_ns[PUBLISHED] = device.ear.first_ns
    return {name: (at - began_ns) / NS_PER_S for name, at in done_ns.items()}


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure and tell."""
    report = start_case(bench.shared, settings, bench.progress)
    whole = Figure(
        "process start to the first published detection",
        report.published_s,
        "s",
        report.done_s[PUBLISHED],
        Wanted(WANTED_S, "at_most"),
    )
    stages = tuple(
        Figure(f"- {words}", statistics.median(report.done_s[name]), "s", report.done_s[name])
        for name, words in STAGES.items()
        if name in report.done_s
    )
    remarks = ("Times are since the start of the process; camera and worker come up side by side.",)
    return Outcome((whole, *stages), report, remarks=remarks, others_cores=report.others_cores)


CASE = Case(
    name="start",
    title="From the start of the agent to its first detection",
    help="Start a whole agent with a committed model; measure the time to its first published detection, by stages.",
    settings=Settings(),
    quick=Settings(starts=2),
    run=run,
    needs=(VIDEO, f"models/{YOLOX_NANO.file}"),
)
