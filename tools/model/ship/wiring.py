"""The real steps behind the protocols: the quantizer's search, the evaluation, the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent import atomic
from agent.infer.providers import full_name
from agent.types import ModelSpec
from tools.model.bench import rounds, show
from tools.model.bench.records import Figures as Timed
from tools.model.bench.runners import Here
from tools.model.datasets.read import Dataset
from tools.model.quantize.budget import Budget, Figures
from tools.model.quantize.search import Quantized, search
from tools.model.ship.evaluating import evaluate
from tools.model.ship.parts import Figure, Int8, OnProgress, Outcome, Parts, Rows

INT8 = "model.int8.onnx"
BENCH_ROUNDS, BENCH_SECONDS = 5, 1.5
_PARTS_OF_PROGRESS = 1000


def check_budget(budget: str, spec: ModelSpec, dataset: Dataset) -> None:
    """Refuse a budget that cannot be read, or not be measured with these pictures. Raises :class:`InputError`."""
    labelled = any(picture.label is not None or len(picture.truth) for picture in dataset.pictures)
    Budget.parse(budget).check(spec.task, labelled=labelled)


def quantize(
    cleaned: Path,
    spec: ModelSpec,
    dataset: Dataset,
    budget: str,
    folder: Path,
    *,
    cache: Path,
    on_progress: OnProgress,
) -> Int8:
    """Search. Raises :class:`~tools.model.quantize.budget.BudgetMissed`, which says how near it came."""

    def tell(what: str, share: float, left_s: float | None) -> None:
        words = what if left_s is None else f"{what}, about {left_s:.0f} s left"
        on_progress(words, round(share * _PARTS_OF_PROGRESS), _PARTS_OF_PROGRESS)

    found = search(cleaned, spec, dataset, Budget.parse(budget), folder / INT8, cache=cache, on_progress=tell)
    return Int8(INT8, found.verdict, _section(found), _outcome(found, spec, dataset))


def _section(found: Quantized) -> dict[str, Any]:
    method = str(found.recipe)
    if found.floats:
        method += f", {len(found.floats)} of {found.blocks} blocks and the decode tail float"
    calibration = {"images": found.calibration.images, "sha256": found.calibration.sha256}
    return {"method": method[:500], "calibration": calibration, "kept_float": list(found.kept_float)}


def _outcome(found: Quantized, spec: ModelSpec, dataset: Dataset) -> Outcome:
    where = "" if dataset.path is None else dataset.path.resolve().name
    metrics: dict[str, Any] = {"dataset": where, "images": found.pictures, "figures": "cross-fitted"}
    metrics |= _figures(found.figures)
    says = [f"cross-fitted on {found.pictures} pictures: {found.figures}", found.advice]
    if found.verdict == "float":
        says.append(
            "both variants are shipped all the same: each device serves the one that its own trial finds faster"
        )
    rows = tuple(
        (
            one.method,
            str(len(one.floats)),
            *_points(one.figures),
            f"{one.figures.agreement:.3f}",
            "-" if one.latency is None else f"{one.latency.speed_up:.2f}x",
            "yes" if one.inside else "no",
        )
        for one in found.tried
    )
    lost = "mAP lost, points" if spec.task == "detect" else "top-1 lost, points"
    table = Rows("Tried", ("ranges", "blocks float", lost, "agreement", "speed", "inside the budget"), rows)
    facts = {key: value for key, value in msgspec.to_builtins(found, enc_hook=str).items() if key != "path"}
    return Outcome(tuple(says), facts, metrics, (table,))


def _points(figures: Figures) -> tuple[str]:
    lost = figures.map_lost if figures.map_lost is not None else figures.top1_lost
    return ("-" if lost is None else f"{lost:+.2f}",)


def _figures(figures: Figures) -> dict[str, Any]:
    metrics: dict[str, Any] = {"agreement": round(figures.agreement, 4)}
    if figures.float_map is not None and figures.map_50_95 is not None:
        metrics["map_50_95"] = {"fp32": round(figures.float_map, 4), "int8": round(figures.map_50_95, 4)}
    if figures.float_top1 is not None and figures.top1 is not None:
        metrics["top1"] = {"fp32": round(figures.float_top1, 4), "int8": round(figures.top1, 4)}
    return metrics


def bench(models: Mapping[str, Path], folder: Path, *, on_progress: OnProgress) -> Outcome:
    """Time the variants in turns, one process each, one thread."""
    cells = rounds.cells_of(list(models.values()), [full_name("cpu")], [1])
    report = rounds.run(cells, Here(), shapes={}, rounds=BENCH_ROUNDS, seconds=BENCH_SECONDS, on_progress=on_progress)
    atomic.write_bytes(folder / "bench.png", show.plot(report))
    by_name = {row.model: row for row in report.figures}
    rows = {precision: by_name[path.name] for precision, path in models.items() if path.name in by_name}
    says = _bench_words(rows)
    if rounds.busy(report):
        says.append("others used this machine meanwhile: the times mean little, bench again when it is quiet")
    table = Rows(
        f"session.run at one thread on {report.hosts[0].cpu}",
        ("variant", *show.NUMBERS),
        tuple((precision, *(cell(row) for cell in show.NUMBERS.values())) for precision, row in rows.items()),
    )
    metrics: dict[str, Any] = {
        "host": f"{report.hosts[0].cpu}, {report.hosts[0].machine}",
        "latency_ms_p50": {precision: round(row.p50_ms, 3) for precision, row in rows.items()},
    }
    if {"fp32", "int8"} <= rows.keys():
        metrics["latency_ratio"] = round(rows["int8"].p50_ms / rows["fp32"].p50_ms, 3)
    facts: dict[str, Any] = msgspec.to_builtins(report)
    figures = (Figure("bench.png", "Latency, interleaved rounds, one process each"),)
    return Outcome(tuple(says), facts, metrics, (table,), figures)


def _bench_words(rows: Mapping[str, Timed]) -> list[str]:
    if not {"fp32", "int8"} <= rows.keys():
        return [f"{precision}: {row.p50_ms:.2f} ms" for precision, row in rows.items()]
    ratio = rows["fp32"].p50_ms / rows["int8"].p50_ms
    words = f"INT8 {rows['int8'].p50_ms:.2f} ms, float {rows['fp32'].p50_ms:.2f} ms: {ratio:.2f} times as fast"
    if ratio >= 1:
        return [words]
    return [f"{words}: INT8 is slower on this machine; every device serves the variant that its own trial finds faster"]


PARTS = Parts(check_budget, quantize, evaluate, bench)
