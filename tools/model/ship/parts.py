"""What ``ship`` asks of the other steps of the workshop, in a form that it can put aside and read again.

The road itself (:mod:`tools.model.ship.road`) knows only these protocols; :mod:`tools.model.ship.wiring` has the real
ones. Everything that is returned is JSON, or a file in the folder that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from agent.types import ModelSpec

if TYPE_CHECKING:
    from tools.model.datasets.read import Dataset

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much (0, 0 while it does not count)."""


class Figure(msgspec.Struct, frozen=True):
    """A picture for the report: a PNG or JPEG in the step's folder."""

    file: str
    caption: str


class Rows(msgspec.Struct, frozen=True):
    """A table for the report."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Outcome(msgspec.Struct, frozen=True):
    """What a step found. ``facts`` go into report.json, ``metrics`` into the manifest, ``says`` are sentences."""

    says: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    tables: tuple[Rows, ...] = ()
    figures: tuple[Figure, ...] = ()


class Int8(msgspec.Struct, frozen=True):
    """The quantizer's answer. ``file``: in the step's folder, None where the float model is to be shipped alone.

    ``section``: the manifest's ``quantization``.
    """

    file: str | None
    verdict: str
    section: dict[str, Any]
    outcome: Outcome


class Quantize(Protocol):
    """Find an INT8 model within the budget, or raise ``BudgetMissed``."""

    def __call__(
        self,
        cleaned: Path,
        spec: ModelSpec,
        dataset: Dataset,
        budget: str,
        folder: Path,
        *,
        cache: Path,
        on_progress: OnProgress,
    ) -> Int8:
        """Write the model below ``folder``; ``cache`` outlives an interruption."""


class Evaluate(Protocol):
    """Measure how right the variants are."""

    def __call__(
        self,
        models: Mapping[str, Path],
        spec: ModelSpec,
        dataset: Dataset,
        labels: tuple[str, ...],
        folder: Path,
        *,
        unseen: bool,
        on_progress: OnProgress,
    ) -> Outcome:
        """Compare by precision, the first being the reference; pictures go into ``folder``.

        ``unseen``: none of the pictures has calibrated.
        """


class Bench(Protocol):
    """Measure how fast the variants are on this machine."""

    def __call__(self, models: Mapping[str, Path], folder: Path, *, on_progress: OnProgress) -> Outcome:
        """Time them by precision, the first being the reference."""


class CheckBudget(Protocol):
    """Refuse a budget that cannot be read or measured, before anything slow. Raises :class:`InputError`."""

    def __call__(self, budget: str, spec: ModelSpec, dataset: Dataset) -> None:
        """Check it."""


@dataclass(frozen=True)
class Parts:
    """The steps that others own."""

    check_budget: CheckBudget
    quantize: Quantize
    evaluate: Evaluate
    bench: Bench
