"""Where the answer of a command goes, and how it is sent.

To the sender's response topic (MQTT 5), else to ``result/<part>/<verb>``; the sender's correlation data goes with it
either way. A command to many devices is answered on each one's own result topic, whatever response topic it came with:
elsewhere nobody could tell whose answer it is. Answers are durable and go before anything else that waits; what is told
of progress is not worth keeping (QoS 0).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from agent.errors import CommandError, LookoutError
from agent.link import envelope
from agent.link.messages import CommandResult, Progress, encode, failure, success
from agent.link.topics import Address, Topics, relative
from agent.link.verbs import Outcome, Step
from agent.link.wire import Incoming
from agent.types import Correlation, Outgoing

log = structlog.get_logger(part="link")

ANSWER_PRIORITY = 100
"""Answers go before anything else that waits."""


class InternalError(CommandError):
    """A bug in a handler; its traceback is in the log."""

    code = "internal"


class Request(msgspec.Struct, frozen=True):
    """A command, as far as its answer is concerned. ``progress``: its sender wants to hear how far it is.

    ``take`` gets the answer of who asked at the device itself, in place of a topic; it must neither block nor raise.
    """

    name: str
    correlation: Correlation | None
    id: str | None = None
    progress: bool = False
    take: Callable[[bytes], None] | None = None


class Answers:
    """Sends answers; any thread, nothing blocks."""

    def __init__(self, topics: Topics, publish: Callable[[Outgoing], None]) -> None:
        self._topics = topics
        self._publish = publish

    def request(self, incoming: Incoming, address: Address | None) -> Request:
        """Read off what was asked and where the answer goes; a bad response topic is not used."""
        name = "/".join(incoming.topic.split("/")[-2:])
        topic = incoming.response_topic if address is None or address.scope == "device" else None
        if topic is not None:
            try:
                envelope.check_response_topic(topic, self._topics)
            except envelope.BadResponseTopic:
                topic = None
        if topic is None and incoming.correlation is None:
            return Request(name, None)
        return Request(name, Correlation(topic or self._topics.absolute(result_topic(name)), incoming.correlation))

    def send(self, request: Request, payload: bytes) -> None:
        """Send an answer."""
        if request.take is not None:
            request.take(payload)
            return
        self._publish(
            Outgoing(
                topic=result_topic(request.name),
                payload=payload,
                qos=1,
                stream="results",
                priority=ANSWER_PRIORITY,
                durable=True,
                correlation=request.correlation,
            )
        )

    def fail(self, request: Request, error: LookoutError) -> None:
        """Send an error."""
        self.send(request, encoded(request.id, error))

    def tell(self, request: Request, step: Step) -> None:
        """Send how far a command is."""
        self._publish(
            Outgoing(
                topic=result_topic(request.name),
                payload=Progress(id=request.id, progress=step.text, done=step.done),
                stream="results",
                priority=ANSWER_PRIORITY,
                correlation=request.correlation,
            )
        )


def encoded(command_id: str | None, outcome: Outcome) -> bytes:
    """Return an answer as it is sent and remembered."""
    try:
        return encode(_answer(command_id, outcome))
    except (TypeError, ValueError) as error:  # a handler returned what JSON cannot hold
        log.exception("command.unencodable", id=command_id)
        return encode(failure(command_id, InternalError(f"the answer cannot be written as JSON: {error}")))


def _answer(command_id: str | None, outcome: Outcome) -> CommandResult:
    return failure(command_id, outcome) if isinstance(outcome, LookoutError) else success(command_id, outcome)


def result_topic(name: str) -> str:
    """Return ``result/<part>/<verb>``; what is no name is not repeated into a topic."""
    try:
        return relative("result", *name.split("/"))
    except LookoutError:
        return relative("result", "unknown", "unknown")
