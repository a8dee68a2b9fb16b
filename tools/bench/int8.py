"""INT8 by each quantizer's defaults and by ours: same models, same pictures, same run, one table.

Two detectors and COCO's 128 pictures, cross-fitted: every recipe is calibrated on each half and judged by the other
(:mod:`tools.model.quantize.judge`). The rows: ONNX Runtime's ``quantize_static`` as it comes, NNCF's ``quantize`` as it
comes (where the extra ``nncf`` is installed), and :func:`tools.model.quantize.search.search` with a budget, from a cold
start. Speed is told against the *cleaned* float model at one thread.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

import msgspec
import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from agent.errors import InputError
from agent.types import ModelSpec
from tools.bench.models import NANODET_M, YOLOX_NANO
from tools.model.clean import clean
from tools.model.datasets.read import read_dataset
from tools.model.datasets.records import Dataset
from tools.model.quantize import nncf_engine, search, static
from tools.model.quantize.budget import Budget, Figures
from tools.model.quantize.judge import Judge
from tools.model.quantize.static import Recipe

DATA = Path("data/coco128")
ROUNDS = 80

Progress = Callable[[str], None]


class Row(msgspec.Struct, frozen=True):
    """One way to quantize one model. ``seconds``: all of it, measuring included; ``note`` says what is special."""

    model: str
    way: str
    figures: Figures | None
    map_lost: float | None
    speed_up: float | None
    seconds: float
    note: str = ""


class Int8Report(msgspec.Struct, frozen=True):
    """The table, and what it stands on."""

    pictures: int
    rows: tuple[Row, ...]


CASES: tuple[tuple[str, str, ModelSpec, str], ...] = (
    (
        "NanoDet-m",
        NANODET_M.file,
        msgspec.structs.replace(
            NANODET_M.spec, input=msgspec.structs.replace(NANODET_M.spec.input, resize="letterbox")
        ),
        "map=0.8,agreement=0.83",
    ),
    ("YOLOX-Nano", YOLOX_NANO.file, YOLOX_NANO.spec, "map=1.2,agreement=0.87"),
)
"""Name, file, spec, budget. NanoDet keeps the aspect ratio: stretched pictures cost it 3 points of mAP."""


def int8_case(shared: Path, *, progress: Progress, cache: Path | None = None) -> Int8Report:
    """Quantize both models in every way. Raises :class:`~agent.errors.LookoutError`."""
    dataset = read_dataset(shared / DATA)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lookout-int8-") as name:
        folder = Path(name)
        for model, file, spec, budget in CASES:
            cleaned = folder / f"{model}.onnx"
            clean(shared / "models" / file, cleaned, input_shape=spec.input.shape)
            with Judge(cleaned, spec, dataset) as judge:
                rows += _defaults(model, cleaned, judge, folder, progress)
            rows.append(_ours(model, cleaned, spec, dataset, budget, folder, cache or folder / "cache", progress))
    return Int8Report(len(dataset.pictures), tuple(rows))


def _defaults(model: str, cleaned: Path, judge: Judge, folder: Path, progress: Progress) -> list[Row]:
    rows = []
    ways: list[tuple[str, Callable[[list[np.ndarray]], onnx.ModelProto]]] = [
        ("ONNX Runtime's defaults", lambda tensors: onnxruntime_defaults(cleaned, tensors, folder / "ort.onnx"))
    ]
    try:
        nncf_engine.load()
        loaded = static.load(cleaned)
        ways.append(("NNCF's defaults", lambda tensors: nncf_engine.quantize(loaded, tensors, Recipe(engine="nncf"))))
    except InputError as error:
        rows.append(Row(model, "NNCF's defaults", None, None, None, 0.0, note=error.message))
    for way, make in ways:
        progress(f"{model}: {way}")
        started = time.perf_counter()
        even, odd = (make(half) for half in judge.halves)
        figures, latency = judge.cross_fit(even, odd), judge.latency(even, rounds=ROUNDS)
        spent_s = time.perf_counter() - started
        rows.append(Row(model, way, figures, figures.map_lost, latency.speed_up, spent_s))
    return rows


def _ours(
    model: str,
    cleaned: Path,
    spec: ModelSpec,
    dataset: Dataset,
    budget: str,
    folder: Path,
    cache: Path,
    progress: Progress,
) -> Row:
    started = time.perf_counter()
    target = folder / f"{model}.int8.onnx"

    def tell(what: str, share: float, _: float | None) -> None:
        progress(f"{model}: {share:.0%} {what}")

    found = search.search(cleaned, spec, dataset, Budget.parse(budget), target, cache=cache, on_progress=tell)
    note = f"{found.recipe.method}, {len(found.floats)} of {found.blocks} blocks float, {len(found.tried)} tried"
    spent_s = time.perf_counter() - started
    way = f"lookout, {budget}"
    return Row(model, way, found.figures, found.figures.map_lost, found.speed_up, spent_s, note=note)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    def __init__(self, name: str, tensors: list[np.ndarray]) -> None:
        self._feeds = iter([{name: tensor} for tensor in tensors])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def onnxruntime_defaults(cleaned: Path, tensors: list[np.ndarray], target: Path) -> onnx.ModelProto:
    """Return what ``quantize_static`` makes of a cleaned model when it is told nothing else."""
    reader = _Reader(onnx.load(cleaned).graph.input[0].name, tensors)
    quantize_static(str(cleaned), str(target), reader)
    return onnx.load(target)
