"""Commands from the broker: which verbs there are, that each runs once, and that each is answered.

:meth:`Router.offer` is called on the session's thread and never blocks; everything else happens on the router's own
threads ``lookout-command-1`` to ``-4``, from a bounded inbox (full: the command is answered ``busy``). Commands of one
lane (a verb's part, unless its row says otherwise) run in the order in which they came, one at a time; those of other
lanes do not wait for them. Any bytes end in an answer, never in an exception.

A command with an ``id`` is remembered *before* it is acknowledged to the broker and before it runs, so that a kill in
between neither loses nor repeats it; its answer is remembered before it is sent. The same ``id`` again is answered
from memory. Where the agent ended between the two, a verb marked ``repeatable`` runs when it is sent again; any other
is answered ``interrupted``, at the next start. A command without an ``id`` runs each time it is sent.

A handler returns its result, or raises :class:`~agent.errors.LookoutError`, or returns a
:class:`~agent.link.verbs.Deferred` that it answers later from any thread, within its row's patience; only so many of a
verb may be open. Long work is not waited for: ``model/deploy`` answers as soon as the deployment is accepted, and its
progress is what ``deploy/<pipeline>`` shows, asked for or not. A handler whose answer *is* the end of the work (a
snapshot, a diagnosis) takes a Deferred, and tells its progress to whoever sent ``"progress": true``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from agent.clock import monotonic_ns
from agent.errors import LookoutError
from agent.link import envelope
from agent.link.answers import Answers, InternalError, Request
from agent.link.forms import Arguments
from agent.link.lanes import Lanes
from agent.link.memory import CommandMemory, Fresh
from agent.link.messages import MAX_COMMAND_BYTES
from agent.link.runner import Busy, Counts, Runner
from agent.link.topics import Address, Topics
from agent.link.verbs import Verb
from agent.link.wire import Incoming, Pulse
from agent.types import Outgoing

log = structlog.get_logger(part="link")

THREADS = 4
"""Lanes that may work at the same time."""

HANDLER_S = 60.0
"""A handler that takes longer counts as hung; it should have returned a :class:`~agent.link.verbs.Deferred`."""

UNKNOWN = "?"
"""The lane of whatever is no verb."""


class Local(msgspec.Struct, frozen=True):
    """A command of somebody at the device itself."""

    request: Request
    args: dict[str, Any]


class RouterStatistics(msgspec.Struct, frozen=True):
    """Commands since the start: ``refused`` were answered with an error before any handler, ``ignored`` not at all.

    ``waiting`` and ``running`` are now; ``timed_out`` are among ``failed``.
    """

    received: int
    done: int
    failed: int
    refused: int
    repeated: int
    ignored: int
    timed_out: int
    waiting: int
    running: int


class Router:
    """Owns the threads ``lookout-command-…``; see the module."""

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
        beat: Callable[[str], Pulse] | None = None,
        now_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        """``utc_ms`` is None while the clock is not trusted. ``beat`` makes the heartbeat of each thread."""
        self._topics = topics
        self._verbs = {row.name: row for row in verbs}
        self._utc_ms = utc_ms
        self._groups = frozenset(groups)
        self._max_waiting = max_waiting
        self._answers = Answers(topics, publish)
        self._counts = Counts("received", "done", "failed", "refused", "repeated", "ignored", "timed_out")
        self._runner = Runner(memory, self._answers, self._counts, now_ns)
        self._lanes: Lanes[Incoming | Local] = Lanes(
            "lookout-command",
            self._work,
            threads=THREADS,
            max_waiting=max_waiting,
            beat=beat,
            due_s=self._runner.due_s,
            tend=self._runner.time_out,
        )

    def routes(self) -> dict[str, Callable[[Incoming], None]]:
        """Return what the session must subscribe to, and who takes what comes."""
        return dict.fromkeys(self._topics.command_filters(sorted(self._groups)), self.offer)

    def regroup(self, groups: Iterable[str]) -> dict[str, Callable[[Incoming], None]]:
        """Obey these groups from now on; return the new :meth:`routes`, for the session. Any thread."""
        self._groups = frozenset(groups)
        return self.routes()

    def start(self) -> None:
        """Answer what the end of the former agent interrupted, and begin to take commands."""
        self._runner.answer_interrupted(self._verbs)
        self._lanes.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Finish the commands that run and end; what waits was not acknowledged and comes again."""
        self._lanes.stop(timeout_s)

    def statistics(self) -> RouterStatistics:
        """Return the counters; any thread."""
        return RouterStatistics(waiting=self._lanes.waiting, running=self._runner.running, **self._counts.read())

    def offer(self, incoming: Incoming) -> None:
        """Take a command from the session; never blocks."""
        self._counts.add("received")
        if len(incoming.payload) > MAX_COMMAND_BYTES:  # not one of them waits in memory
            self._refuse(self._request(incoming), envelope.too_large(len(incoming.payload)))
            incoming.acknowledge()
            return
        row = self._verbs.get("/".join(incoming.topic.split("/")[-2:]))
        if not self._lanes.offer(UNKNOWN if row is None else row.lane, incoming):
            busy = Busy(f"{self._max_waiting} commands wait already; send it again later")
            self._refuse(self._identified(incoming), busy)
            incoming.acknowledge()

    def ask(self, name: str, args: dict[str, Any], take: Callable[[bytes], None]) -> None:
        """Run a command of somebody at the device itself, in its lane and by its row; never blocks.

        ``take`` gets the answer as JSON, once, from any thread; it must neither block nor raise.
        """
        self._counts.add("received")
        request = Request(name, None, take=take)
        row = self._verbs.get(name)
        if not self._lanes.offer(UNKNOWN if row is None else row.lane, Local(request, args)):
            self._refuse(request, Busy(f"{self._max_waiting} commands wait already; send it again later"))

    # --- on the threads lookout-command-… ----------------------------------------------------------------------------

    def _work(self, item: Incoming | Local, pulse: Pulse) -> None:
        pulse.waiting(HANDLER_S)
        try:
            if isinstance(item, Local):
                self._handle_local(item)
            else:
                self._handle(item)
        except Exception:  # a thread's last line: a bug in one command must not end all commands
            fault = InternalError("a fault of the agent; its log says more")
            if isinstance(item, Local):
                log.exception("command.crashed", verb=item.request.name)
                self._refuse(item.request, fault)
            else:
                log.exception("command.crashed", topic=item.topic)
                self._refuse(self._identified(item), fault)
                item.acknowledge()

    def _handle_local(self, item: Local) -> None:
        try:
            row = self._row(item.request)
            arguments = envelope.arguments(envelope.validate({"v": 1, "args": item.args}), row.form)
            self._runner.check_room(row)
        except LookoutError as error:
            self._refuse(item.request, error)
            return
        self._runner.run(row, arguments, item.request, Fresh())

    def _handle(self, incoming: Incoming) -> None:
        address = self._topics.parse(incoming.topic)
        cleared = incoming.retained and not incoming.payload  # somebody takes a retained command back
        if cleared or (address is not None and not self._meant(address)):
            log.info("command.ignored", topic=incoming.topic, reason="cleared" if cleared else "not for this device")
            self._counts.add("ignored")
            incoming.acknowledge()
            return
        request = self._request(incoming)
        try:
            raw = envelope.decode(incoming.payload)
            request = msgspec.structs.replace(request, id=envelope.identify(raw))
            row, arguments, progress = self._check(incoming, request, raw)
            request = msgspec.structs.replace(request, progress=progress)
            known = self._runner.remember(row, request)
        except LookoutError as error:
            self._refuse(request, error)
            incoming.acknowledge()
            return
        incoming.acknowledge()
        self._runner.run(row, arguments, request, known)

    def _check(self, incoming: Incoming, request: Request, raw: dict[str, Any]) -> tuple[Verb, Arguments, bool]:
        """Return the row, the typed arguments, and whether progress is wanted, of a command that may run.

        Raises CommandError.
        """
        if incoming.response_topic is not None:
            envelope.check_response_topic(incoming.response_topic, self._topics)
        if incoming.retained:
            raise envelope.Retained(
                f"{incoming.topic} was published as retained and would run at every connection; clear it with an "
                "empty retained message and send it again without retain"
            )
        row = self._row(request)
        command = envelope.validate(raw)
        envelope.check_expiry(command, self._utc_ms)
        arguments = envelope.arguments(command, row.form)
        self._runner.check_room(row)
        return row, arguments, command.progress

    def _row(self, request: Request) -> Verb:
        row = self._verbs.get(request.name)
        if row is None:
            raise envelope.unknown_verb(request.name, self._verbs)
        return row

    def _meant(self, address: Address) -> bool:
        """Tell whether we belong to whom it was sent; a broker may keep a subscription to a group that we left."""
        if address.scope == "group":
            return address.target in self._groups
        return address.scope == "all" or address.target == self._topics.device

    def _request(self, incoming: Incoming) -> Request:
        return self._answers.request(incoming, self._topics.parse(incoming.topic))

    def _identified(self, incoming: Incoming) -> Request:
        """Read off the id besides, where there is one: for the answer to a command that is not looked at further."""
        request = self._request(incoming)
        with contextlib.suppress(LookoutError):
            raw = envelope.decode(incoming.payload)
            return msgspec.structs.replace(request, id=envelope.identify(raw))
        return request

    def _refuse(self, request: Request, error: LookoutError) -> None:
        """Answer without having run anything."""
        self._counts.add("refused")
        log.warning("command.refused", verb=request.name, id=request.id, code=error.code, error=error.message)
        self._answers.fail(request, error)
