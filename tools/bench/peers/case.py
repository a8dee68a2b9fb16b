"""``lookout bench peers``: our loop and what people would run instead, on ``plaza.avi``, in one run.

First every runner's detections are compared with our loop's; one that does not see the same is not timed, and the table
says why. Then rounds: in each round every cell runs once in a fresh process, a model's cells one after the other, each
round beginning with another one. Ratios are taken within a round; the median of the rounds counts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.errors import InputError
from tools.bench.case import Bench, Case, Outcome
from tools.bench.footage import VIDEO
from tools.bench.host import cores, saturates, versions
from tools.bench.peers import results
from tools.bench.peers.checking import FRAMES, Checked, Ground, check
from tools.bench.peers.launch import RunnerFailed
from tools.bench.peers.lineup import Cell, Contest, PeerModel, Venv, cells, runners
from tools.bench.peers.plot import PICTURE, draw
from tools.bench.peers.prepare import NAMES, models
from tools.bench.ratios import turned

CONTESTS: tuple[Contest, ...] = ("same", "best")

PEERS, ROBOFLOW = Path(".venv-peers/bin/python"), Path(".venv-roboflow/bin/python")

SLOW_TO_START = "roboflow"
"""Importing it takes most of a minute: it has a case of its own, ``lookout bench roboflow``."""

SATURATES = (
    "INT8: this processor has no VNNI, so ONNX Runtime adds pairs of 8-bit products in 16 bits, which saturates "
    "(of unsigned activations and signed weights). A runtime that computes exactly may see other boxes for that reason "
    "alone; one that does is not timed."
)


class Settings(msgspec.Struct, frozen=True):
    """What is measured, and with which environments."""

    rounds: Annotated[int, typer.Option(min=1, help="interleaved rounds; medians are reported")] = 5
    seconds: Annotated[float, typer.Option(min=0.2, help="time measured in each round, after a warm-up")] = 1.2
    models: Annotated[str, typer.Option(help="with commas between")] = ",".join(NAMES)
    runners: Annotated[
        str, typer.Option(help="with commas between; our loop is always there. Empty: all but roboflow")
    ] = ""
    contests: Annotated[str, typer.Option(help="same (threads), best (each at its best), or both")] = "same,best"
    peers_python: Annotated[Path, typer.Option(help="what `make bench-peers` made")] = PEERS
    roboflow_python: Annotated[Path, typer.Option(help="made by it too")] = ROBOFLOW


def run(bench: Bench, settings: Settings) -> Outcome:
    """Measure, and draw the picture."""
    return measure(bench, settings, bench.out / PICTURE)


def measure(bench: Bench, settings: Settings, picture: Path | None = None) -> Outcome:
    """Prepare, check, measure."""
    film = bench.need(VIDEO).resolve()
    pythons = _pythons(settings)
    table = runners(cores())
    found, unmade = models(bench, _names(settings.models, NAMES, "model"), pythons, film)
    contests = tuple(one for one in CONTESTS if one in _names(settings.contests, CONTESTS, "contest"))
    wanted = (
        {*_names(settings.runners, tuple(table), "runner"), "loop"}
        if settings.runners
        else set(table) - {SLOW_TO_START}
    )
    planned = [cell for cell in cells(found, table, contests) if cell.runner in wanted]
    ground = Ground(film, bench.cache / "ultralytics", pythons, table, settings.seconds)
    checked = [
        one
        for model in found
        for one in check(ground, model, [cell for cell in planned if cell.model == model.key], bench.progress)
    ]
    fps = _rounds(bench, ground, found, checked, settings)
    timed = results.with_ratios([_timed(one, fps) for one in checked] + _lacking(found, wanted))
    ordered = _in_order(timed, found, list(table))
    if picture is not None:
        draw(ordered, found, table, picture)
    report = results.PeersReport(
        frames_checked=FRAMES,
        rounds=settings.rounds,
        seconds=settings.seconds,
        tolerances={model.title: str(model.tolerance) for model in found},
        cells=ordered,
    )
    return Outcome(
        figures=results.figures(ordered, found, table),
        report=report,
        tables=results.tables(ordered, found, table),
        remarks=(*results.standing(ordered, found, table), *_remarks(settings, found, unmade)),
        versions=versions(("onnx",)) | dict(pair for one in checked for pair in one.versions),
    )


def _rounds(
    bench: Bench, ground: Ground, found: Sequence[PeerModel], checked: Sequence[Checked], settings: Settings
) -> dict[Cell, list[float]]:
    """Return frames a second of each cell, round by round. A cell that fails once is left out of the rest."""
    by_key = {model.key: model for model in found}
    ready = {one.cell: one for one in checked if one.setup is not None and not one.reason}
    fps: dict[Cell, list[float]] = {cell: [] for cell in ready}
    for number in range(settings.rounds):
        for model in found:
            mine = {str(cell): cell for cell in fps if cell.model == model.key}
            for name in turned(list(mine), number):
                cell = mine[name]
                setup = ready[cell].setup
                assert setup is not None
                try:
                    measured = ground.time(by_key[cell.model], ground.table[cell.runner], setup, settings.seconds)
                except RunnerFailed as error:
                    bench.progress(f"{cell}: {error.message}: left out")
                    del fps[cell]
                    continue
                fps[cell].append(measured)
                bench.progress(f"round {number + 1} of {settings.rounds}: {cell}: {measured:.1f} fps")
    return fps


def _timed(one: Checked, fps: dict[Cell, list[float]]) -> results.Timed:
    measured = tuple(fps.get(one.cell, ()))
    return results.Timed(
        model=one.cell.model,
        runner=one.cell.runner,
        contest=one.cell.contest,
        setup="" if one.setup is None else one.setup.words,
        fps=measured,
        same="" if one.verdict is None else str(one.verdict),
        reason=one.reason or ("" if measured else "it failed while it was measured"),
    )


def _lacking(found: Sequence[PeerModel], wanted: set[str]) -> list[results.Timed]:
    return [
        results.Timed(model.key, name, "same", "", (), "", reason)
        for model in found
        for name, reason in model.lacking.items()
        if name in wanted
    ]


def _in_order(
    timed: Sequence[results.Timed], found: Sequence[PeerModel], names: list[str]
) -> tuple[results.Timed, ...]:
    keys = [model.key for model in found]
    return tuple(
        sorted(timed, key=lambda one: (keys.index(one.model), CONTESTS.index(one.contest), names.index(one.runner)))
    )


def _remarks(settings: Settings, found: Sequence[PeerModel], unmade: dict[str, str]) -> list[str]:
    said = [f"{model.title}: detections are the same when {model.tolerance}." for model in found]
    said.append(f"Each cell ran {settings.rounds} times for {settings.seconds:g} s, each time in a fresh process.")
    if any(model.precision == "int8" for model in found) and saturates():
        said.append(SATURATES)
    return said + [f"{name}: {reason}" for name, reason in unmade.items()]


def _pythons(settings: Settings) -> dict[Venv, Path]:
    return {
        "ours": Path(sys.executable),
        "peers": settings.peers_python.absolute(),
        "roboflow": settings.roboflow_python.absolute(),
    }


def _names(text: str, known: Sequence[str], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InputError(f"{name}: is no {what} of this case; there are {', '.join(known)}")
    return names


CASE = Case(
    name="peers",
    title="Against what people would run instead",
    help="Measure our loop beside bare session.run, a plain script, OpenVINO, ncnn, OpenCV, Ultralytics and Roboflow.",
    settings=Settings(),
    quick=Settings(rounds=1, seconds=0.3),
    run=run,
    needs=(VIDEO, "models/yolox_nano.onnx", "models/nanodet_m_320.onnx", "data/coco128"),
)
