"""What passes between the publisher, the session and the handlers of incoming messages.

Frozen records and small Protocols, nothing that runs: they let a part be replaced (the outbox by a durable one) or
tested (a session without a publisher) without the others knowing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

Protocols = Literal["5", "3.1.1"]
"""The versions of MQTT that a broker may speak."""


class Letter(msgspec.Struct, frozen=True):
    """An :class:`~agent.types.Outgoing` made ready for the broker: absolute topic, encoded payload, a number.

    Within a stream a lower ``id`` is older. ``expires_at_ns`` is monotonic.
    """

    id: int
    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool
    stream: str
    priority: int
    durable: bool
    expires_at_ns: int | None
    replaces: str | None
    correlation: bytes | None = None
    final: bool = False

    @property
    def size(self) -> int:
        """Bytes it counts for: what goes over the wire, and a round sum for the record itself."""
        return len(self.payload) + len(self.topic) + len(self.correlation or b"") + 128


@dataclass(frozen=True)
class Incoming:
    """A message from the broker.

    Whoever takes it calls ``acknowledge`` (any thread, once) when it need not come again; until then, or until the
    connection ends, the broker keeps it.
    """

    topic: str
    payload: bytes
    retained: bool
    acknowledge: Callable[[], None]
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True)
class Received:
    """A message as it came; ``ack_id`` is for :meth:`Connection.acknowledge`, None where none is due."""

    topic: str | None
    payload: bytes
    retained: bool
    ack_id: int | None
    response_topic: str | None
    correlation: bytes | None


class Events(Protocol):
    """What a connection tells its session, on the session's thread."""

    def opened(self) -> None:
        """Take note that the broker accepted the connection."""

    def subscribed(self, asked: tuple[str, ...], refused: Mapping[str, str]) -> None:
        """Take note that the broker answered some subscriptions; ``refused``: filter → why."""

    def received(self, message: Received) -> None:
        """Take a message."""


class Supply(Protocol):
    """Where the session takes letters from. Called on the session's thread only; must not block."""

    def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` (any thread) whenever there may be something new to send."""

    def next(self, *, window_open: bool) -> Letter | None:
        """Return the next letter; with the window shut only one of QoS 0. A letter of QoS 0 is then forgotten."""

    def acknowledged(self, letter_id: int) -> None:
        """Forget this letter: the broker has it."""

    def refused(self, letter: Letter, reason: str) -> None:
        """Forget this letter: the broker will not have it, so sending it again is of no use."""

    def connected(self) -> None:
        """Queue again what must stand at the broker: a connection begins."""

    def disconnected(self) -> None:
        """Put what was not acknowledged back, in its order: the connection ended."""

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is unacknowledged."""


class Pulse(Protocol):
    """The part of a heartbeat that a loop calls (:mod:`agent.supervise.heartbeat` has the whole)."""

    def progress(self) -> None:
        """Say that the loop went round."""

    def waiting(self, bound_s: float) -> None:
        """Say that the loop waits, for ``bound_s`` at most."""


class NoPulse:
    """For a loop that nobody watches."""

    def progress(self) -> None:
        """Do nothing."""

    def waiting(self, bound_s: float) -> None:
        """Do nothing."""
