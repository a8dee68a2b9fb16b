"""From rounds to what is told: ratios, tables, and where we are ahead and where not. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from tools.bench.case import Figure, TextTable, Wanted
from tools.bench.host import VNNI
from tools.bench.peers.lineup import Contest, PeerModel, Precision, Runner
from tools.bench.ratios import Ratio, ratio
from tools.bench.words import number, spread

AS_FAST = 0.02
"""Ratios that differ from 1 by less are called level."""

WANTED: dict[tuple[str, Precision], Wanted] = {
    ("bare", "float"): Wanted(0.96, "at_least"),
    ("bare", "int8"): Wanted(0.92, "at_least", where=VNNI),
    ("plain", "float"): Wanted(1.15, "at_least"),
    ("plain", "int8"): Wanted(1.3, "at_least", where=VNNI),
    ("ultralytics", "float"): Wanted(1.2, "at_least"),
}
"""Promised at the same threads, by runner and precision; Ultralytics' at its best as well."""

COLUMNS = ("runner", "setup", "frames a second", "least to most", "our loop is", "least to most", "same detections")


class Timed(msgspec.Struct, frozen=True):
    """One cell of the comparison. ``fps``: round by round, empty where it was not timed; ``reason`` says why then."""

    model: str
    runner: str
    contest: Contest
    setup: str
    fps: tuple[float, ...]
    same: str
    reason: str = ""
    over: Ratio | None = None
    """Our loop's frames a second over its, in the same contest."""


class PeersReport(msgspec.Struct, frozen=True):
    """Everything that was measured. ``tolerances``: by model, when detections count as the same."""

    frames_checked: int
    rounds: int
    seconds: float
    tolerances: dict[str, str]
    cells: tuple[Timed, ...]


def with_ratios(cells: Sequence[Timed]) -> tuple[Timed, ...]:
    """Return the cells with what our loop is over each."""
    loops = {(one.model, one.contest): one.fps for one in cells if one.runner == "loop" and one.fps}

    def over(one: Timed) -> Ratio | None:
        mine = loops.get((one.model, one.contest))
        return None if mine is None or not one.fps or one.runner == "loop" else ratio(mine, one.fps)

    return tuple(msgspec.structs.replace(one, over=over(one)) for one in cells)


def figures(cells: Sequence[Timed], models: Sequence[PeerModel], table: dict[str, Runner]) -> tuple[Figure, ...]:
    """Return the ratios, those with a promise first."""
    by_key = {model.key: model for model in models}
    found = [_figure(one, by_key[one.model], table[one.runner]) for one in cells if one.runner != "loop"]
    return tuple(sorted(found, key=lambda figure: figure.wanted is None))


def _figure(one: Timed, model: PeerModel, runner: Runner) -> Figure:
    how = "at the same threads" if one.contest == "same" else "each at its best"
    promised = one.contest == "same" or one.runner == "ultralytics"
    return Figure(
        what=f"our loop over {runner.title}, {model.title}, {how}".replace("`", ""),
        value=None if one.over is None else one.over.median,
        unit="x",
        samples=() if one.over is None else one.over.rounds,
        wanted=WANTED.get((one.runner, model.precision)) if promised else None,
        note=one.reason,
    )


def tables(cells: Sequence[Timed], models: Sequence[PeerModel], table: dict[str, Runner]) -> tuple[TextTable, ...]:
    """Return a table for each model and contest."""
    found = []
    for model in models:
        for contest, words in (("same", "one thread"), ("best", "each at its best")):
            mine = [one for one in cells if (one.model, one.contest) == (model.key, contest)]
            if mine:
                rows = tuple(_row(one, table[one.runner]) for one in mine)
                found.append(TextTable(f"{model.title}, {words}", COLUMNS, rows))
    return tuple(found)


def _row(one: Timed, runner: Runner) -> tuple[str, ...]:
    if not one.fps:
        return (runner.title, one.setup, "not shown", "", "", "", one.reason or one.same)
    times = "" if one.over is None else f"{number(one.over.median, 'x')} x as fast"
    span = "" if one.over is None else spread(one.over.rounds, "x")
    median = number(statistics.median(one.fps), "fps")
    return (runner.title, one.setup, median, spread(one.fps, "fps"), times, span, one.same)


def standing(cells: Sequence[Timed], models: Sequence[PeerModel], table: dict[str, Runner]) -> tuple[str, ...]:
    """Say in sentences where we are ahead and where not."""
    titles = {model.key: model.title for model in models}
    said = []
    for contest, words in (("same", "With one thread each"), ("best", "Each at its best")):
        peers = [one for one in cells if one.contest == contest and one.runner != "bare" and one.over is not None]
        for verdict, verb in ((1, "our loop is ahead of"), (0, "it is level with"), (-1, "it is BEHIND")):
            those = [
                f"{table[one.runner].title} on {titles[one.model]} ({number(one.over.median, 'x')} x)"
                for one in peers
                if one.over is not None and _verdict(one.over) == verdict
            ]
            if those:
                said.append(f"{words}, {verb} {', '.join(those)}.")
    return tuple(said)


def _verdict(over: Ratio) -> int:
    """Return 1 where we are ahead, 0 where level, -1 where behind."""
    return 0 if abs(over.median - 1) <= AS_FAST else 1 if over.median > 1 else -1
