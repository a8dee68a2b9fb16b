"""The rows of the table of verbs, and answers that come later. The table itself is wired by the composition root."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from agent.errors import LookoutError
from agent.link.forms import Arguments

_A = TypeVar("_A", bound=Arguments)


class Deferred:
    """An answer that comes later. The first of :meth:`answer` and :meth:`fail` counts, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcome: msgspec.Struct | LookoutError | None = None
        self._then: Callable[[msgspec.Struct | LookoutError], None] | None = None

    def answer(self, result: msgspec.Struct) -> None:
        """Give the result."""
        self._settle(result)

    def fail(self, error: LookoutError) -> None:
        """Give the reason why there is none."""
        self._settle(error)

    def then(self, tell: Callable[[msgspec.Struct | LookoutError], None]) -> None:
        """Call ``tell`` once with the outcome, at once if it is there already. For the router."""
        with self._lock:
            self._then = tell
            outcome = self._outcome
        if outcome is not None:
            tell(outcome)

    def _settle(self, outcome: msgspec.Struct | LookoutError) -> None:
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
            tell = self._then
        if tell is not None:
            tell(outcome)


Handled = msgspec.Struct | Deferred


class Verb(msgspec.Struct, frozen=True):
    """A row of the table: ``name`` is ``<part>/<verb>``; ``repeatable``: doing it twice does no more than once."""

    name: str
    form: type[Arguments]
    handler: Callable[[Any], Handled]
    repeatable: bool = False


def verb(name: str, form: type[_A], handler: Callable[[_A], Handled], *, repeatable: bool = False) -> Verb:
    """Make a row whose handler takes what its form holds (the type checker sees to it)."""
    return Verb(name, form, handler, repeatable)
