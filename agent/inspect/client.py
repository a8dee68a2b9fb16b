"""The agent's side of an inspection: starts the short-lived process, waits for its verdict, raises its refusal again.

Imports neither ``onnx`` nor ONNX Runtime. Callable from any thread; one inspection holds one process, which is gone
when :meth:`InspectClient.inspect` returns.
"""

from __future__ import annotations

import threading
from pathlib import Path

from agent.errors import ChildError, LookoutError, ModelError
from agent.process.child import ChildSpec, Spawner
from agent.process.errand import Errand
from agent.process.messages import Error, Inspect, Inspected
from agent.process.priority import IDLE_NICE

MODULE = "agent.inspect.main"
TIMEOUT_S = 60.0
"""Longest time for one file; a hundred megabytes on a slow device take a tenth of it."""


class InspectionCancelled(LookoutError):
    """The caller set its ``cancel`` event."""

    code = "cancelled"


class InspectClient:
    """Inspects model files, each in a process of its own."""

    def __init__(self, spawner: Spawner, *, timeout_s: float = TIMEOUT_S) -> None:
        self._spawner = spawner
        self._timeout_s = timeout_s

    def inspect(
        self, path: Path, *, name: str, providers: tuple[str, ...], memory_bytes: int, cancel: threading.Event
    ) -> Inspected:
        """Look at a model file before any worker loads it; blocks.

        ``name`` is what the file is called in messages. Raises :class:`ModelError` with the reason in words,
        :class:`InspectionCancelled`, :class:`ChildHung`, :class:`ChildDied` (the file made the inspection crash),
        :class:`ChildError` where the host refuses another process.
        """
        errand = Errand(
            self._spawner,
            ChildSpec("inspect", MODULE, nice=IDLE_NICE, oom_score_adj=900),
            timeout_s=self._timeout_s,
            too_long=f"{name}: its inspection took longer than {self._timeout_s:g} s; simplify the model",
            died=lambda how: f"{name}: its inspection ended before its verdict ({how}); publish another file",
            cancel=cancel,
            cancelled=lambda: InspectionCancelled("cancelled in its inspection"),
        )
        with errand:
            answer = errand.ask(Inspect(str(path), name, providers, memory_bytes))
        if isinstance(answer, Inspected):
            return answer
        if isinstance(answer, Error):
            raise (ModelError if answer.code == ModelError.code else ChildError)(answer.message, field=answer.field)
        raise ChildError(f"the inspection answered {type(answer).__name__}: agent and child differ, reinstall")
