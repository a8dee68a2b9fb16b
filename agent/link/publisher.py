"""The seam through which everything leaves the device: :meth:`Publisher.publish`.

Any thread may publish; the call takes one short lock and returns, whatever the broker or the network does. The thread
``lookout-publisher`` makes letters of the messages (JSON is encoded here, never by the producer) and puts them into
the outbox, from which the session takes them. The inbox in between is bounded: when it is full, which means that this
thread gets no CPU, a message that is not durable is refused, a durable one only at twice the bound; both are counted.
Durable letters of one turn of the thread go to the outbox together: it writes them to the disk in one transaction.

A message of QoS 0 is worth ``qos0_age_s`` at most, so that nothing stale is sent when the broker comes back. The last
retained message of each ``replaces`` key is kept and sent again at every connection: a broker that lost its memory gets
it back. (An empty retained message clears the topic at the broker, and here.)
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

import msgspec
import structlog

from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import LookoutError
from agent.link.messages import encode
from agent.link.outbox import Outbox, OutboxStatistics, is_kept
from agent.link.topics import Topics
from agent.link.wire import Letter, NoPulse, Pulse
from agent.types import Outgoing

log = structlog.get_logger(part="link")

IDLE_S = 30.0
"""How long the thread waits at a time: only so that its heartbeat is renewed."""

DISK_S = 60.0
"""How long writing letters may take before the watchdog thinks that the thread hangs: a bad disk takes seconds."""

MAX_KEPT = 512
"""Retained messages kept for the next connection; a device has one for each camera and pipeline and a few more."""


class PublisherStatistics(msgspec.Struct, frozen=True):
    """``refused_by_inbox``: this thread got no CPU; ``refused_by_broker``: too large or not allowed."""

    published: int
    sent: int
    acknowledged: int
    expired: int
    unencodable: int
    refused_by_inbox: int
    refused_by_broker: int
    inbox: int
    outbox: OutboxStatistics


class Publisher:
    """Owns the thread ``lookout-publisher``; is the session's :class:`~agent.link.wire.Supply`. See the module."""

    def __init__(
        self,
        topics: Topics,
        outbox: Outbox,
        *,
        max_inbox: int = 1000,
        qos0_age_s: float = 2.0,
        clock_ns: Callable[[], int] = monotonic_ns,
        pulse: Pulse | None = None,
    ) -> None:
        self._topics = topics
        self._outbox = outbox
        self._max_inbox = max_inbox
        self._qos0_age_ns = round(qos0_age_s * NS_PER_S)
        self._clock_ns = clock_ns
        self._pulse = pulse or NoPulse()
        self._inbox: deque[Outgoing] = deque()
        self._ready = threading.Condition()
        self._busy = False
        self._stopping = False
        self._wake: Callable[[], None] = lambda: None
        self._ids = itertools.count(outbox.last_id + 1)
        self._kept: OrderedDict[str, Letter] = OrderedDict()
        self._kept_lock = threading.Lock()  # also keeps an older value from overtaking a newer one into the outbox
        self._counts = dict.fromkeys(("published", "sent", "acknowledged", "expired", "unencodable"), 0)
        self._refused_by_inbox = 0
        self._refused_by_broker = 0
        self._left = threading.Condition()
        self._waiters = 0
        self._thread = threading.Thread(target=self._run, name="lookout-publisher", daemon=True)

    def start(self) -> None:
        """Begin to make letters."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Make letters of what was published so far, and end."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def publish(self, message: Outgoing) -> None:
        """Take a message; any thread, returns at once, raises nothing."""
        with self._ready:
            bound = self._max_inbox * (2 if message.durable else 1)
            if len(self._inbox) >= bound or self._stopping:
                self._refused_by_inbox += 1
                return
            self._counts["published"] += 1
            self._inbox.append(message)
            if len(self._inbox) == 1:
                self._ready.notify()

    def statistics(self) -> PublisherStatistics:
        """Return the counters; any thread."""
        return PublisherStatistics(
            refused_by_inbox=self._refused_by_inbox,
            refused_by_broker=self._refused_by_broker,
            inbox=len(self._inbox),
            outbox=self._outbox.statistics(),
            **self._counts,
        )

    # --- the session's side, on its thread ---------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` after letters were put into the outbox, and when it has others to hand out."""
        self._wake = wake
        self._outbox.listen(wake)

    def next(self, *, window_open: bool) -> Letter | None:
        """Hand out the next letter."""
        letter = self._outbox.next(self._clock_ns(), window_open=window_open)
        if letter is not None:
            self._counts["sent"] += 1
        elif self._waiters:
            self._tell_waiters()
        return letter

    def acknowledged(self, letter_id: int) -> None:
        """Forget a letter that the broker has."""
        self._counts["acknowledged"] += 1
        self._outbox.done(letter_id)
        if self._waiters:
            self._tell_waiters()

    def refused(self, letter: Letter, reason: str) -> None:
        """Forget a letter that the broker will not have."""
        self._refused_by_broker += 1
        log.warning("publish.refused", topic=letter.topic, bytes=len(letter.payload), reason=reason)
        self._outbox.done(letter.id)

    def connected(self) -> None:
        """Queue again what must stand at the broker."""
        now_ns = self._clock_ns()
        self._outbox.connected(now_ns)
        with self._kept_lock:
            for letter in self._kept.values():
                self._outbox.put(msgspec.structs.replace(letter, id=next(self._ids)), now_ns)

    def disconnected(self) -> None:
        """Put back what was not acknowledged."""
        self._outbox.rewind()

    def idle(self) -> bool:
        """Tell whether all that was published is at the broker."""
        with self._ready:
            if self._inbox or self._busy:
                return False
        return self._outbox.idle()

    def wait_idle(self, timeout_s: float) -> bool:
        """Return once all that was published is at the broker, or after ``timeout_s``; tell which. Any other thread."""
        with self._left:
            self._waiters += 1
            try:
                return self._left.wait_for(self.idle, timeout_s)
            finally:
                self._waiters -= 1

    def _tell_waiters(self) -> None:
        with self._left:
            self._left.notify_all()

    # --- on the thread lookout-publisher -----------------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._take():
            self._put_all(batch)
            with self._ready:
                self._busy = False
            self._wake()

    def _take(self) -> tuple[Outgoing, ...]:
        """Wait for messages; nothing when it is time to end."""
        with self._ready:
            while not self._inbox and not self._stopping:
                self._pulse.waiting(2 * IDLE_S)
                self._ready.wait(IDLE_S)
            self._pulse.progress()
            batch = tuple(self._inbox)
            self._inbox.clear()
            self._busy = bool(batch)
            return batch

    def _put_all(self, batch: Iterable[Outgoing]) -> None:
        """Put a batch, in order within each stream, the durable ones together."""
        durable: list[Letter] = []
        for message in batch:
            now_ns = self._clock_ns()
            letter = self._made(message, now_ns)
            if letter is None:
                continue
            if is_kept(letter):
                durable.append(letter)
                continue
            if any(one.stream == letter.stream for one in durable):
                self._put_durable(durable)
            self._put(letter, now_ns)
        if durable:
            self._put_durable(durable)

    def _put_durable(self, letters: list[Letter]) -> None:
        """Put these and forget them here."""
        self._pulse.waiting(DISK_S)
        self._outbox.put_all(letters, self._clock_ns())
        self._pulse.progress()
        letters.clear()

    def _put(self, letter: Letter, now_ns: int) -> None:
        if letter.retain and letter.replaces is not None:
            with self._kept_lock:
                self._keep(letter.replaces, letter)
                self._outbox.put(letter, now_ns)
        else:
            self._outbox.put(letter, now_ns)

    def _made(self, message: Outgoing, now_ns: int) -> Letter | None:
        """Make a letter of a message; None where it is worth nothing."""
        if message.expires_at_ns is not None and message.expires_at_ns <= now_ns:
            self._counts["expired"] += 1
            return None
        try:
            return self._letter(message, now_ns)
        except (LookoutError, TypeError, ValueError) as error:  # a producer's bug must not end all publishing
            self._counts["unencodable"] += 1
            log.error("publish.unencodable", topic=message.topic, error=str(error))  # noqa: TRY400 - says it all
            return None

    def _letter(self, message: Outgoing, now_ns: int) -> Letter:
        payload = message.payload if isinstance(message.payload, bytes) else encode(message.payload)
        to = message.correlation
        expires_at_ns = message.expires_at_ns
        if message.qos == 0:
            expires_at_ns = min(expires_at_ns or 2**63, now_ns + self._qos0_age_ns)
        return Letter(
            id=next(self._ids),
            topic=self._topics.absolute(message.topic) if to is None else to.response_topic,
            payload=payload,
            qos=message.qos,
            retain=message.retain,
            stream=message.stream,
            priority=message.priority,
            durable=message.durable,
            expires_at_ns=expires_at_ns,
            replaces=message.replaces,
            correlation=None if to is None else to.data,
            final=message.final,
        )

    def _keep(self, key: str, letter: Letter) -> None:
        self._kept.pop(key, None)
        if letter.payload:
            self._kept[key] = letter
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
