"""The agent's side of an inspection: starts the short-lived process, waits for its verdict, raises its refusal again.

Imports neither ``onnx`` nor ONNX Runtime. Callable from any thread; one inspection holds one process, which is gone
when :meth:`InspectClient.inspect` returns.
"""

from __future__ import annotations

import threading
from pathlib import Path

from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ChildDied, ChildError, ChildHung, LookoutError, ModelError
from agent.process.channel import ChannelClosed
from agent.process.child import Child, ChildSpec, Spawner
from agent.process.messages import PROTOCOL, AnyMessage, Error, Hello, Inspect, Inspected
from agent.process.priority import IDLE_NICE

MODULE = "agent.inspect.main"
TIMEOUT_S = 60.0
"""Longest time for one file; a hundred megabytes on a slow device take a tenth of it."""
ENDING_S = 2.0
CANCEL_LATENCY_S = 0.2


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
        request = Inspect(str(path), name, providers, memory_bytes)
        child = self._spawner.start(ChildSpec("inspect", MODULE, nice=IDLE_NICE, oom_score_adj=900))
        try:
            return self._converse(child, request, cancel)
        except ChannelClosed:
            child.wait(ENDING_S)
            raise ChildDied(
                f"{name}: its inspection ended before its verdict ({child.describe_exit()}); publish another file"
            ) from None
        finally:
            child.close()

    def _converse(self, child: Child, request: Inspect, cancel: threading.Event) -> Inspected:
        deadline_ns = monotonic_ns() + round(self._timeout_s * NS_PER_S)
        hello = self._receive(child, request, deadline_ns, cancel)
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise ChildError(f"the inspection is of another version ({hello!r}); restart the agent")
        child.channel.send(request)
        answer = self._receive(child, request, deadline_ns, cancel)
        if isinstance(answer, Inspected):
            return answer
        if isinstance(answer, Error):
            raise (ModelError if answer.code == ModelError.code else ChildError)(answer.message, field=answer.field)
        raise ChildError(f"the inspection answered {type(answer).__name__}: agent and child differ, reinstall")

    def _receive(self, child: Child, request: Inspect, deadline_ns: int, cancel: threading.Event) -> AnyMessage:
        while True:
            if cancel.is_set():
                child.kill()
                raise InspectionCancelled("cancelled in its inspection")
            left_s = (deadline_ns - monotonic_ns()) / NS_PER_S
            if left_s <= 0:
                child.kill()
                raise ChildHung(
                    f"{request.name}: its inspection took longer than {self._timeout_s:g} s; simplify the model"
                )
            # An Event cannot be waited for together with a socket, so it is looked at a few times a second.
            received = child.channel.receive(min(left_s, CANCEL_LATENCY_S))
            if received is not None:
                return received[0]
