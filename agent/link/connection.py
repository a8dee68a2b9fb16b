"""One connection to a broker: a paho client that lives as long as its socket, driven by the session's thread.

paho keeps nothing for us between connections: its queue, its resending and its reconnecting are not used, because the
outbox and the session do these with bounds and in order. Everything here happens on one thread; letters go to paho only
while its socket takes more, so that a peer which stops reading holds up the outbox, not our memory.

Whatever ends the connection surfaces as a :class:`~agent.link.faults.BrokerFault` from :meth:`Connection.step`.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.link import faults, provoked
from agent.link.peer import Peer, Plan, properties
from agent.link.wire import Events, Letter, Received, Supply

CONNECT_S = 5.0
"""For the CONNACK, and for the answer to the first subscriptions."""

WINDOW = 20
"""Letters of QoS 1 that may be unacknowledged at a time."""

ACKNOWLEDGE_S = 30.0
"""A broker that acknowledges nothing for so long, and takes nothing that waits, is not worth the connection."""

WITH_WILL = 4
"""MQTT 5's reason of a DISCONNECT after which the broker sends the will all the same."""

BURST = 50


class Connection:
    """See the module."""

    def __init__(self, plan: Plan, events: Events, supply: Supply, wake: socket.socket) -> None:
        """``wake`` becomes readable when there is something to do; it must not block."""
        self.plan = plan
        self._events = events
        self._supply = supply
        self._wake = wake
        self._fault: faults.BrokerFault | None = None
        self.accepted = False
        self._answer_by: float | None = None
        self._window = WINDOW
        self._max_packet = 2**28
        self._may_retain = True
        self._max_qos = 1
        self._unacknowledged: OrderedDict[int, tuple[Letter | None, float]] = OrderedDict()
        self._alive_at = time.monotonic()
        self.provoked: Letter | None = None
        """The large letter on which the broker hung up, if it did."""
        self._subscribing: dict[int, tuple[str, ...]] = {}
        self._selector = selectors.DefaultSelector()
        self._client = self._make_client(plan)

    @property
    def is_open(self) -> bool:
        """Whether the broker accepted the connection and nothing ended it since."""
        return self.accepted and self._fault is None

    @property
    def too_large(self) -> bool:
        """Whether it ended because the broker sent a packet beyond :data:`MAX_PACKET_BYTES`."""
        return self._client.too_large

    @property
    def quiet(self) -> bool:
        """Whether all that was sent is acknowledged and written."""
        return not self._unacknowledged and not self._client.want_write()

    def open(self) -> None:
        """Connect by ``plan.way`` and send the CONNECT; blocks as long as that does. Raises BrokerFault."""
        try:
            self._client.begin()
        except OSError as error:
            raise faults.not_connected(self.plan.broker, error) from error
        self._answer_by = time.monotonic() + CONNECT_S
        peer = self._client.socket()
        if peer is None:
            raise faults.hung_up(self.plan.broker)
        self._selector.register(peer, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def step(self, timeout_s: float) -> None:
        """Wait for the socket or ``wake``, ``timeout_s`` at most, and do all there is to do. Raises BrokerFault."""
        self._wait(timeout_s)
        code = self._client.loop_misc()
        if self.is_open and code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._pump()
        self._check()

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Send a message of our own with QoS 1, beside the letters."""
        info = self._client.publish(topic, payload, qos=1, retain=retain and self._may_retain)
        self._unacknowledged[info.mid] = (None, time.monotonic())

    def subscribe(self, filters: Iterable[str]) -> None:
        """Subscribe with QoS 1, and so that a retained message is always told apart (MQTT 5)."""
        asked = tuple(filters)
        if self.plan.protocol == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            _, mid = self._client.subscribe([(topic, options) for topic in asked])
        else:
            _, mid = self._client.subscribe([(topic, 1) for topic in asked])
        if mid is not None:
            self._subscribing[mid] = asked
        self._answer_by = time.monotonic() + CONNECT_S

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """End some subscriptions; what is under way may still come."""
        self._client.unsubscribe(list(filters))

    def acknowledge(self, ack_id: int) -> None:
        """Tell the broker that a message need not come again."""
        self._client.ack(ack_id, 1)

    def disconnect(self, *, with_will: bool = False) -> None:
        """Say goodbye in order: no will is sent, unless it is asked for (then with its delay, where MQTT has one)."""
        if not with_will:
            self._client.disconnect()
        elif self.plan.protocol == "5":
            self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=WITH_WILL))
        self._client.loop_write()

    def close(self) -> None:
        """Free the socket without a word. Idempotent."""
        self._selector.close()
        peer = self._client.socket()
        if peer is not None:
            with contextlib.suppress(OSError):
                peer.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _make_client(self, plan: Plan) -> Peer:
        client = Peer(plan, max_unacknowledged=WINDOW + 10)  # ours is the tighter window: paho never has to queue
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _wait(self, timeout_s: float) -> None:
        peer = self._client.socket()
        if peer is None:
            return
        wants = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        if self._selector.get_key(peer).events != wants:
            self._selector.modify(peer, wants)
        buffered = isinstance(peer, ssl.SSLSocket) and peer.pending() > 0
        for key, events in self._selector.select(0 if buffered else timeout_s):
            if key.fileobj is self._wake:
                _drain(self._wake)
            elif events & selectors.EVENT_WRITE:  # what waited, waits no longer: the peer takes something
                self._alive_at = time.monotonic()
                self._client.loop_write()
            if key.fileobj is peer and events & selectors.EVENT_READ:
                buffered = True
        if buffered:
            self._client.loop_read()

    def _pump(self) -> None:
        """Send letters while the socket takes them; after a burst, look whether there is something to read."""
        for _ in range(BURST):
            if self._client.want_write() or not self.is_open:
                return
            letter = self._supply.next(window_open=len(self._unacknowledged) < self._window)
            if letter is None:
                return
            self._send(letter)
        self._client.loop_write()

    def _send(self, letter: Letter) -> None:
        if letter.size > self._max_packet:
            self._supply.refused(letter, f"the broker takes at most {self._max_packet} bytes")
            return
        with_it = None
        if letter.correlation is not None and self.plan.protocol == "5":
            with_it = properties(PacketTypes.PUBLISH, CorrelationData=letter.correlation)
        qos = min(letter.qos, self._max_qos)
        info = self._client.publish(letter.topic, letter.payload, qos, letter.retain and self._may_retain, with_it)
        if qos == 1:
            self._unacknowledged[info.mid] = (letter, time.monotonic())
        elif letter.qos == 1:  # the broker knows no QoS 1: written is as good as it gets
            self._supply.acknowledged(letter.id)

    def _check(self) -> None:
        now = time.monotonic()
        if self._fault is None and self._answer_by is not None and now > self._answer_by:
            self._fault = faults.silent(self.plan.broker, CONNECT_S)
        if self._fault is None and self._unacknowledged:
            _, sent_at = next(iter(self._unacknowledged.values()))
            if now - max(sent_at, self._alive_at) > ACKNOWLEDGE_S:
                self._fault = faults.unacknowledged(self.plan.broker, ACKNOWLEDGE_S)
        if self._fault is None and self._client.socket() is None:
            self._fault = faults.lost(self.plan.broker, "closed") if self.accepted else faults.hung_up(self.plan.broker)
        if self._fault is not None:
            raise self._fault

    # --- paho's callbacks, inside step() -----------------------------------------------------------------------------

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._fault = faults.refused(self.plan.broker, reason.value, reason.getName())
            return
        self._window = max(1, min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW)))
        self._max_packet = getattr(properties, "MaximumPacketSize", self._max_packet)
        self._may_retain = bool(getattr(properties, "RetainAvailable", 1))
        self._max_qos = getattr(properties, "MaximumQoS", 1)
        self.accepted = True
        self._answer_by = None
        self._events.opened()

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if self._fault is not None:
            return
        self.provoked = provoked.largest(self._unacknowledged.values(), time.monotonic())
        if flags.is_disconnect_packet_from_server:
            self._fault = faults.refused(self.plan.broker, reason.value, reason.getName())
        elif self._client.tls_error is not None:
            self._fault = faults.not_connected(self.plan.broker, self._client.tls_error)
        elif self.accepted:
            why = "it sent more than this device takes" if self.too_large else reason.getName()
            self._fault = faults.lost(self.plan.broker, why)
        else:
            self._fault = faults.hung_up(self.plan.broker)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        topic: str | None
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = None
        self._events.received(
            Received(
                topic=topic,
                payload=bytes(message.payload),
                retained=bool(message.retain),
                ack_id=message.mid if message.qos == 1 else None,
                response_topic=getattr(message.properties, "ResponseTopic", None),
                correlation=getattr(message.properties, "CorrelationData", None),
            )
        )

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if mid not in self._unacknowledged:  # of QoS 0: it was written
            return
        letter, _ = self._unacknowledged.pop(mid)
        self._alive_at = time.monotonic()
        if letter is None:
            return
        if reason.is_failure:
            self._supply.refused(letter, reason.getName())
        else:
            self._supply.acknowledged(letter.id)

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        asked = self._subscribing.pop(mid, ())
        if not self._subscribing:
            self._answer_by = None
        answers = zip(asked, reasons, strict=False)
        self._events.subscribed(asked, {topic: reason.getName() for topic, reason in answers if reason.is_failure})


def _drain(wake: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while wake.recv(4096):
            pass
