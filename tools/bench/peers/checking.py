"""Before anything is timed: does a runner see what our loop sees, and which of its setups is its fastest here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.bench.case import Progress
from tools.bench.peers.job import Answer, Job, Row
from tools.bench.peers.launch import RunnerFailed, answer
from tools.bench.peers.lineup import Cell, PeerModel, Runner, Setup, Venv
from tools.bench.peers.matching import FLOAT, Verdict, compare
from tools.bench.peers.prepare import absent, reason_of

SCORE = 0.35
"""From which detections are reported, and compared."""

FLOOR = 0.2
FRAMES = 24
TRIAL_S = 0.5
UNCHECKED = ("bare",)
"""It sees nothing: it runs a tensor."""


@dataclass(frozen=True)
class Checked:
    """A cell that may be timed, with ``setup``; or, with ``reason``, why it is not."""

    cell: Cell
    setup: Setup | None
    verdict: Verdict | None = None
    reason: str = ""
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Ground:
    """What all cells of a run share."""

    film: Path
    folder: Path
    pythons: dict[Venv, Path]
    table: dict[str, Runner]
    seconds: float

    def time(self, model: PeerModel, runner: Runner, setup: Setup, seconds: float) -> float:
        """Return frames a second, of a fresh process. Raises :class:`RunnerFailed`."""
        fps = self._answer(model, runner, setup, mode="time", seconds=seconds).fps
        if fps <= 0:
            raise RunnerFailed(f"{runner.title}: answered no frame in {seconds:g} s")
        return fps

    def detect(self, model: PeerModel, runner: Runner, setup: Setup) -> Answer:
        """Return what it sees in the first frames. Raises :class:`RunnerFailed`."""
        return self._answer(model, runner, setup, mode="detect", seconds=0.0)

    def _answer(self, model: PeerModel, runner: Runner, setup: Setup, *, mode: str, seconds: float) -> Answer:
        python = self.pythons[runner.venv]
        if not python.is_file():
            raise RunnerFailed(absent(runner.venv))
        job = Job(
            mode="time" if mode == "time" else "detect",
            files=model.files,
            spec=model.spec,
            film=str(self.film),
            threads=setup.threads,
            floor=FLOOR,
            ahead=setup.ahead,
            frames=FRAMES,
            seconds=seconds,
            options={"score": SCORE, "outputs": model.outputs, "shapes": model.shapes, **setup.options},
        )
        return answer(python, runner.module, job, self.folder)


def check(ground: Ground, model: PeerModel, cells: list[Cell], progress: Progress) -> list[Checked]:
    """Check a model's cells. Raises :class:`RunnerFailed` where our own loop does not answer."""
    loop = ground.table["loop"]
    progress(f"{model.title}: our loop looks at {FRAMES} frames")
    ours = ground.detect(model, loop, loop.same).rows
    own = Checked(Cell(model.key, "loop", "same"), loop.same, compare(ours, ours, threshold=SCORE, tolerance=FLOAT))
    return [own if cell == own.cell else _check(ground, model, cell, ours, progress) for cell in cells]


def _check(
    ground: Ground, model: PeerModel, cell: Cell, ours: tuple[tuple[Row, ...], ...], progress: Progress
) -> Checked:
    runner = ground.table[cell.runner]
    if cell.runner in UNCHECKED:
        return Checked(cell, runner.same)
    progress(f"{model.title}: does {runner.title} ({cell.contest}) see the same?")
    try:
        setup = _fastest(ground, model, runner, runner.setups(cell.contest))
        seen = ground.detect(model, runner, setup)
    except RunnerFailed as error:
        return Checked(cell, None, reason=reason_of(error.message, runner.venv))
    verdict = compare(ours, seen.rows, threshold=SCORE, tolerance=model.tolerance)
    reason = "" if verdict.same else f"other detections: {verdict}"
    return Checked(cell, setup, verdict, reason, tuple(seen.versions.items()))


def _fastest(ground: Ground, model: PeerModel, runner: Runner, setups: tuple[Setup, ...]) -> Setup:
    """Return the setup that a short trial finds fastest; none is tried where there is but one."""
    if len(setups) == 1:
        return setups[0]
    return max(setups, key=lambda setup: ground.time(model, runner, setup, TRIAL_S))
