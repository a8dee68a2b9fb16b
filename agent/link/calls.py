"""The commands that run: who waits for the answer of each, and until when. Any thread may call.

The same ``id`` again while its command runs joins it: another place gets the answer too, the same place gets it once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from agent.clock import NS_PER_S
from agent.link.answers import Request
from agent.link.verbs import Deferred, Step, Verb

MAX_JOINED = 8
"""How many places may wait for one command's answer."""

PROGRESS_NS = NS_PER_S // 2
"""What is told of progress sooner after the last is left out; the next step says more."""


class Call:
    """A command that runs. Belongs to :class:`Calls`, whose lock guards it."""

    def __init__(self, row: Verb, request: Request) -> None:
        self.row = row
        self.request = request
        self.waiting = [request]
        self.deferred: Deferred | None = None
        self.due_ns: int | None = None
        self.told_ns: int | None = None
        self.ended = False


class Calls:
    """See the module. ``tell`` sends a step to somebody who wants to hear of it; it must not block."""

    def __init__(self, tell: Callable[[Request, Step], None], now_ns: Callable[[], int]) -> None:
        self._tell = tell
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._calls: dict[int, Call] = {}
        self._deferred: Counter[str] = Counter()

    def begin(self, row: Verb, request: Request) -> Call:
        """Take note that a command runs."""
        call = Call(row, request)
        with self._lock:
            self._calls[id(call)] = call
        return call

    def join(self, request: Request) -> bool | None:
        """Let ``request`` have the answer of the command with its id; False: there are too many; None: none runs."""
        with self._lock:
            call = next((call for call in self._calls.values() if call.request.id == request.id), None)
            if call is None:
                return None
            if any(one.correlation == request.correlation for one in call.waiting):
                return True
            if len(call.waiting) > MAX_JOINED:
                return False
            call.waiting.append(request)
            return True

    def defer(self, call: Call, deferred: Deferred) -> None:
        """Take note that the answer comes later."""
        with self._lock:
            call.deferred = deferred
            call.due_ns = self._now_ns() + round(call.row.patience_s * NS_PER_S)
            self._deferred[call.row.name] += 1

    def end(self, call: Call) -> tuple[Request, ...]:
        """Take note that the answer is there, and return who is to have it; nobody, if that was so already."""
        with self._lock:
            if call.ended:
                return ()
            call.ended = True
            del self._calls[id(call)]
            if call.deferred is not None:
                self._deferred[call.row.name] -= 1
            return tuple(call.waiting)

    def step(self, call: Call, step: Step) -> None:
        """Tell how far a command is, to those who want to hear of it; not too often, and never after its answer."""
        with self._lock:
            listeners = [request for request in call.waiting if request.progress]
            now_ns = self._now_ns()
            if call.ended or not listeners or (call.told_ns is not None and now_ns - call.told_ns < PROGRESS_NS):
                return
            call.told_ns = now_ns
            for request in listeners:  # under the lock: the answer cannot overtake it
                self._tell(request, step)

    def deferred(self, name: str) -> int:
        """Return how many commands of a verb wait for an answer that comes later."""
        with self._lock:
            return self._deferred[name]

    def running(self) -> int:
        """Return how many commands run."""
        with self._lock:
            return len(self._calls)

    def due_s(self) -> float | None:
        """Return in how many seconds the next one is overdue, None where none will be."""
        with self._lock:
            due = min((call.due_ns for call in self._calls.values() if call.due_ns is not None), default=None)
            return None if due is None else max(0.0, (due - self._now_ns()) / NS_PER_S)

    def overdue(self) -> tuple[tuple[Call, Deferred], ...]:
        """Return those whose answer did not come in time, each once."""
        with self._lock:
            now_ns = self._now_ns()
            found = []
            for call in self._calls.values():
                if call.deferred is not None and call.due_ns is not None and call.due_ns <= now_ns:
                    call.due_ns = None
                    found.append((call, call.deferred))
            return tuple(found)
