"""Whoever follows the log: a remote operator over MQTT, and people at the device's own socket.

Followers are told of each record by the thread ``lookout-logs``, one at a time, and never make it wait. What they say
themselves is not logged, and a record about the topic ``logs`` is not tailed: a tail can never feed itself.
"""

from __future__ import annotations

import collections
import socket
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec

from agent.clock import NS_PER_S, rfc3339, utc_ms
from agent.link.messages import LogLine
from agent.logs.entry import Entry, Wanted
from agent.types import Outgoing

TOPIC = "logs"
MAX_WAITING = 1000
"""Lines that wait for a local follower that reads slowly."""

RETRY_NS = NS_PER_S // 5

_OWN = frozenset({"at", "level", "event", "part", "child"})


class Follower(Protocol):
    """Somebody who is told of each record. Every method is called on ``lookout-logs``."""

    def take(self, entry: Entry, now_ns: int, /) -> None:
        """Hear of a record."""
        ...

    def due_ns(self) -> int | None:
        """Return when :meth:`tick` has something to do."""
        ...

    def tick(self, now_ns: int, /) -> bool:
        """Do what is due; False when it is over."""
        ...

    def close(self) -> None:
        """End it before its time."""
        ...


class RemoteTail:
    """Publishes what is wanted until a moment, at a bounded rate; what that leaves out is counted."""

    def __init__(
        self, publish: Callable[[Outgoing], None], wanted: Wanted, *, until_ns: int, per_second: float, now_ns: int
    ) -> None:
        self._publish = publish
        self._wanted = wanted
        self._until_ns = until_ns
        self._per_second = per_second
        self._burst = max(1.0, per_second)
        self._allowance = self._burst
        self._filled_ns = now_ns
        self._dropped = 0

    def begin(self, backlog: Collection[Entry]) -> int:
        """Publish what was kept, all of it at once; return how many."""
        for entry in backlog:
            self._tell(entry)
        return len(backlog)

    def take(self, entry: Entry, now_ns: int) -> None:
        """Publish a record, or count it."""
        if not self._wanted.takes(entry.record, entry.json) or about_itself(entry):
            return
        earned = (now_ns - self._filled_ns) / NS_PER_S * self._per_second
        self._allowance, self._filled_ns = min(self._burst, self._allowance + earned), now_ns
        if self._allowance < 1:
            self._dropped += 1
            return
        self._allowance -= 1
        self._tell(entry)

    def due_ns(self) -> int | None:
        """Return when it ends."""
        return self._until_ns

    def tick(self, now_ns: int) -> bool:
        """End it when it is time."""
        if now_ns < self._until_ns:
            return True
        self.close()
        return False

    def close(self) -> None:
        """Say that it ends, and what was left out since the last line."""
        line = LogLine(at=rfc3339(utc_ms()), level="info", part="logs", event="logs.tail_ended", dropped=self._dropped)
        self._send(line)

    def _tell(self, entry: Entry) -> None:
        self._send(line_of(entry, self._dropped))
        self._dropped = 0

    def _send(self, line: LogLine) -> None:
        self._publish(Outgoing(TOPIC, line, stream=TOPIC))


class LocalFollower:
    """Writes wanted lines to a peer of the local socket for as long as it reads; takes the socket over.

    Lines wait, bounded, until :meth:`go` and while the peer is slow; the oldest are dropped, and the peer is told how
    many.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._waiting: collections.deque[bytes] = collections.deque()
        self._dropped = 0
        self._peer: socket.socket | None = None
        self._gone = False

    def go(self, peer: socket.socket) -> None:
        """Begin to write to ``peer``, which is the follower's from now on; any thread, once."""
        peer.setblocking(False)
        self._peer = peer

    def take(self, entry: Entry, _now_ns: int) -> None:
        """Have a line written as soon as the peer takes it."""
        if self._gone or not self._wanted.takes(entry.record, entry.json):
            return
        self._waiting.append(entry.json)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        self._write()

    def due_ns(self) -> int | None:
        """Return at once while lines wait: the loop asks again a little later, see :data:`RETRY_NS`."""
        return 0 if self._waiting and not self._gone else None

    def tick(self, _now_ns: int) -> bool:
        """Write what waits; False once the peer is gone."""
        self._write()
        return not self._gone and not self._left()

    def close(self) -> None:
        """Let the peer go."""
        self._gone = True
        if self._peer is not None:
            self._peer.close()

    def _write(self) -> None:
        if self._peer is None or self._gone:
            return
        try:
            while self._waiting:
                if self._dropped:
                    self._waiting.appendleft(msgspec.json.encode({"dropped": self._dropped}))
                    self._dropped = 0
                data = self._waiting[0] + b"\n"
                sent = self._peer.send(data)
                if sent == len(data):
                    self._waiting.popleft()
                else:
                    self._waiting[0] = data[sent:-1]
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _left(self) -> bool:
        """Tell whether the peer has closed its end."""
        if self._peer is None:
            return False
        try:
            return self._peer.recv(1) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def about_itself(entry: Entry) -> bool:
    """Tell whether a record speaks of the topic that tails go to."""
    topic = entry.record.get("topic")
    return isinstance(topic, str) and (topic == TOPIC or topic.endswith(f"/{TOPIC}"))


def line_of(entry: Entry, dropped: int = 0) -> LogLine:
    """Return a record as the message that goes out."""
    record = entry.record
    fields: dict[str, Any] = {key: value for key, value in record.items() if key not in _OWN}
    part, child = record.get("part"), record.get("child")
    return LogLine(
        at=str(record.get("at", "")),
        level=entry.level,
        event=str(record.get("event", "")),
        part=None if part is None else str(part),
        child=None if child is None else str(child),
        dropped=dropped,
        fields=fields,
    )
