"""paho, made safe for a device: its socket is ours, a packet has a bound, and what TLS said is kept.

A :class:`Plan` says everything about one connection; :class:`Peer` is the client made of it, which lives as long as the
connection. Only :mod:`agent.link.connection` drives it, on one thread.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.link import faults
from agent.link.wire import Protocols

MAX_PACKET_BYTES = 1024 * 1024
"""Nothing larger is taken from a broker; MQTT 5 brokers are told so."""


QOS_BITS, QOS_2 = 0x06, 0x04
"""In the first byte of a PUBLISH."""

RECEIVE_MAXIMUM = 32
"""Commands that a MQTT 5 broker may send before the first of them is acknowledged."""


@dataclass(frozen=True)
class Plan:
    """How to connect. ``way`` returns a connected socket; ``clean`` throws away what the broker kept for us."""

    host: str
    port: int
    way: Callable[[], socket.socket]
    protocol: Protocols
    client_id: str
    username: str | None
    password: str | None
    keepalive_s: int
    will_topic: str
    will_payload: bytes
    will_delay_s: int
    session_expiry_s: int
    clean: bool = False

    @property
    def broker(self) -> str:
        """``host:port``."""
        return faults.broker_name(self.host, self.port)


class Peer(paho.Client):
    """paho would connect by itself, and read a packet of any size that a broker announces (256 MB) into memory."""

    def __init__(self, plan: Plan, *, max_unacknowledged: int) -> None:
        """Make the client; nothing is connected yet."""
        modern = plan.protocol == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=plan.client_id,
            clean_session=None if modern else plan.clean,
            protocol=MQTTProtocolVersion.MQTTv5 if modern else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._plan = plan
        self.too_large = False
        self.tls_error: ssl.SSLError | None = None
        self.max_inflight_messages_set(max_unacknowledged)
        self.max_queued_messages_set(max_unacknowledged)
        if plan.username is not None:
            self.username_pw_set(plan.username, plan.password)
        delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=plan.will_delay_s) if modern else None
        self.will_set(plan.will_topic, plan.will_payload, qos=1, retain=True, properties=delay)

    def begin(self) -> None:
        """Connect by the plan's way and send the CONNECT. Raises BrokerFault, OSError."""
        plan = self._plan
        options: dict[str, Any] = {}
        if plan.protocol == "5":
            asked = properties(
                PacketTypes.CONNECT,
                SessionExpiryInterval=plan.session_expiry_s,
                ReceiveMaximum=RECEIVE_MAXIMUM,
                MaximumPacketSize=MAX_PACKET_BYTES,
            )
            options = {"clean_start": plan.clean, "properties": asked}
        self.connect(plan.host, plan.port, plan.keepalive_s, **options)

    # The methods below are paho's own, not promised to anybody: tests hold what they do.

    def _create_socket(self) -> socket.socket:
        return self._plan.way()

    def _handle_publish(self) -> MQTTErrorCode:
        """Take a message; one of QoS 2, which nobody asked for, ends the connection.

        paho would keep it in memory until the broker completes it, and a hostile one begins 65,535 and completes none.
        """
        if self._in_packet["command"] & QOS_BITS == QOS_2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._handle_publish()  # type: ignore[no-any-return,unused-ignore]

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET_BYTES:
            self.too_large = True
            raise ConnectionError(f"a packet of {bufsize} bytes")
        try:
            return super()._sock_recv(bufsize)  # type: ignore[no-any-return,unused-ignore]
        except ssl.SSLError as error:  # with TLS 1.3 the broker says only now what it thinks of our certificate
            self.tls_error = error
            raise


def properties(packet: int, **values: int | bytes) -> Properties:
    """Return MQTT 5 properties of a packet."""
    made = Properties(packet)  # type: ignore[no-untyped-call] # paho leaves this one class untyped
    for name, value in values.items():
        setattr(made, name, value)
    return made
