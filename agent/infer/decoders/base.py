"""What the decoders share: their result, their parameters, their grids. Pure.

A decoder is two functions. ``expect`` is called once, when a model is loaded: it checks the parameters and says which
outputs the family has. ``decode`` is called for each frame with outputs of these shapes, float32 and finite, and throws
everything below the score floor away before it computes a box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from agent.errors import ModelError

Shape = tuple[int, ...]
Size = tuple[int, int]
Params = Mapping[str, Any]


class Candidates(NamedTuple):
    """What scored at least the floor, before NMS, in no order.

    ``boxes``: float32 ``(n, 4)`` xyxy in input pixels, not clipped; ``scores``: float32 ``(n,)``; ``class_ids``: int32
    ``(n,)``.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


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

    def __call__(self, *, input_size: Size, params: Params, num_classes: int) -> tuple[Shape, ...]:
        """Return the shapes that the outputs must have, in any order. Raises :class:`ModelError`."""


class Decoder(NamedTuple):
    """One family; calling it decodes."""

    decode: Decode
    expect: Expect
    task: str

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
        if name not in known:
            raise ModelError(
                f"decoder.{name}: no such parameter; this decoder has: {', '.join(known)}", field=f"decoder.{name}"
            )


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


@lru_cache(maxsize=16)
def cells(input_size: Size, strides: tuple[int, ...]) -> np.ndarray:
    """Return ``(n, 3)`` float32 rows ``column row stride`` of every cell, stride by stride, row by row; read-only."""
    width, height = input_size
    levels = []
    for stride in strides:
        rows, columns = np.indices((height // stride, width // stride), np.float32)
        level = np.stack([columns, rows, np.full_like(rows, stride)], axis=-1)
        levels.append(level.reshape(-1, 3))
    every: np.ndarray = np.concatenate(levels)
    every.setflags(write=False)
    return every
