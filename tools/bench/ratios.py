"""Medians, and ratios with their spread. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Ratio(msgspec.Struct, frozen=True):
    """The median of the rounds' ratios. Both of a ratio were measured one after the other, in the same round."""

    median: float
    rounds: tuple[float, ...]

    @property
    def least(self) -> float:
        """The smallest of the rounds."""
        return min(self.rounds)

    @property
    def most(self) -> float:
        """The greatest of the rounds."""
        return max(self.rounds)


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Divide round by round. Raises ValueError for unlike numbers of rounds, none, or a divisor of 0 or less."""
    if len(above) != len(below) or not above:
        raise ValueError(f"{len(above)} and {len(below)} rounds: the same number, at least one, is needed")
    if min(below) <= 0:
        raise ValueError(f"a round measured {min(below)}: a ratio needs more than 0")
    rounds = tuple(one / other for one, other in zip(above, below, strict=True))
    return Ratio(statistics.median(rounds), rounds)


def turned(names: Sequence[str], number: int) -> list[str]:
    """Return the order of round ``number``: each round begins one further on, so that none is always the first."""
    start = number % len(names) if names else 0
    return [*names[start:], *names[:start]]
