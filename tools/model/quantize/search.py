"""The search: the fewest blocks in float that keep a budget, by measured accuracy, then the fastest by measured time.

First every way to choose ranges with all blocks in INT8. Where none keeps the budget, blocks are ranked by how much
each alone disturbs the outputs, the worst few go back to float, and the ways to choose ranges are compared again, since
the worst blocks hide what each does to the rest. The best grow, a few blocks at a time, until one keeps the budget;
then blocks that turn out not to be needed go back to INT8, least sensitive first. Where INT8 is hardly faster than
float, long runs of blocks at the front, where pictures are large and channels few, are tried in float too.

Figures are cross-fitted (:mod:`tools.model.quantize.judge`): what they judge is the recipe. The file handed over is
calibrated on all pictures, since more of them choose ranges better; should it miss the budget on the very pictures that
calibrated it, the file of one half takes its place. Choosing among many candidates by the same pictures
flatters the chosen one a little; a budget is kept on those pictures, and evaluation on others is another step.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Literal

import msgspec
import onnx

from agent import atomic
from agent.types import ModelSpec
from tools.model.datasets.records import Dataset
from tools.model.quantize.budget import Budget, BudgetMissed, Figures
from tools.model.quantize.judge import Latency
from tools.model.quantize.static import PLAIN, Calibration, Recipe
from tools.model.quantize.workbench import Progress, Workbench

FIRST_FLOATS = 4
LADDER = (8, 12, 16, 24, 32, 48, 64, 96)
MOST_FLOAT = 0.6
"""With more of its blocks in float, a model is no INT8 model."""

CONTENDERS = 3
PRUNED = 10
FAST_ENOUGH = 1.1
SAME_SPEED = 0.02
FRONTS = (0.1, 0.2, 0.35)
FINAL_ROUNDS = 80
SILU_FLOOR = -6.0

Shown = Literal["all", "even", "odd"]
Verdict = Literal["int8", "mixed", "float"]


class Tried(msgspec.Struct, frozen=True):
    """One candidate: its ranges, the blocks in float (beside the decode tail), what was measured."""

    method: str
    engine: str
    floats: tuple[str, ...]
    figures: Figures
    inside: bool
    latency: Latency | None = None


class Quantized(msgspec.Struct, frozen=True):
    """The file at ``path``, calibrated on the pictures of ``shown``, and what is known of its recipe.

    ``figures`` are cross-fitted on ``pictures``; ``in_sample`` are the file's own on all of them, which only says that
    it is whole. ``kept_float`` are nodes, ``floats`` blocks of ``blocks``. ``verdict``: what to ship, ``float`` where
    INT8 is not faster on this machine; ``advice`` says it in a sentence.
    """

    path: Path
    recipe: Recipe
    kept_float: tuple[str, ...]
    floats: tuple[str, ...]
    blocks: int
    shown: Shown
    calibration: Calibration
    pictures: int
    figures: Figures
    in_sample: Figures
    latency_fp32_ms: float
    latency_int8_ms: float
    verdict: Verdict
    advice: str
    budget: str | None
    tried: tuple[Tried, ...]

    @property
    def speed_up(self) -> float:
        """How many times faster than the cleaned float model, at one thread."""
        return self.latency_fp32_ms / self.latency_int8_ms

    @property
    def float_map(self) -> float | None:
        """The float model's mAP 50-95."""
        return self.figures.float_map

    @property
    def int8_map(self) -> float | None:
        """The recipe's mAP 50-95, cross-fitted."""
        return self.figures.map_50_95

    @property
    def agreement(self) -> float:
        """Agreement with the float model, cross-fitted."""
        return self.figures.agreement

    @property
    def top1(self) -> float | None:
        """The recipe's top-1, cross-fitted."""
        return self.figures.top1


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A recipe without its floats, the blocks in float, and what was measured."""

    base: Recipe
    floats: tuple[str, ...]
    figures: Figures
    excess: float

    @property
    def order(self) -> tuple[float, float]:
        """Better ones first."""
        return (self.excess, -self.figures.agreement)


def search(
    cleaned: Path,
    spec: ModelSpec,
    dataset: Dataset,
    budget: Budget,
    target: Path,
    *,
    cache: Path,
    on_progress: Progress,
    base: Recipe = PLAIN,
    bases: tuple[Recipe, ...] = (),
    always_float: tuple[str, ...] = (),
) -> Quantized:
    """Find a recipe within ``budget`` and write it to ``target``. Stop it at any time: it goes on from ``cache``.

    ``base``: types and grain of every candidate; ``bases``: the only ways to choose ranges that are tried (all by
    default, NNCF among them where it is installed); ``always_float``: nodes that no candidate quantizes.

    Raises :class:`BudgetMissed` (nothing is written), :class:`~agent.errors.InputError`,
    :class:`~agent.errors.StorageError`.
    """
    with Workbench(cleaned, spec, dataset, cache, on_progress, always_float) as bench:
        budget.check(spec.task, labelled=bench.judge.labelled)
        hunt = _Hunt(bench, budget, bases or every_base(base))
        best, _ = hunt.fastest(hunt.inside())
        return _hand_over(bench, best, target, budget, hunt.rows())


def plain(
    cleaned: Path,
    spec: ModelSpec,
    dataset: Dataset,
    recipe: Recipe,
    target: Path,
    *,
    cache: Path,
    on_progress: Progress,
    always_float: tuple[str, ...] = (),
) -> Quantized:
    """Quantize by one recipe without a budget, the decode tail left float, and measure it like a search would."""
    with Workbench(cleaned, spec, dataset, cache, on_progress, always_float) as bench:
        bench.meter.plan("figures", 1)
        figures = bench.figures(bench.recipe(recipe), f"measuring {recipe.method}")
        candidate = Candidate(recipe, (), figures, 0.0)
        latency = bench.latency(bench.recipe(recipe), "timing")
        row = Tried(recipe.method, recipe.engine, (), figures, inside=True, latency=latency)
        return _hand_over(bench, candidate, target, None, (row,))


def every_base(base: Recipe) -> tuple[Recipe, ...]:
    """Return the ways to choose ranges that a search compares; NNCF's too where it is installed."""
    ways = [
        dataclasses.replace(base, ranges="minmax"),
        *(dataclasses.replace(base, ranges="percentile", percentile=share) for share in (99.999, 99.99, 99.9)),
        dataclasses.replace(base, ranges="mse"),
        dataclasses.replace(base, ranges="entropy"),
    ]
    if importlib.util.find_spec("nncf") is not None:
        ways.append(dataclasses.replace(base, engine="nncf"))
    return tuple(ways)


class _Hunt:
    """One search's candidates."""

    def __init__(self, bench: Workbench, budget: Budget, bases: tuple[Recipe, ...]) -> None:
        self._bench = bench
        self._budget = budget
        self._bases = bases
        self._tried: dict[tuple[Recipe, tuple[str, ...]], Candidate] = {}
        self._latencies: dict[tuple[Recipe, tuple[str, ...]], Latency] = {}
        self._order: list[str] = []

    def inside(self) -> list[Candidate]:
        """Return candidates that keep the budget, or raise :class:`BudgetMissed`."""
        self._bench.meter.plan("figures", 2 * len(self._bases) + 20)
        self._bench.meter.plan("probe", len(self._bench.blocks))
        self._bench.meter.plan("latency", 5)
        whole = sorted((self._try(base, ()) for base in self._bases), key=lambda one: one.order)
        found = [one for one in whole if one.excess == 0]
        if found:
            self._bench.meter.plan("probe", 0)
            self._bench.meter.plan("figures", 0)
            return found
        self._order = [name for name, _ in self._bench.sensitivity(_ranker(whole))]
        return [*self._grown(self._contenders(whole))]

    def _contenders(self, whole: list[Candidate]) -> list[Candidate]:
        """Compare the ways to choose ranges with the worst blocks in float; hopeless ones are left out."""
        floats = tuple(self._order[: self._sizes()[0]])
        bases = _hopeful(whole)
        if self._bench.has_silu:
            bases += [dataclasses.replace(one, silu_floor=SILU_FLOOR) for one in bases if one.engine == "ort"]
        self._bench.meter.plan("figures", len(bases) + 14)
        return sorted((self._try(base, floats) for base in bases), key=lambda one: one.order)[:CONTENDERS]

    def _sizes(self) -> list[int]:
        """Return how many blocks may be float, growing; never most of them."""
        most = max(1, int(MOST_FLOAT * len(self._bench.blocks)))
        return [min(FIRST_FLOATS, most), *(size for size in LADDER if size <= most)]

    def _grown(self, contenders: list[Candidate]) -> list[Candidate]:
        """Let the contenders keep more blocks float until one is inside, then prune it."""
        fewer = 0
        for size in self._sizes():
            grown = [self._try(one.base, tuple(self._order[:size])) for one in contenders]
            grown.sort(key=lambda one: one.order)
            if grown[0].excess == 0:
                return [one for one in (self._pruned(grown[0], fewer), *grown) if one.excess == 0]
            fewer = size
            contenders = grown[: max(1, len(grown) - 1)] if size > FIRST_FLOATS else grown
        raise self._missed()

    def _pruned(self, found: Candidate, fewer: int) -> Candidate:
        """Give blocks back to INT8 as long as the budget holds: half of those added last, then one by one."""
        middle = (fewer + len(found.floats)) // 2
        if fewer < middle < len(found.floats):
            half = self._try(found.base, tuple(self._order[:middle]))
            found = half if half.excess == 0 else found
        self._bench.meter.plan("figures", PRUNED)
        for name in list(reversed(found.floats))[:PRUNED]:
            one_less = self._try(found.base, tuple(other for other in found.floats if other != name))
            if one_less.excess == 0:
                found = one_less
        self._bench.meter.plan("figures", 0)
        return found

    def fastest(self, inside: list[Candidate]) -> tuple[Candidate, Latency]:
        """Return the fastest, among equals the one with the fewest blocks in float, then the most agreement."""
        timed = [(one, self._time(one)) for one in inside]
        if max(latency.speed_up for _, latency in timed) < FAST_ENOUGH:
            timed += self._with_float_fronts(min(inside, key=lambda one: (len(one.floats), *one.order)), timed)
        most = max(latency.speed_up for _, latency in timed)
        near = [pair for pair in timed if pair[1].speed_up >= most * (1 - SAME_SPEED)]
        return min(near, key=lambda pair: (len(pair[0].floats), -pair[0].figures.agreement))

    def _with_float_fronts(
        self, found: Candidate, timed: list[tuple[Candidate, Latency]]
    ) -> list[tuple[Candidate, Latency]]:
        """Return candidates with a long run of float blocks at the front that are faster and keep the budget."""
        names = [block.name for block in self._bench.blocks]
        most = max(latency.speed_up for _, latency in timed)
        faster = []
        for share in FRONTS:
            front = set(names[: round(share * len(names))])
            floats = tuple(name for name in names if name in front or name in found.floats)
            what = f"timing with the first {len(front)} blocks float"
            latency = self._bench.latency(self._bench.recipe(found.base, floats), what)
            if latency.speed_up > most * (1 + SAME_SPEED):
                candidate = self._try(found.base, floats)
                self._latencies[found.base, floats] = latency
                if candidate.excess == 0:
                    faster.append((candidate, latency))
        return faster

    def rows(self) -> tuple[Tried, ...]:
        """Return everything that was tried, for the report."""
        return tuple(
            Tried(base.method, base.engine, floats, one.figures, one.excess == 0, self._latencies.get((base, floats)))
            for (base, floats), one in self._tried.items()
        )

    def _try(self, base: Recipe, floats: tuple[str, ...]) -> Candidate:
        if (base, floats) not in self._tried:
            name = base.method if base.engine == "ort" else "NNCF"
            what = f"{name}, {len(floats)} of {len(self._bench.blocks)} blocks float"
            figures = self._bench.figures(self._bench.recipe(base, floats), what)
            self._tried[base, floats] = Candidate(base, floats, figures, self._budget.excess(figures))
        return self._tried[base, floats]

    def _time(self, one: Candidate) -> Latency:
        recipe = self._bench.recipe(one.base, one.floats)
        latency = self._bench.latency(recipe, f"timing {len(one.floats)} blocks float")
        self._latencies[one.base, one.floats] = latency
        return latency

    def _missed(self) -> BudgetMissed:
        nearest = min(self._tried.values(), key=lambda one: one.order)
        return BudgetMissed(
            f"budget {self._budget}: none of {len(self._tried)} candidates keeps it. The nearest "
            f"({nearest.base.method}, {len(nearest.floats)} of {len(self._bench.blocks)} blocks in float): "
            f"{nearest.figures}. Nothing was written; "
            "state a wider budget, give more pictures, or ship the float model"
        )


def _hopeful(whole: list[Candidate]) -> list[Recipe]:
    """Return the recipes no more than twice as far off as the best, of which blocks may be kept in float.

    NNCF's is among them only where it was asked for alone: it calibrates anew for every candidate, half a minute each.
    """
    ours = [one for one in whole if one.base.engine == "ort"] or whole
    least = min(one.excess for one in ours)
    return [one.base for one in ours if one.excess <= 2 * least]


def _ranker(whole: list[Candidate]) -> Recipe:
    """Return the best recipe by which single blocks can be quantized: NNCF would calibrate anew for each of them."""
    ours = [one.base for one in whole if one.base.engine == "ort"]
    return ours[0] if ours else dataclasses.replace(whole[0].base, engine="ort", ranges="mse")


def _hand_over(
    bench: Workbench,
    best: Candidate,
    target: Path,
    budget: Budget | None,
    tried: tuple[Tried, ...],
) -> Quantized:
    """Calibrate, write, and say what it is worth."""
    recipe = bench.recipe(best.base, best.floats)
    shown, model, in_sample = _calibrated(bench, recipe, budget)
    atomic.write_bytes(target, model.SerializeToString())
    latency = bench.judge.latency(target, rounds=FINAL_ROUNDS)
    verdict, advice = judge_speed(latency, len(best.floats), len(bench.blocks))
    return Quantized(
        path=target,
        recipe=recipe,
        kept_float=recipe.kept_float,
        floats=best.floats,
        blocks=len(bench.blocks),
        shown=shown,
        calibration=bench.calibration(shown),
        pictures=bench.judge.pictures,
        figures=best.figures,
        in_sample=in_sample,
        latency_fp32_ms=latency.float_ms,
        latency_int8_ms=latency.int8_ms,
        verdict=verdict,
        advice=advice,
        budget=None if budget is None else str(budget),
        tried=tried,
    )


def _calibrated(bench: Workbench, recipe: Recipe, budget: Budget | None) -> tuple[Shown, onnx.ModelProto, Figures]:
    """Return the file calibrated on all pictures, or on a half where only that keeps the budget on all of them."""
    files: list[tuple[Shown, onnx.ModelProto, Figures]] = []
    choices: tuple[Shown, ...] = ("all", "even", "odd")
    for shown in choices:
        model = bench.build(recipe, shown)
        files.append((shown, model, bench.judge.in_sample(model)))
        if budget is None or budget.excess(files[-1][2]) == 0:
            return files[-1]
    return files[0]


def judge_speed(latency: Latency, floats: int, blocks: int) -> tuple[Verdict, str]:
    """Say what to ship. Less than 2 % is not told from none."""
    name = "INT8" if not floats else f"the mixed model ({floats} of {blocks} blocks float)"
    if latency.speed_up >= 1 + SAME_SPEED:
        return (
            "mixed" if floats else "int8"
        ), f"{name} is {latency.speed_up:.2f} times as fast as the float model here"
    return "float", (
        f"{name} is not faster than the cleaned float model on this machine ({latency.speed_up:.2f} times as fast): "
        "ship the float file for machines like this one, or this one where size counts; measure on the target"
    )
