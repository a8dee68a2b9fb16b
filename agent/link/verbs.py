"""The rows of the table of verbs, and answers that come later. The table itself is wired by the composition root."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from agent.errors import LookoutError
from agent.link.forms import Arguments

PATIENCE_S = 120.0
"""How long an answer that comes later may take, unless a row says otherwise."""

MAX_PROGRESS_CHARS = 256

_A = TypeVar("_A", bound=Arguments)

Outcome = msgspec.Struct | LookoutError
"""What a command comes to: its result, or why there is none."""


class Step(msgspec.Struct, frozen=True):
    """How far a command is: in words, and 0..1 where that is known."""

    text: str
    done: float | None = None


class Deferred:
    """An answer that comes later. The first of :meth:`answer` and :meth:`fail` counts; any thread.

    :meth:`progress` is for whoever asked to hear of it; it costs nothing where nobody did.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcome: Outcome | None = None
        self._step: Step | None = None
        self._then: Callable[[Outcome], None] | None = None
        self._heard: Callable[[Step], None] | None = None

    def answer(self, result: msgspec.Struct) -> None:
        """Give the result."""
        self._settle(result)

    def fail(self, error: LookoutError) -> None:
        """Give the reason why there is none."""
        self._settle(error)

    def progress(self, text: str, done: float | None = None) -> None:
        """Tell how far the command is; ``done`` is 0..1. Nothing happens once there is an outcome."""
        known = None if done is None or not math.isfinite(done) else min(1.0, max(0.0, done))
        step = Step(text[:MAX_PROGRESS_CHARS], known)
        with self._lock:
            if self._outcome is not None:
                return
            self._step = step
            heard = self._heard
        if heard is not None:
            heard(step)

    def then(self, tell: Callable[[Outcome], None], heard: Callable[[Step], None] | None = None) -> None:
        """Call ``tell`` once with the outcome, at once if it is there already, and ``heard`` with each step before it.

        For the router. Of the steps before this call only the last is told.
        """
        with self._lock:
            self._then, self._heard = tell, heard
            outcome, step = self._outcome, self._step
        if outcome is not None:
            tell(outcome)
        elif heard is not None and step is not None:
            heard(step)

    def _settle(self, outcome: Outcome) -> None:
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
            tell = self._then
        if tell is not None:
            tell(outcome)


Handled = msgspec.Struct | Deferred


class Verb(msgspec.Struct, frozen=True):
    """A row of the table: ``name`` is ``<part>/<verb>``; ``handler`` takes the arguments and the command's id.

    ``repeatable``: doing it twice does no more than once. ``lane``: commands of one lane run in the order in which they
    came, one at a time. ``patience_s``: for an answer that comes later. ``afterwards`` is called when the command was
    done and its answer is on its way.
    """

    name: str
    form: type[Arguments]
    handler: Callable[[Any, str | None], Handled]
    lane: str
    repeatable: bool = False
    patience_s: float = PATIENCE_S
    afterwards: Callable[[], None] | None = None


def verb_by_id(
    name: str,
    form: type[_A],
    handler: Callable[[_A, str | None], Handled],
    *,
    repeatable: bool = False,
    lane: str = "",
    patience_s: float = PATIENCE_S,
    afterwards: Callable[[], None] | None = None,
) -> Verb:
    """Make a row whose handler takes what its form holds, and the command's id. The lane is the part by default."""
    return Verb(name, form, handler, lane or name.partition("/")[0], repeatable, patience_s, afterwards)


def verb(
    name: str,
    form: type[_A],
    handler: Callable[[_A], Handled],
    *,
    repeatable: bool = False,
    lane: str = "",
    patience_s: float = PATIENCE_S,
    afterwards: Callable[[], None] | None = None,
) -> Verb:
    """Make a row whose handler takes what its form holds (the type checker sees to it)."""
    return verb_by_id(
        name,
        form,
        lambda args, _: handler(args),
        repeatable=repeatable,
        lane=lane,
        patience_s=patience_s,
        afterwards=afterwards,
    )
