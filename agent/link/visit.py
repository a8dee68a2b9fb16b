"""One stay with a broker: what is said on arrival, what is done with what comes, and how the device takes its leave.

On arrival the subscriptions come first, then ``online``, once the broker has answered them: ``online`` means
commandable. The device listens to its own ``status``: an ``offline`` while it is connected is a late will and is
answered with ``online``; and to its own ``info``, which tells whether another device uses its id
(:mod:`agent.link.twins`). Messages go to the handler whose route matches, which must not block; the broker is told that
a message need not come again when the handler calls its ``acknowledge``, from any thread. All else is for the
session's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

import structlog

from agent.link.broker import OFFLINE, Broker
from agent.link.connection import CONNECT_S, Connection
from agent.link.peer import Plan
from agent.link.renewal import LOOK_S
from agent.link.routes import Routes
from agent.link.signals import Flag
from agent.link.standing import Standing
from agent.link.topics import Topics
from agent.link.twins import Twins
from agent.link.wire import Incoming, Pulse, Received, Supply

log = structlog.get_logger(part="link")

ONLINE = b"online"

DRAIN_S = 0.9
"""How long letters that wait may go out before the session leaves a broker."""

GOODBYE_S = 0.5
"""How long it then waits for the broker to take ``offline``."""

BEFORE_ACCEPTED_S = 0.5


class Visit:
    """See the module. ``online`` is whether the device said so, and still is."""

    def __init__(
        self,
        plan: Plan,
        broker: Broker,
        *,
        topics: Topics,
        supply: Supply,
        routes: Routes,
        twins: Twins,
        standing: Standing,
        wake: Flag,
        pulse: Pulse,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._supply = supply
        self._routes = routes
        self._twins = twins
        self._standing = standing
        self._wake = wake
        self._pulse = pulse
        self._acknowledged: deque[int] = deque()
        self._leaving = False
        self.online = False
        self.connection = Connection(plan, self, supply, wake.reading)

    def step(self) -> None:
        """Wait for something to do, for a while at most, and do it. Raises BrokerFault."""
        self._step(min(self._broker.keepalive_s / 5, LOOK_S) if self.connection.accepted else BEFORE_ACCEPTED_S)
        if self.online:
            self._routes.follow(self.connection)
        self._twins.look(time.monotonic())
        now = self._standing.now
        if (now.duplicate_device_id, now.credentials_problem) != (self._twins.found, self._broker.problem):
            self._standing.tell(duplicate_device_id=self._twins.found, credentials_problem=self._broker.problem)

    def leave(self, *, for_good: bool = True) -> None:
        """Let what waits go out, say ``offline`` and disconnect, in :data:`DRAIN_S` and :data:`GOODBYE_S` at most.

        Not ``for_good``: to come back at once, which is nobody's business unless it fails.
        """
        if not self.connection.is_open:
            return
        self._leaving = True
        until = time.monotonic() + DRAIN_S
        while not self._supply.idle() and (left := until - time.monotonic()) > 0:
            self._step(left)
        if for_good:
            self.connection.publish(self._topics.status, OFFLINE, retain=True)
        until = time.monotonic() + GOODBYE_S
        while not self.connection.quiet and (left := until - time.monotonic()) > 0:
            self._step(left)
        self.connection.disconnect(with_will=not for_good)

    def end(self) -> None:
        """Free everything, however it ended."""
        self.connection.close()
        self._twins.lost()
        if not self.connection.accepted:
            return
        letter = self.connection.provoked
        if self._broker.provoked.hung_up(letter) and letter is not None:
            self._supply.refused(letter, "the broker hangs up whenever it is sent; is it too large for it?")
        self._supply.disconnected()

    def _step(self, timeout_s: float) -> None:
        while self._acknowledged:
            self.connection.acknowledge(self._acknowledged.popleft())
        self._pulse.waiting(timeout_s + CONNECT_S)
        self.connection.step(timeout_s)
        self._pulse.progress()

    # --- what the connection tells (connection.Events) ---------------------------------------------------------------

    def opened(self) -> None:
        """Subscribe, and bring the broker up to date."""
        self._broker.opened(self.connection.plan.protocol)
        self._twins.connected(time.monotonic())
        self._routes.begin(self.connection)
        self._supply.connected()

    def subscribed(self, asked: tuple[str, ...], refused: Mapping[str, str]) -> None:
        """Say that we are here: only now does a command reach us for certain."""
        for topic_filter, reason in refused.items():
            log.error(
                "mqtt.not_subscribed", filter=topic_filter, reason=reason, remedy="check the broker's access list"
            )
        before = self._standing.now
        if self.online:
            others = tuple(name for name in before.not_subscribed if name not in asked)
            self._standing.tell(not_subscribed=(*others, *refused))
            return
        self.online = True
        self.connection.publish(self._topics.status, ONLINE, retain=True)
        session, protocol = before.session + 1, self.connection.plan.protocol
        log.info("mqtt.connected", broker=before.broker, protocol=protocol, session=session)
        self._standing.tell(
            state="connected",
            protocol=protocol,
            session=session,
            last_error=None,
            not_subscribed=tuple(refused),
            credentials_problem=self._broker.problem,
        )

    def received(self, message: Received) -> None:
        """Give a message to the handler of its topic."""
        self._standing.tell(received=self._standing.now.received + 1)

        def acknowledge() -> None:
            if message.ack_id is not None:
                self._acknowledged.append(message.ack_id)
                self._wake.raise_()

        if message.topic is None:
            self._standing.tell(malformed=self._standing.now.malformed + 1)
        elif message.topic == self._topics.status:
            self._own_status(message.payload)
        elif message.topic == self._routes.info:
            self._twins.heard(message.payload, time.monotonic())
        elif (handler := self._routes.handler(message.topic)) is None:
            log.debug("mqtt.nobody_listens", topic=message.topic)  # amqtt sends others' retained messages
        else:
            handler(
                Incoming(
                    message.topic,
                    message.payload,
                    message.retained,
                    acknowledge,
                    message.response_topic,
                    message.correlation,
                )
            )
            return
        acknowledge()

    def _own_status(self, payload: bytes) -> None:
        if payload == OFFLINE and self.online and not self._leaving:
            log.info("mqtt.late_will", broker=self._standing.now.broker)
            self.connection.publish(self._topics.status, ONLINE, retain=True)
