"""Runs commands that were found good, each id once, and answers them.

The threads of the router call :meth:`Runner.run`; answers come from any thread. What is remembered, and when, is said
in :mod:`agent.link.commands`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from agent.errors import CommandError, LookoutError
from agent.link.answers import Answers, InternalError, Request, encoded
from agent.link.calls import MAX_JOINED, Call, Calls
from agent.link.forms import Arguments
from agent.link.memory import Answered, CommandMemory, Fresh, Pending
from agent.link.verbs import Deferred, Handled, Outcome, Verb

log = structlog.get_logger(part="link")

MAX_DEFERRED = 8
"""Answers of one verb that may be outstanding: beyond that it is busy."""

MAX_REPEATABLE_BYTES = 4096
"""A longer answer of a repeatable verb is not remembered: it is made again."""


class Busy(CommandError):
    """Too many commands wait already."""

    code = "busy"


class Interrupted(CommandError):
    """The agent ended while the command ran: nobody knows how far it came."""

    code = "interrupted"


class TimedOut(CommandError):
    """The answer of a command did not come in time."""

    code = "timeout"


class IdReused(CommandError):
    """The id belongs to a command with another verb."""

    code = "id_reused"


class Counts:
    """Counters by name; any thread."""

    def __init__(self, *names: str) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(names, 0)

    def add(self, name: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[name] += 1

    def read(self) -> dict[str, int]:
        """Return all of them."""
        with self._lock:
            return dict(self._counts)


class Runner:
    """See the module."""

    def __init__(self, memory: CommandMemory, answers: Answers, counts: Counts, now_ns: Callable[[], int]) -> None:
        self._memory = memory
        self._answers = answers
        self._counts = counts
        self._calls = Calls(answers.tell, now_ns)

    @property
    def running(self) -> int:
        """How many commands run."""
        return self._calls.running()

    def due_s(self) -> float | None:
        """Return in how many seconds :meth:`time_out` has something to do, None where it will not."""
        return self._calls.due_s()

    def check_room(self, row: Verb) -> None:
        """Refuse a command of a verb of which enough are under way. Raises :class:`Busy`."""
        if self._calls.deferred(row.name) >= MAX_DEFERRED:
            raise Busy(f"{MAX_DEFERRED} commands {row.name} are under way already; send it again later")

    def remember(self, row: Verb, request: Request) -> Fresh | Pending | Answered:
        """Say whether the command's id is known; it is from now on, durably. Raises StorageError."""
        return Fresh() if request.id is None else self._memory.remember(request.id, row.name)

    def run(self, row: Verb, arguments: Arguments, request: Request, known: Fresh | Pending | Answered) -> None:
        """Run a command, or deal with an id that was known already. Raises nothing."""
        if isinstance(known, Fresh):
            self._call(row, arguments, request)
        else:
            self._counts.add("repeated")
            self._again(row, arguments, request, known)

    def time_out(self) -> None:
        """Give those up whose answer did not come in time."""
        for call, deferred in self._calls.overdue():
            self._counts.add("timed_out")
            log.error("command.timed_out", verb=call.row.name, id=call.request.id, after_s=call.row.patience_s)
            deferred.fail(TimedOut(f"{call.row.name} gave no answer within {call.row.patience_s:g} s"))

    def answer_interrupted(self, verbs: Mapping[str, Verb]) -> None:
        """Answer, on their result topics, the commands that the former agent began and did not finish."""
        try:
            pending = self._memory.pending()
        except LookoutError as error:
            log.error("command.memory_unreadable", error=error.message)  # noqa: TRY400 - no bug
            return
        for command_id, name in pending:
            row = verbs.get(name)
            if row is not None and not row.repeatable:
                request = Request(name, None, command_id)
                self._finish(self._calls.begin(row, request), _interrupted(name, command_id))

    def _again(self, row: Verb, arguments: Arguments, request: Request, known: Pending | Answered) -> None:
        """Deal with an id that was seen before."""
        if known.verb != row.name:
            reused = IdReused(f"id {request.id!r} was used for {known.verb}; send {row.name} with an id of its own")
            self._answers.fail(request, reused)
        elif isinstance(known, Answered):
            self._answers.send(request, known.answer)
        else:
            self._join(row, arguments, request)

    def _join(self, row: Verb, arguments: Arguments, request: Request) -> None:
        """Wait for the answer of the command that has this id already; run it, where it does not run any more."""
        joined = self._calls.join(request)
        if joined:
            log.debug("command.runs_already", verb=row.name, id=request.id)
            return
        if joined is False:
            self._answers.fail(
                request, Busy(f"{MAX_JOINED} others wait for the answer of {request.id!r}; ask again later")
            )
            return
        known = self._remembered(row, request)  # it may have been answered a moment ago
        if isinstance(known, Answered):
            self._answers.send(request, known.answer)
        elif isinstance(known, Fresh) or row.repeatable:
            self._call(row, arguments, request)
        else:
            self._finish(self._calls.begin(row, request), _interrupted(row.name, request.id))

    def _remembered(self, row: Verb, request: Request) -> Fresh | Pending | Answered:
        try:
            return self._memory.remember(request.id or "", row.name)
        except LookoutError as error:
            log.error("command.memory_unreadable", id=request.id, error=error.message)  # noqa: TRY400 - no bug
            return Pending(row.name)

    def _call(self, row: Verb, arguments: Arguments, request: Request) -> None:
        call = self._calls.begin(row, request)
        (log.debug if row.repeatable else log.info)("command.runs", verb=row.name, id=request.id)
        outcome: Handled | LookoutError
        try:
            outcome = row.handler(arguments, request.id)
        except LookoutError as error:
            outcome = error
        except Exception:  # whatever a handler's bug is, the operator gets an answer and the next command its turn
            log.exception("command.handler_crashed", verb=row.name, id=request.id)
            outcome = InternalError(f"{row.name} failed by a fault of the agent; its log says more")
        if isinstance(outcome, Deferred):
            self._calls.defer(call, outcome)
            outcome.then(lambda settled: self._finish(call, settled), lambda step: self._calls.step(call, step))
        else:
            self._finish(call, outcome)

    # --- answering, any thread ---------------------------------------------------------------------------------------

    def _finish(self, call: Call, outcome: Outcome) -> None:
        """Remember the outcome and send it to all who wait for it."""
        failed = isinstance(outcome, LookoutError)
        self._counts.add("failed" if failed else "done")
        payload = encoded(call.request.id, outcome)
        if call.request.id is not None:
            self._keep(call.row, call.request.id, payload)
        for request in self._calls.end(call):
            self._answers.send(request, payload)
        if not failed and call.row.afterwards is not None:
            call.row.afterwards()

    def _keep(self, row: Verb, command_id: str, payload: bytes) -> None:
        try:
            if row.repeatable and len(payload) > MAX_REPEATABLE_BYTES:
                self._memory.forget(command_id)
            else:
                self._memory.answer(command_id, payload)
        except LookoutError as error:
            log.error("command.answer_not_kept", id=command_id, error=error.message)  # noqa: TRY400 - no bug


def _interrupted(name: str, command_id: str | None) -> Interrupted:
    return Interrupted(
        f"{name} with id {command_id!r} was interrupted by a restart of the agent; look at what it did before sending "
        "it again with another id"
    )
