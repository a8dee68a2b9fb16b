"""Commands from the broker: which verbs there are, that each runs once, and that each is answered.

:meth:`Router.offer` is called on the session's thread and never blocks; everything else happens on the router's own
thread ``lookout-commands``, one command after another, from a bounded inbox (full: the command is answered ``busy``).
Any bytes end in an answer, never in an exception.

A command with an ``id`` is remembered *before* it is acknowledged to the broker and before it runs, so that a kill in
between neither loses nor repeats it; its answer is remembered before it is sent. The same ``id`` again is answered
from memory. Where the agent ended between the two, a verb marked ``repeatable`` runs again, any other is answered
``interrupted``. A command without an ``id`` runs each time it is sent.

A handler returns its result, or raises :class:`~agent.errors.LookoutError`, or returns a
:class:`~agent.link.verbs.Deferred` that it answers later from any thread. Long work is not waited for:
``model/deploy`` answers as soon as the deployment is accepted, and its progress is what ``deploy/<pipeline>`` shows; a
handler whose answer *is* the end of the work (a snapshot, a diagnosis) takes a Deferred.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from agent.errors import CommandError, LookoutError
from agent.link import envelope
from agent.link.forms import Arguments
from agent.link.memory import Answered, CommandMemory, Fresh, Pending
from agent.link.messages import CommandResult, encode, failure, success
from agent.link.topics import Address, Topics, relative
from agent.link.verbs import Deferred, Handled, Verb
from agent.link.wire import Incoming, NoPulse, Pulse
from agent.types import Correlation, Outgoing

log = structlog.get_logger(part="link")

ANSWER_PRIORITY = 100
"""Answers go before anything else that waits."""

HANDLER_S = 60.0
"""A handler that takes longer counts as hung; it should have returned a :class:`~agent.link.verbs.Deferred`."""

IDLE_S = 30.0
"""How long the thread waits at a time: only so that its heartbeat is renewed."""


class Busy(CommandError):
    """Too many commands wait already."""

    code = "busy"


class Interrupted(CommandError):
    """The agent ended while the command ran: nobody knows how far it came."""

    code = "interrupted"


class IdReused(CommandError):
    """The id belongs to a command with another verb."""

    code = "id_reused"


class InternalError(CommandError):
    """A bug in a handler; its traceback is in the log."""

    code = "internal"


class RouterStatistics(msgspec.Struct, frozen=True):
    """Commands since the start: ``refused`` were answered with an error before any handler, ``ignored`` not at all."""

    received: int
    done: int
    failed: int
    refused: int
    repeated: int
    ignored: int
    waiting: int


class Request(msgspec.Struct, frozen=True):
    """Where one command's answer goes, and under which id."""

    name: str
    correlation: Correlation | None
    id: str | None = None


class Router:
    """Owns the thread ``lookout-commands``; see the module."""

    def __init__(
        self,
        topics: Topics,
        verbs: Iterable[Verb],
        *,
        memory: CommandMemory,
        publish: Callable[[Outgoing], None],
        utc_ms: Callable[[], int | None],
        groups: Iterable[str] = (),
        max_waiting: int = 64,
        pulse: Pulse | None = None,
    ) -> None:
        """``utc_ms`` is None while the clock is not trusted."""
        self._topics = topics
        self._verbs = {row.name: row for row in verbs}
        self._memory = memory
        self._publish = publish
        self._utc_ms = utc_ms
        self._groups = frozenset(groups)
        self._max_waiting = max_waiting
        self._pulse = pulse or NoPulse()
        self._inbox: deque[Incoming] = deque()
        self._ready = threading.Condition()
        self._stopping = False
        self._running: set[str] = set()
        self._counts = dict.fromkeys(("received", "done", "failed", "refused", "repeated", "ignored"), 0)
        self._counts_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lookout-commands", daemon=True)

    def routes(self) -> dict[str, Callable[[Incoming], None]]:
        """Return what the session must subscribe to, and who takes what comes."""
        return dict.fromkeys(self._topics.command_filters(sorted(self._groups)), self.offer)

    def start(self) -> None:
        """Begin to take commands."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Finish the command that runs and end; what waits was not acknowledged and comes again."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def statistics(self) -> RouterStatistics:
        """Return the counters; any thread."""
        with self._counts_lock:
            return RouterStatistics(waiting=len(self._inbox), **self._counts)

    def offer(self, incoming: Incoming) -> None:
        """Take a command from the session; never blocks."""
        self._count("received")
        with self._ready:
            full = len(self._inbox) >= self._max_waiting
            if not full:
                self._inbox.append(incoming)
                self._ready.notify()
        if full:
            busy = Busy(f"{self._max_waiting} commands wait already; send it again later")
            self._refuse(self._identified(incoming), busy)
            incoming.acknowledge()

    # --- on the thread lookout-commands ------------------------------------------------------------------------------

    def _run(self) -> None:
        while (incoming := self._take()) is not None:
            try:
                self._handle(incoming)
            except Exception:  # the thread's last line: a bug in one command must not end all commands
                log.exception("command.crashed", topic=incoming.topic)
                incoming.acknowledge()

    def _take(self) -> Incoming | None:
        with self._ready:
            while not self._inbox and not self._stopping:
                self._pulse.waiting(2 * IDLE_S)
                self._ready.wait(IDLE_S)
            self._pulse.progress()
            return None if self._stopping else self._inbox.popleft()

    def _handle(self, incoming: Incoming) -> None:
        address = self._topics.parse(incoming.topic)
        if address is not None and not self._meant(address):
            log.warning("command.not_for_us", topic=incoming.topic)
            self._count("ignored")
            incoming.acknowledge()
            return
        request = self._request(incoming)
        try:
            raw = envelope.decode(incoming.payload)
            request = msgspec.structs.replace(request, id=envelope.identify(raw))
            row, arguments = self._check(incoming, request, raw)
            known = Fresh() if request.id is None else self._memory.remember(request.id, row.name)
        except LookoutError as error:
            self._refuse(request, error)
            incoming.acknowledge()
            return
        incoming.acknowledge()
        if isinstance(known, Fresh):
            self._call(row, arguments, request)
        else:
            self._again(row, arguments, request, known)

    def _check(self, incoming: Incoming, request: Request, raw: dict[str, Any]) -> tuple[Verb, Arguments]:
        """Return the row and the typed arguments of a command that may run. Raises CommandError."""
        if incoming.response_topic is not None:
            envelope.check_response_topic(incoming.response_topic, self._topics)
        if incoming.retained:
            raise envelope.Retained(
                f"{incoming.topic} was published as retained and would run at every connection; clear it with an "
                "empty retained message and send it again without retain"
            )
        row = self._verbs.get(request.name)
        if row is None:
            raise envelope.unknown_verb(request.name, self._verbs)
        command = envelope.validate(raw)
        envelope.check_expiry(command, self._utc_ms())
        return row, envelope.arguments(command, row.form)

    def _meant(self, address: Address) -> bool:
        """Tell whether we belong to whom it was sent; a broker may keep a subscription to a group that we left."""
        if address.scope == "group":
            return address.target in self._groups
        return address.scope == "all" or address.target == self._topics.device

    def _request(self, incoming: Incoming) -> Request:
        """Read off the topic what was asked and where the answer goes; a bad response topic is not used."""
        name = "/".join(incoming.topic.split("/")[-2:])
        topic = incoming.response_topic
        if topic is None:
            return Request(name, None)
        try:
            envelope.check_response_topic(topic, self._topics)
        except envelope.BadResponseTopic:
            return Request(name, None)
        return Request(name, Correlation(topic, incoming.correlation))

    def _identified(self, incoming: Incoming) -> Request:
        """Read off the id besides, where there is one: for the answer to a command that is not looked at further."""
        request = self._request(incoming)
        with contextlib.suppress(LookoutError):
            raw = envelope.decode(incoming.payload)
            return msgspec.structs.replace(request, id=envelope.identify(raw))
        return request

    def _again(self, row: Verb, arguments: Arguments, request: Request, known: Pending | Answered) -> None:
        """Deal with an id that was seen before."""
        self._count("repeated")
        if known.verb != row.name:
            reused = IdReused(f"id {request.id!r} was used for {known.verb}; send {row.name} with an id of its own")
            self._send(request, _encoded(failure(request.id, reused)))
        elif isinstance(known, Answered):
            self._send(request, known.answer)
        elif request.id in self._running:
            log.info("command.runs_already", verb=row.name, id=request.id)  # it answers when it is done
        elif row.repeatable:
            self._call(row, arguments, request)
        else:
            interrupted = Interrupted(
                f"{row.name} with id {request.id!r} was interrupted by a restart of the agent; look at what it did "
                "before sending it again with another id"
            )
            self._finish(request, interrupted)

    def _call(self, row: Verb, arguments: Arguments, request: Request) -> None:
        if request.id is not None:
            self._running.add(request.id)
        self._pulse.waiting(HANDLER_S)
        log.info("command.runs", verb=row.name, id=request.id)
        outcome: Handled | LookoutError
        try:
            outcome = row.handler(arguments)
        except LookoutError as error:
            outcome = error
        except Exception:  # whatever a handler's bug is, the operator gets an answer and the next command its turn
            log.exception("command.handler_crashed", verb=row.name, id=request.id)
            outcome = InternalError(f"{row.name} failed by a fault of the agent; its log says more")
        if isinstance(outcome, Deferred):
            outcome.then(lambda settled: self._finish(request, settled))
        else:
            self._finish(request, outcome)

    # --- answering, any thread ---------------------------------------------------------------------------------------

    def _finish(self, request: Request, outcome: msgspec.Struct | LookoutError) -> None:
        """Remember the outcome and send it."""
        if isinstance(outcome, LookoutError):
            self._count("failed")
            payload = _encoded(failure(request.id, outcome))
        else:
            self._count("done")
            payload = _encoded(success(request.id, outcome))
        if request.id is not None:
            try:
                self._memory.answer(request.id, payload)
            except LookoutError as error:
                log.error("command.answer_not_kept", id=request.id, error=error.message)  # noqa: TRY400 - no bug
            self._running.discard(request.id)
        self._send(request, payload)

    def _refuse(self, request: Request, error: LookoutError) -> None:
        """Answer without having run anything."""
        self._count("refused")
        log.warning("command.refused", verb=request.name, id=request.id, code=error.code, error=error.message)
        self._send(request, _encoded(failure(request.id, error)))

    def _send(self, request: Request, payload: bytes) -> None:
        self._publish(
            Outgoing(
                topic=_result_topic(request.name),
                payload=payload,
                qos=1,
                stream="results",
                priority=ANSWER_PRIORITY,
                durable=True,
                correlation=request.correlation,
            )
        )

    def _count(self, what: str) -> None:
        with self._counts_lock:
            self._counts[what] += 1


def _encoded(answer: CommandResult) -> bytes:
    try:
        return encode(answer)
    except (TypeError, ValueError) as error:  # a handler returned what JSON cannot hold
        log.exception("command.unencodable", id=answer.id)
        return encode(failure(answer.id, InternalError(f"the answer cannot be written as JSON: {error}")))


def _result_topic(name: str) -> str:
    """Return ``result/<part>/<verb>``; what is no name is not repeated into a topic."""
    try:
        return relative("result", *name.split("/"))
    except LookoutError:
        return relative("result", "unknown", "unknown")
