"""An answer of which is known when it was handed on: what ends the connection must not come before it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from agent.link.verbs import Deferred


class Answer(Deferred):
    """An answer of which is known when it was handed on."""

    def __init__(self) -> None:
        super().__init__()
        self._handed_on = threading.Event()

    def then(self, tell: Callable[[Any], None], heard: Callable[[Any], None] | None = None) -> None:
        """Have ``tell`` called once with the outcome, and take note of it."""

        def told(outcome: Any) -> None:
            tell(outcome)
            self._handed_on.set()

        super().then(told, heard)

    def wait_handed_on(self, timeout_s: float) -> bool:
        """Return once the answer was handed on, or after ``timeout_s``; tell which."""
        return self._handed_on.wait(timeout_s)
