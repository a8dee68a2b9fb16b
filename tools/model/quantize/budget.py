"""What INT8 may cost, as a person states it: ``map=1.0``, ``agreement=0.85``, ``top1=0.5``. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from agent.errors import InputError
from agent.types import Task

Kind = Literal["map", "agreement", "top1"]
_LABELLED = ("map", "top1")


@dataclass(frozen=True)
class Figures:
    """How good a model is beside the float one, cross-fitted; shares 0..1, None where it cannot be told.

    ``map_50_95`` and ``top1`` need labels. ``agreement``: mAP 50-95 of the detections against the float model's own of
    at least 0.3, or the share of pictures with the same first class.
    """

    agreement: float
    map_50_95: float | None = None
    float_map: float | None = None
    top1: float | None = None
    float_top1: float | None = None

    @property
    def map_lost(self) -> float | None:
        """Points of mAP that were lost (negative: gained)."""
        return None if self.map_50_95 is None or self.float_map is None else 100 * (self.float_map - self.map_50_95)

    @property
    def top1_lost(self) -> float | None:
        """Points of top-1 that were lost (negative: gained)."""
        return None if self.top1 is None or self.float_top1 is None else 100 * (self.float_top1 - self.top1)

    def __str__(self) -> str:
        parts = [f"agreement {self.agreement:.3f}"]
        if self.map_lost is not None:
            parts.insert(0, f"{self.map_lost:+.2f} points of mAP lost")
        if self.top1_lost is not None:
            parts.insert(0, f"{self.top1_lost:+.2f} points of top-1 lost")
        return ", ".join(parts)


@dataclass(frozen=True)
class Budget:
    """One limit, and those that hold besides: ``map``, ``top1``: points that may be lost; ``agreement``: the least."""

    kind: Kind
    value: float
    also: tuple[Budget, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``KIND=VALUE``, several parted by commas. Raises :class:`InputError`."""
        first, *more = [cls._parse_one(part.strip(), text) for part in text.split(",")]
        if len({limit.kind for limit in (first, *more)}) <= len(more):
            raise InputError(f"budget {text!r}: a kind is stated twice")
        return cls(first.kind, first.value, tuple(more))

    @classmethod
    def _parse_one(cls, part: str, text: str) -> Budget:
        kind, equals, number = part.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        for known in get_args(Kind):
            if equals and kind == known and 0 <= value <= (1 if known == "agreement" else 100):
                return cls(known, value)
        raise InputError(
            f"budget {text!r}: write map=POINTS or top1=POINTS that may be lost (0 to 100), or "
            "agreement=SHARE (0 to 1), such as map=1.0 or map=1.0,agreement=0.85"
        )

    def check(self, task: Task, *, labelled: bool) -> None:
        """Refuse what cannot be measured. Raises :class:`InputError`."""
        wrong = "top1" if task == "detect" else "map"
        for limit in (self, *self.also):
            if limit.kind == wrong:
                raise InputError(
                    f"budget {limit}: the model's task is {task}; use {'map' if wrong == 'top1' else 'top1'}"
                )
            if limit.kind in _LABELLED and not labelled:
                raise InputError(f"budget {limit}: these pictures have no labels; give a data set, or agreement=0.85")

    def excess(self, figures: Figures) -> float:
        """Return how far beyond the budget a model is, 0 when inside; a point of mAP weighs as 0.01 of agreement."""
        return sum(limit._excess(figures) for limit in (self, *self.also))

    def _excess(self, figures: Figures) -> float:
        if self.kind == "agreement":
            return max(0.0, self.value - figures.agreement)
        lost = figures.map_lost if self.kind == "map" else figures.top1_lost
        assert lost is not None, "Budget.check was called"
        return max(0.0, lost - self.value) / 100

    def __str__(self) -> str:
        return ",".join(f"{limit.kind}={limit.value:g}" for limit in (self, *self.also))


class BudgetMissed(InputError):
    """No candidate kept the budget; the message says how near the nearest came. Nothing was written."""

    code = "budget_missed"
