"""What the decoders share: their result, their parameters, their grids. Pure.

A decoder is two functions. ``expect`` is called once, when a model is loaded: it checks the parameters and says which
outputs the family has. ``decode`` is called for each frame with these outputs, in the order in which ``expect`` named
them whatever their order in the file, float32 and finite, and throws everything below the score floor away before it
computes a box. Two parameters are every family's, and read by the detector: ``outputs`` names the file's outputs in
``expect``'s order where shapes and names leave it open, ``nms`` says how overlapping boxes are merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from agent.errors import ModelError

Shape = tuple[int, ...]
Size = tuple[int, int]
Params = Mapping[str, Any]
Overlaps = Literal["per_class", "class_agnostic", "none"]
"""A box goes for a better one of its class, for any better one, or never: the model has done it."""

GENERAL = ("nms", "outputs")
"""Parameters that every family has."""


class Candidates(NamedTuple):
    """What scored at least the floor, before NMS, in no order.

    ``boxes``: float32 ``(n, 4)`` xyxy in input pixels, clipped to it where the family does so before NMS; ``scores``:
    float32 ``(n,)``; ``class_ids``: int32 ``(n,)``.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


@dataclass(frozen=True)
class Output:
    """An output that shape alone may not tell from another one.

    ``shapes``: any of these will do, -1 is any size. ``role``: what it is called in messages. ``names``: what it is
    usually called in files, whole or in part, the surest first. ``whole``: it may hold whole numbers. ``optional``: a
    file may lack it; only the last of a family's outputs may be.
    """

    shapes: tuple[Shape, ...]
    role: str = ""
    names: tuple[str, ...] = ()
    whole: bool = False
    optional: bool = False


Expected = Shape | Output


class Decode(Protocol):
    """Read a model's outputs. ``input_size`` is (width, height) in pixels."""

    def __call__(
        self,
        outputs: list[np.ndarray],
        *,
        input_size: Size,
        params: Params,
        num_classes: int,
        score_floor: float,
    ) -> Candidates:
        """Return the candidates that score at least ``score_floor``."""


class Expect(Protocol):
    """Check parameters and name the outputs' shapes."""

    def __call__(self, *, input_size: Size, params: Params, num_classes: int) -> Sequence[Expected]:
        """Return the outputs that are read, in the order in which ``decode`` wants them. Raises :class:`ModelError`.

        A bare shape stands for an output that nothing but its shape tells from others; where several have it, they are
        taken in the file's order.
        """


class Decoder(NamedTuple):
    """One family; calling it decodes. ``overlaps`` holds unless a manifest says otherwise (:func:`overlaps_of`)."""

    decode: Decode
    expect: Expect
    task: str
    overlaps: Overlaps = "per_class"

    def __call__(
        self,
        outputs: list[np.ndarray],
        *,
        input_size: Size,
        params: Params,
        num_classes: int,
        score_floor: float,
    ) -> Candidates:
        """Decode: see :class:`Decode`."""
        return self.decode(
            outputs,
            input_size=input_size,
            params=params,
            num_classes=num_classes,
            score_floor=score_floor,
        )


def check_names(params: Params, known: Sequence[str]) -> None:
    """Refuse parameters that the family does not have. Raises :class:`ModelError`."""
    for name in params:
        if name not in known and name not in GENERAL:
            raise ModelError(
                f"decoder.{name}: no such parameter; this decoder has: {', '.join(known)}", field=f"decoder.{name}"
            )


def overlaps_of(params: Params, usual: Overlaps) -> Overlaps:
    """Return how overlapping boxes are merged: as ``nms`` says, else as is ``usual``. Raises :class:`ModelError`."""
    return one_of(params, "nms", get_args(Overlaps), usual)  # type: ignore[return-value]  # it is one of these


def one_of(params: Params, name: str, known: Sequence[str], default: str) -> str:
    """Return a text that is one of those ``known``. Raises :class:`ModelError`."""
    value = params.get(name, default)
    if value not in known:
        raise ModelError(f"decoder.{name} {value!r}: it may be {', '.join(known)}", field=f"decoder.{name}")
    return str(value)


def numbers_of(
    params: Params, name: str, default: Sequence[float] | None, *, count: int | None = None
) -> tuple[float, ...]:
    """Return a list of numbers above 0, ``count`` of them. Raises :class:`ModelError`, also where it is missing."""
    value = params.get(name, default)
    fits = isinstance(value, list | tuple) and value and all(_is_positive(number) for number in value)
    if not fits or count not in (None, len(value)):
        raise ModelError(
            f"decoder.{name} {value!r}: a list of {'' if count is None else f'{count} '}numbers above 0 is needed",
            field=f"decoder.{name}",
        )
    return tuple(float(number) for number in value)


def strides_of(params: Params, input_size: Size) -> tuple[int, ...]:
    """Return ``strides`` (default 8, 16, 32), each dividing the input's sides. Raises :class:`ModelError`."""
    value = params.get("strides", (8, 16, 32))
    whole = isinstance(value, list | tuple) and value and all(_is_whole(stride, 1) for stride in value)
    if not whole:
        raise ModelError(f"decoder.strides {value!r}: a list of whole numbers is needed", field="decoder.strides")
    width, height = input_size
    for stride in value:
        if width % stride or height % stride:
            raise ModelError(
                f"decoder.strides {list(value)}: {stride} does not divide the input's size, {width}x{height}",
                field="decoder.strides",
            )
    return tuple(value)


def whole_number(params: Params, name: str, default: int, *, least: int = 1) -> int:
    """Return a whole number of at least ``least``. Raises :class:`ModelError`."""
    value = params.get(name, default)
    if not _is_whole(value, least):
        raise ModelError(
            f"decoder.{name} {value!r}: a whole number of at least {least} is needed", field=f"decoder.{name}"
        )
    return int(value)


def flag(params: Params, name: str, *, default: bool = False) -> bool:
    """Return true or false. Raises :class:`ModelError`."""
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise ModelError(f"decoder.{name} {value!r}: true or false is needed", field=f"decoder.{name}")
    return value


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def any_in_row(mask: np.ndarray) -> np.ndarray:
    """Return the rows of a mask ``(n, m)`` in which something is True, ascending.

    Few are, in a model's scores: where a row holds whole eights, eight values are looked at as one, four times sooner.
    """
    width = mask.shape[1]
    if width % 8 == 0 and mask.flags.c_contiguous:
        mask, width = mask.view(np.uint64), width // 8
    hits = mask.reshape(-1).nonzero()[0] // width
    first: np.ndarray = np.concatenate([hits[:1], hits[1:][hits[1:] != hits[:-1]]])  # those of a row stand side by side
    return first


@lru_cache(maxsize=16)
def cells(input_size: Size, strides: tuple[int, ...]) -> np.ndarray:
    """Return ``(n, 3)`` float32 rows ``column row stride`` of every cell, stride by stride, row by row; read-only.

    A stride that does not divide a side has one more cell there, which reaches beyond the input.
    """
    width, height = input_size
    levels = []
    for stride in strides:
        rows, columns = np.indices((-(-height // stride), -(-width // stride)), np.float32)
        level = np.stack([columns, rows, np.full_like(rows, stride)], axis=-1)
        levels.append(level.reshape(-1, 3))
    every: np.ndarray = np.concatenate(levels)
    every.setflags(write=False)
    return every


@lru_cache(maxsize=16)
def cells_by_column(input_size: Size, strides: tuple[int, ...]) -> np.ndarray:
    """Return :func:`cells` the other way round: ``(3, n)``, columns, rows and strides, each in one piece; read-only."""
    every: np.ndarray = np.ascontiguousarray(cells(input_size, strides).T)
    every.setflags(write=False)
    return every
