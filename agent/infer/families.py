"""Which decoder reads a model: one of this agent's own, else one that a package on this device brings.

Third parties join by an entry point of the group :data:`GROUP`, whose name is the manifest's ``decoder.kind`` and which
names an object with ``decode``, ``expect``, ``task`` and, if it likes, ``overlaps``: what
:class:`agent.infer.decoders.base.Decoder` has. Packages are looked for only when a kind is not in the table, so that
none of them takes a family over, and only in workers and tools: the agent's process passes a manifest's kind on and
leaves the verdict to the trial. What a package brings is checked as it is loaded, and what it raises or answers is
never more than an error that names it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, get_args

import numpy as np

from agent.errors import LookoutError, ModelError, OutputError
from agent.infer.decoders.base import Candidates, Decoder, Expected, Output, Overlaps, Params, Size
from agent.infer.decoders.table import DECODERS
from agent.types import Task

GROUP = "lookout.decoders"

_CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "expect": ((), ("input_size", "params", "num_classes")),
    "decode": (("outputs",), ("input_size", "params", "num_classes", "score_floor")),
}
"""What each function is given by position, and by name."""


def find_decoder(kind: str) -> Decoder:
    """Return the family's decoder. Raises :class:`ModelError`: nobody has it, or the package that does is broken."""
    own = DECODERS.get(kind)
    if own is not None:
        return own
    points = metadata.entry_points(group=GROUP)
    found = {point.value: point for point in points if point.name == kind}
    if not found:
        further = sorted({point.name for point in points} - set(DECODERS))
        raise _refused(
            kind,
            f"this agent has {', '.join(sorted(DECODERS))}"
            + (f"; packages here bring {', '.join(further)}" if further else ""),
        )
    if len(found) > 1:
        raise _refused(kind, f"{' and '.join(sorted(map(_origin, found.values())))} both bring it: remove one")
    return _load(kind, next(iter(found.values())))


def _load(kind: str, point: metadata.EntryPoint) -> Decoder:
    origin = _origin(point)
    try:
        brought = point.load()
    except Exception as error:  # somebody else's module: whatever its import raises
        raise _refused(
            kind, f"{origin} brings it and cannot be loaded ({_said(error)}): install it again, or update it"
        ) from error
    return _Guarded(origin, brought, kind).decoder()


class _Guarded:
    """A third party's decoder, whose failures and odd answers become errors that name the package."""

    def __init__(self, origin: str, brought: Any, kind: str) -> None:
        self._origin = origin
        self._expect = _function(brought, "expect", origin, kind)
        self._decode = _function(brought, "decode", origin, kind)
        self._task = _word(brought, "task", None, get_args(Task), origin, kind)
        self._overlaps = _word(brought, "overlaps", "per_class", get_args(Overlaps), origin, kind)

    def decoder(self) -> Decoder:
        """Return it as the table would have it."""
        return Decoder(self.decode, self.expect, self._task, self._overlaps)

    def expect(self, *, input_size: Size, params: Params, num_classes: int) -> Sequence[Expected]:
        """Return the outputs that it reads. Raises :class:`ModelError`."""
        try:
            outputs = tuple(self._expect(input_size=input_size, params=params, num_classes=num_classes))
            return tuple(want if isinstance(want, Output) else tuple(map(int, want)) for want in outputs)
        except LookoutError:
            raise
        except Exception as error:  # somebody else's code: whatever it raises
            raise ModelError(f"decoder.kind: expect of {self._origin} failed: {_said(error)}") from error

    def decode(
        self, outputs: list[np.ndarray], *, input_size: Size, params: Params, num_classes: int, score_floor: float
    ) -> Candidates:
        """Return its candidates in the right types. Raises :class:`OutputError`."""
        try:
            boxes, scores, class_ids = self._decode(
                outputs, input_size=input_size, params=params, num_classes=num_classes, score_floor=score_floor
            )
            found = Candidates(
                np.asarray(boxes, np.float32), np.asarray(scores, np.float32), np.asarray(class_ids, np.int32)
            )
        except LookoutError:
            raise
        except Exception as error:  # somebody else's code: whatever it raises
            raise OutputError(f"decode of {self._origin} failed: {_said(error)}") from error
        count = len(found.scores) if found.scores.ndim == 1 else -1
        if found.boxes.shape != (count, 4) or found.class_ids.shape != (count,) or not np.isfinite(found.scores).all():
            raise OutputError(
                f"decode of {self._origin} answered boxes {list(found.boxes.shape)}, scores "
                f"{list(found.scores.shape)}, class_ids {list(found.class_ids.shape)}: [n, 4], [n], [n] are needed, "
                "and finite scores"
            )
        return found


def _function(brought: Any, name: str, origin: str, kind: str) -> Callable[..., Any]:
    """Return ``decode`` or ``expect`` after making sure that it can be called as it will be."""
    function = getattr(brought, name, None)
    positional, named = _CALLS[name]
    call = f"{name}({', '.join([*positional, '*', *named])})"
    if not callable(function):
        raise _refused(kind, f"{origin} brings it without {call}: it is no decoder")
    try:
        inspect.signature(function).bind(*positional, **dict.fromkeys(named))
    except (TypeError, ValueError) as error:
        raise _refused(kind, f"{name} of {origin} cannot be called as {call}: {error}") from error
    return function  # type: ignore[no-any-return]  # callable, as was just seen


def _word(brought: Any, name: str, usual: str | None, known: Sequence[str], origin: str, kind: str) -> Any:
    value = getattr(brought, name, usual)
    if value not in known:
        raise _refused(kind, f"{name} of {origin} is {value!r}; it may be {', '.join(known)}")
    return value


def _origin(point: metadata.EntryPoint) -> str:
    package = f"package {point.dist.name} {point.dist.version}" if point.dist else "a package without a name"
    return f"{package} ({point.value})"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _refused(kind: str, reason: str) -> ModelError:
    return ModelError(f"decoder.kind {kind!r}: {reason}", field="decoder.kind")
