"""What a case of ``lookout bench`` is, what it is given and what it answers. Pure.

A case lives in a module of its own, which names it in ``CASE``; :mod:`tools.bench.registry` has one row for each. Its
settings are a frozen struct: each field is an option of its command (``Annotated[int, typer.Option(help=…)]``), and all
of them are kept in the report. A case measures and returns an :class:`Outcome`; it prints nothing and writes no report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.errors import InputError, LookoutError

Progress = Callable[[str], None]
Side = Literal["at_least", "at_most"]

ERROR, CRITICAL = 40, 50
"""Levels of the log: what the loop logs below is noise between figures; a worker's death too, where it was killed."""


class CannotRun(LookoutError):
    """A host lacks what a case needs; the message says what, and how to get it. No fault of the product."""

    code = "cannot_run"


class Wanted(msgspec.Struct, frozen=True):
    """A bound that was promised. ``where``: what it was promised for (a processor's feature), empty for everywhere."""

    bound: float
    side: Side
    where: str = ""

    def kept_by(self, value: float) -> bool:
        """Return whether ``value`` keeps it."""
        return value >= self.bound if self.side == "at_least" else value <= self.bound


class Figure(msgspec.Struct, frozen=True):
    """One measured quantity, in words a reader of ``docs/performance.md`` understands.

    ``value`` is the median where there were rounds, ``samples`` each round's; None where it could not be measured, and
    ``note`` says why. ``unit``: ``ms``, ``fps``, ``x`` (a ratio), ``MB``, ``%``, ``s``, or empty for a count.
    """

    what: str
    value: float | None
    unit: str = ""
    samples: tuple[float, ...] = ()
    wanted: Wanted | None = None
    note: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the bound was kept; None where there is none, or nothing was measured."""
        return None if self.wanted is None or self.value is None else self.wanted.kept_by(self.value)


class TextTable(msgspec.Struct, frozen=True):
    """A table for the page, beside the figures: where a matrix reads better than a list. Cells are plain text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Outcome(msgspec.Struct, frozen=True):
    """What a case found. ``report``: its own record, whole, for whoever reads the JSON.

    ``others_cores``: what other processes used meanwhile (None: unknown). ``remarks``: what a reader must know, such as
    what was left out and why. ``versions``: of what it ran besides the product's own dependencies. ``page``: False for
    a case whose figures are not for the page.
    """

    figures: tuple[Figure, ...]
    report: Any
    tables: tuple[TextTable, ...] = ()
    remarks: tuple[str, ...] = ()
    others_cores: float | None = None
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class Bench:
    """What a case is given. ``progress`` takes one line for the person who waits; ``out`` keeps what may be kept."""

    shared: Path
    out: Path
    progress: Progress

    @property
    def cache(self) -> Path:
        """Return the folder of what is made once: converted and quantized models. It exists."""
        folder = self.out / "cache"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def need(self, path: str) -> Path:
        """Return a file or folder below the shared one. Raises :class:`~agent.errors.InputError` where it is absent."""
        found = self.shared / path
        if not found.exists():
            raise InputError(f"{found} is absent: give --shared the folder of models and videos")
        return found


@dataclass(frozen=True)
class Case:
    """One row of the benchmark.

    ``run`` takes the bench and settings of the type of ``settings``. ``quick``: settings of ``lookout bench all
    --quick``, which proves that the case works and measures roughly. ``in_all``: whether ``lookout bench all`` runs it.
    ``needs``: files or folders below the shared one without which it is refused before it starts. ``log_level``: what
    the product logs below it is not shown.
    """

    name: str
    title: str
    help: str
    settings: msgspec.Struct
    run: Callable[[Bench, Any], Outcome]
    quick: msgspec.Struct | None = None
    in_all: bool = True
    needs: tuple[str, ...] = ()
    log_level: int = ERROR
