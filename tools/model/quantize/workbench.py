"""Makes candidates and measures them, each at most once in the life of a cache.

The one place where a search spends time: :meth:`Workbench.figures` (a recipe, cross-fitted), :meth:`Workbench.latency`
and :meth:`Workbench.sensitivity` (each block alone in INT8, the error of the outputs on a few pictures). Each tells the
:class:`Meter` how long it took, from which the time left is estimated.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from agent.errors import ProgrammingError
from agent.types import ModelSpec
from tools.model.datasets.records import Dataset
from tools.model.quantize import graph, static
from tools.model.quantize.budget import Figures
from tools.model.quantize.candidates import Candidates, noise_to_signal
from tools.model.quantize.judge import Judge, Latency
from tools.model.quantize.ranges import observe
from tools.model.quantize.static import Calibration, Recipe, calibration_of
from tools.model.quantize.store import Store, digest, machine

PROBES = 6
TIMED_ROUNDS = 40

_COSTS = {"figures": 1.0, "probe": 0.1, "latency": 0.4}
"""What a step costs beside the others, until one of its kind was made."""

Progress = Callable[[str, float, "float | None"], None]
"""Told what is being done, the share that is done (0..1), and the seconds left (None: not known yet)."""


class Meter:
    """Estimates the time left from what is planned and how long its like took so far."""

    def __init__(self, tell: Progress) -> None:
        self._tell = tell
        self._planned: dict[str, int] = {}
        self._spent: dict[str, list[float]] = {}

    def plan(self, kind: str, count: int) -> None:
        """Expect ``count`` more steps of a kind."""
        self._planned[kind] = count

    @contextmanager
    def step(self, kind: str, what: str) -> Iterator[None]:
        """Time one step and tell about it first."""
        left = self._left()
        done = sum(sum(times) for times in self._spent.values())
        share = 0.0 if left is None else done / max(done + left, 1e-9)
        self._tell(what, share, left)
        started = time.perf_counter()
        yield
        self._spent.setdefault(kind, []).append(time.perf_counter() - started)
        self._planned[kind] = max(0, self._planned.get(kind, 0) - 1)

    def _left(self) -> float | None:
        if not self._spent:
            return None
        means = {kind: sum(times) / len(times) for kind, times in self._spent.items()}
        unit = max((means[kind] / cost for kind, cost in _COSTS.items() if kind in means), default=None)
        if unit is None:
            return None
        return sum(count * means.get(kind, unit * _COSTS.get(kind, 1.0)) for kind, count in self._planned.items())


class Workbench:
    """A cleaned model, its ranges, its judge and its store. A context manager; one thread."""

    def __init__(
        self,
        cleaned: Path,
        spec: ModelSpec,
        dataset: Dataset,
        cache: Path,
        tell: Progress,
        always_float: tuple[str, ...] = (),
    ) -> None:
        self.meter = Meter(tell)
        self.model = static.load(cleaned, Recipe(kept_float=always_float))
        self.tail = (*graph.decode_tail(self.model), *always_float)
        self.blocks = graph.blocks(self.model)
        self.has_silu = bool(graph.silu_inputs(self.model))
        with self.meter.step("prepare", "preparing the pictures and the float model's answers"):
            self.judge = Judge(cleaned, spec, dataset)
        self._calibrations = tuple(calibration_of(half) for half in self.judge.halves)
        shown = [calibration.sha256 for calibration in self._calibrations]
        truths = [picture.truth.tolist() for picture in dataset.pictures]
        self.store = Store(cache, digest(cleaned.read_bytes(), repr(spec), shown, truths))
        self._candidates: dict[str, Candidates] = {}

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.judge.__exit__()

    def recipe(self, base: Recipe, floats: tuple[str, ...] = ()) -> Recipe:
        """Return ``base`` with the decode tail and the blocks ``floats`` (their names) in float."""
        inside = {name for block in self.blocks if block.name in floats for name in block.nodes}
        kept = tuple(node.name for node in self.model.graph.node if node.name in inside | set(self.tail))
        return dataclasses.replace(base, kept_float=kept)

    def figures(self, recipe: Recipe, what: str) -> Figures:
        """Measure a recipe, cross-fitted."""
        key = digest(dataclasses.asdict(recipe))
        known = self.store.get("figures", key, Figures)
        if known is None:
            if recipe.engine == "ort":
                self._made_of("even")  # not as part of the first candidate's time
            with self.meter.step("figures", what):
                even, odd = (self.build(recipe, half) for half in ("even", "odd"))
                known = self.judge.cross_fit(even, odd)
            self.store.put("figures", key, known)
        return known

    def latency(self, recipe: Recipe, what: str, rounds: int = TIMED_ROUNDS) -> Latency:
        """Time a recipe against float on this machine."""
        key = digest(dataclasses.asdict(recipe), machine(), rounds)
        known = self.store.get("latency", key, Latency)
        if known is None:
            with self.meter.step("latency", what):
                known = self.judge.latency(self.build(recipe, "even"), rounds=rounds)
            self.store.put("latency", key, known)
        return known

    def sensitivity(self, base: Recipe) -> list[tuple[str, float]]:
        """Return the blocks and how much each alone in INT8 disturbs the outputs (noise over signal), worst first."""
        key = digest(dataclasses.asdict(base), PROBES)
        errors = self.store.get("sensitivity", key, dict[str, float]) or {}
        self.meter.plan("probe", len(self.blocks) - len(errors))
        places = np.linspace(0, self.judge.pictures - 1, PROBES).round().astype(int).tolist()
        wanted = self.judge.float_outputs(places)
        for number, block in enumerate(self.blocks, start=1):
            if block.name not in errors:
                with self.meter.step("probe", f"sensitivity of block {number} of {len(self.blocks)}"):
                    model = self.build(base, "even", only=block.nodes)
                    errors[block.name] = noise_to_signal(wanted, self.judge.outputs(model, places))
                self.store.put("sensitivity", key, errors)
        return sorted(errors.items(), key=lambda item: -item[1])

    def build(self, recipe: Recipe, shown: str, *, only: tuple[str, ...] | None = None) -> onnx.ModelProto:
        """Make a candidate, calibrated on the ``even`` half, the ``odd`` half or ``all`` pictures."""
        if recipe.engine == "nncf":
            if only is not None:
                raise ProgrammingError("NNCF quantizes whole models: rank single blocks by a recipe of engine 'ort'")
            from tools.model.quantize import nncf_engine  # needs the extra "nncf"

            even, odd = self.judge.halves
            return nncf_engine.quantize(self.model, {"even": even, "odd": odd, "all": [*even, *odd]}[shown], recipe)
        return self._made_of(shown).build(recipe, only=only)

    def calibration(self, shown: str) -> Calibration:
        """Name the pictures that :meth:`build` calibrates on: of all, the even half comes first."""
        even, odd = self.judge.halves
        return calibration_of({"even": even, "odd": odd, "all": [*even, *odd]}[shown])

    def _made_of(self, shown: str) -> Candidates:
        if not self._candidates:
            with self.meter.step("observe", "watching the float model's values"):
                even, odd = observe(self.model, self.judge.halves)
            parts = {"even": even, "odd": odd, "all": even + odd}
            self._candidates = {name: Candidates(self.model, seen) for name, seen in parts.items()}
        return self._candidates[shown]
