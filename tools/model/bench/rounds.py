"""Runs cells in turns, round after round, so that a slow moment hits all of them.

A cell that cannot run (a provider that is absent, a model that ONNX Runtime refuses) is left out with its reason; the
others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from agent.errors import ChildDied, InputError, ModelError
from tools.bench.quiet import Others
from tools.model.bench.records import Cell, Host, Report, Sample, figures
from tools.model.bench.runners import Runner, Shapes

BUSY_CORES = 0.1
"""More of this machine in others' use than that, and the figures mean little."""

OnProgress = Callable[[str, int, int], None]
"""Told what is measured, and how many of how many processes have ended."""


def cells_of(models: Sequence[Path], providers: Sequence[str], threads: Sequence[int]) -> dict[Cell, Path]:
    """Return every combination with its file. Raises :class:`InputError`: two files of one name, or no such file."""
    names: dict[str, Path] = {}
    for path in models:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file; give an ONNX or .ort model")
        if names.setdefault(path.name, path) != path:
            raise InputError(
                f"{path} and {names[path.name]} have one name; rename one, so that the table can tell them"
            )
    return {
        Cell(name, provider, count): path for name, path in names.items() for provider in providers for count in threads
    }


def run(
    cells: dict[Cell, Path],
    runner: Runner,
    *,
    shapes: Shapes,
    rounds: int,
    seconds: float,
    spin: bool = False,
    on_progress: OnProgress = lambda _what, _done, _total: None,
) -> Report:
    """Measure every cell ``rounds`` times, ``seconds`` each. Raises :class:`ModelError` where no cell can run."""
    samples: dict[Cell, list[Sample]] = {cell: [] for cell in cells}
    failed: dict[Cell, str] = {}
    others: list[float] = []
    total = rounds * len(cells)
    for turn in range(rounds):
        with Others() as used:
            for position, (cell, path) in enumerate(cells.items()):
                on_progress(str(cell), turn * len(cells) + position, total)
                if cell in failed:
                    continue
                try:
                    samples[cell].append(runner.run(cell, path, shapes, seconds, spin=spin))
                except (ModelError, ChildDied) as error:
                    failed[cell] = error.message
        others.append(used.cores)
    on_progress("done", total, total)
    measured = {cell: found for cell, found in samples.items() if cell not in failed}
    if not measured:
        raise ModelError("no cell can run:\n  " + "\n  ".join(dict.fromkeys(failed.values())))
    first = next(iter(measured.values()))[0]
    host = Host(first.host, first.machine, first.cpu, first.cores, first.onnxruntime, runner.how)
    return Report(
        hosts=(host,),
        rounds=rounds,
        figures=tuple(figures(host.name, cell, found) for cell, found in measured.items()),
        others_cores=tuple(others) if runner.how == "here" else (),
        failed={str(cell): reason for cell, reason in failed.items()},
    )


def busy(report: Report) -> bool:
    """Whether others used so much of this machine that the figures mean little."""
    return any(cores > BUSY_CORES for cores in report.others_cores)
