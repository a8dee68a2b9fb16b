"""The session with the broker: one thread, ``lookout-mqtt``, that connects, stays connected, and comes back.

The broker knows the device by a stable client id and keeps its subscriptions and unacknowledged commands for
:data:`SESSION_EXPIRY_S` while it is away. On every connection the session subscribes, publishes ``online``, and lets
its supply queue what must stand at the broker; the will, delayed by :data:`WILL_DELAY_S` on MQTT 5, says ``offline``.
The session listens to its own ``status``: an ``offline`` while it is connected is a late will and is answered with
``online``. ``online`` means commandable: it follows the broker's answer to the subscriptions.

Messages go to the handler whose route matches, on this thread, which must not block; the broker is told that a message
need not come again when the handler calls its ``acknowledge``, from any thread.

Reconnecting is ours, with the delays of :mod:`agent.link.backoff`. Nothing here blocks whoever publishes, and
:meth:`Session.stop` returns in time whatever the broker does: a thread that hangs in the resolver is left behind.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
import structlog
from paho.mqtt.client import topic_matches_sub

from agent.config.schema import Mqtt
from agent.errors import ConfigError
from agent.link import access, faults
from agent.link.backoff import Backoff
from agent.link.connection import CONNECT_S, Connection, Plan, Received
from agent.link.messages import Failure
from agent.link.probe import ProtocolMemory, probe
from agent.link.topics import Topics
from agent.link.wire import Incoming, NoPulse, Protocols, Pulse, Supply

log = structlog.get_logger(part="link")

SESSION_EXPIRY_S = 24 * 3600
WILL_DELAY_S = 10
ONLINE, OFFLINE = b"online", b"offline"

DRAIN_S = 0.9
"""How long a stop lets letters go out that wait."""

GOODBYE_S = 0.5
"""How long a stop waits for the broker to take ``offline``."""

SUSPICIOUS = 3
"""Connections in a row that ended soon after they were made, from which on another device of our name is suspected."""

RESOLVE_S = 60.0
"""Name resolution cannot be interrupted and takes up to this long with a dead name server."""

Handler = Callable[[Incoming], None]


class SessionStatistics(msgspec.Struct, frozen=True):
    """``session`` counts connections since the start, ``taken_over`` those that another client ended under our id.

    ``last_error`` says why there is no connection (None while there is one); ``retry_s`` how long it then waits.
    """

    state: Literal["connecting", "connected", "waiting", "stopped"] = "stopped"
    broker: str = ""
    protocol: Protocols | None = None
    session: int = 0
    failures: int = 0
    taken_over: int = 0
    received: int = 0
    malformed: int = 0
    last_error: Failure | None = None
    retry_s: float = 0.0
    not_subscribed: tuple[str, ...] = ()

    @property
    def duplicate_device_id(self) -> bool:
        """Whether another client connected under this device's id."""
        return self.taken_over > 0


Listener = Callable[[SessionStatistics], None]


class Session:
    """Owns the thread ``lookout-mqtt``; see the module."""

    def __init__(
        self,
        config: Mqtt,
        topics: Topics,
        supply: Supply,
        *,
        routes: Mapping[str, Handler] | None = None,
        listeners: Iterable[Listener] = (),
        protocols: ProtocolMemory | None = None,
        backoff: Backoff | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        """Raise ConfigError without a host; ``listeners`` are told of every change of state, on the thread."""
        if config.host is None:
            raise ConfigError("mqtt.host is not set: there is no broker to connect to", field="mqtt.host")
        self._config = config
        self._host = config.host
        self._broker = faults.broker_name(config.host, config.port)
        self._topics = topics
        self._supply = supply
        self._routes = dict(routes or {})
        self._listeners = tuple(listeners)
        self._protocols = protocols or ProtocolMemory()
        self._backoff = backoff or Backoff()
        self._pulse = pulse or NoPulse()
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._stopping = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._halt_in, self._halt_out = socket.socketpair()  # closing one end ends the probe, for good
        self._acknowledged: deque[tuple[Connection, int]] = deque()
        self._connection: Connection | None = None
        self._clean_next = False
        self._sure = True
        self._opened_at: float | None = None
        self._online = False
        self._short = 0
        self._state = SessionStatistics(broker=self._broker)
        self._thread = threading.Thread(target=self._run, name="lookout-mqtt", daemon=True)
        supply.listen(self.wake)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Send what waits, say ``offline`` and disconnect, in ``timeout_s`` at most. Idempotent."""
        self._stopping.set()
        self._halt_out.close()
        self.wake()
        if self._thread.ident is None:
            self._close_sockets()
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("mqtt.left_behind", broker=self._broker, reason="the thread hangs in the network")

    def wake(self) -> None:
        """Look for something to do; any thread, never blocks."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
            self._wake_out.send(b"\0")

    def statistics(self) -> SessionStatistics:
        """Return where the session stands; any thread."""
        return self._state

    # --- on the thread lookout-mqtt ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                delay_s = self._attempt()
            except Exception:  # the thread's last line: a bug in a handler costs this connection, not the link
                log.exception("mqtt.crashed", broker=self._broker)
                delay_s = self._failed(faults.crashed(self._broker))
            self._pulse.waiting(delay_s + RESOLVE_S)
            self._stopping.wait(delay_s)
        self._tell(state="stopped", retry_s=0.0)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for end in (self._wake_in, self._wake_out, self._halt_in):
            end.close()

    def _attempt(self) -> float:
        """Connect and stay until a fault or a stop; return the seconds to wait before the next attempt."""
        self._tell(state="connecting", retry_s=0.0)
        self._pulse.waiting(RESOLVE_S + 4 * CONNECT_S)
        try:
            self._opened_at = None
            connection = Connection(self._plan(), self, self._supply, self._wake_in)
        except faults.BrokerFault as fault:
            return self._failed(fault)
        self._connection, self._online = connection, False
        try:
            connection.open()
            self._serve(connection)
            return 0.0
        except faults.BrokerFault as fault:
            return self._failed(fault)
        finally:
            self._connection = None
            connection.close()
            self._clean_next = connection.too_large  # else the broker would send that message at each connection
            if connection.accepted:
                self._supply.disconnected()

    def _serve(self, connection: Connection) -> None:
        patience_s = self._config.keepalive_s / 5
        while not self._stopping.is_set():
            self._step(connection, patience_s if connection.accepted else 0.5)
        if connection.is_open:
            self._goodbye(connection)

    def _step(self, connection: Connection, timeout_s: float) -> None:
        while self._acknowledged:
            of, ack_id = self._acknowledged.popleft()
            if of is connection:  # on another connection the number means another message
                connection.acknowledge(ack_id)
        self._pulse.waiting(timeout_s + CONNECT_S)
        connection.step(timeout_s)
        self._pulse.progress()

    def _goodbye(self, connection: Connection) -> None:
        until = time.monotonic() + DRAIN_S
        while not self._supply.idle() and (left := until - time.monotonic()) > 0:
            self._step(connection, left)
        connection.publish(self._topics.status, OFFLINE, retain=True)
        until = time.monotonic() + GOODBYE_S
        while not connection.quiet and (left := until - time.monotonic()) > 0:
            self._step(connection, left)
        connection.disconnect()

    def _failed(self, fault: faults.BrokerFault) -> float:
        if fault.unsure:
            self._protocols.forget(self._broker)
        if self._opened_at is not None:
            lasted = self._backoff.lasted(time.monotonic() - self._opened_at)
            self._short = 0 if lasted else self._short + 1
            if self._short >= SUSPICIOUS:
                fault = faults.suspect(fault, self._short)
        delay_s = self._backoff.delay_s(fault.patience, self._random.random())
        if not self._stopping.is_set():
            log.warning("mqtt.no_connection", code=fault.code, error=fault.message, retry_s=round(delay_s, 1))
        self._tell(
            state="waiting",
            protocol=None,
            last_error=Failure.of(fault),
            retry_s=delay_s,
            failures=self._state.failures + 1,
            taken_over=self._state.taken_over + isinstance(fault, faults.TakenOver),
        )
        return delay_s

    def _tell(self, **changes: object) -> None:
        self._state = msgspec.structs.replace(self._state, **changes)
        if "state" in changes:
            for listener in self._listeners:
                listener(self._state)

    # --- how to connect ----------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        config = self._config
        password, tls = access.password(config), access.tls_context(config)
        return Plan(
            host=self._host,
            port=config.port,
            protocol=self._protocol(tls),
            client_id=f"{self._topics.prefix}-{self._topics.device}".replace("/", "-"),
            username=config.username,
            password=password,
            tls=tls,
            keepalive_s=config.keepalive_s,
            will_topic=self._topics.status,
            will_payload=OFFLINE,
            will_delay_s=WILL_DELAY_S,
            session_expiry_s=SESSION_EXPIRY_S,
            clean=self._clean_next,
        )

    def _protocol(self, tls: ssl.SSLContext | None) -> Protocols:
        self._sure = True
        if self._config.protocol != "auto":
            return self._config.protocol
        known = self._protocols.get(self._broker)
        if known is not None:
            return known
        protocol, self._sure = probe(lambda: access.dial(self._config, tls), self._broker, self._halt_in)
        log.info("mqtt.probed", broker=self._broker, protocol=protocol, sure=self._sure)
        return protocol

    # --- what the connection tells (connection.Events) ---------------------------------------------------------------

    def opened(self) -> None:
        """Subscribe, and bring the broker up to date."""
        connection = self._connection
        assert connection is not None
        self._opened_at = time.monotonic()
        self._protocols.learn(self._broker, connection.plan.protocol, sure=self._sure)
        connection.subscribe((self._topics.status, *self._routes))
        self._supply.connected()

    def subscribed(self, refused: Mapping[str, str]) -> None:
        """Say that we are here: only now does a command reach us for certain."""
        connection = self._connection
        assert connection is not None
        self._online = True
        connection.publish(self._topics.status, ONLINE, retain=True)
        for topic_filter, reason in refused.items():
            log.error(
                "mqtt.not_subscribed", filter=topic_filter, reason=reason, remedy="check the broker's access list"
            )
        session, protocol = self._state.session + 1, connection.plan.protocol
        log.info("mqtt.connected", broker=self._broker, protocol=protocol, session=session)
        self._tell(
            state="connected",
            protocol=protocol,
            session=session,
            last_error=None,
            not_subscribed=tuple(refused),
        )

    def received(self, message: Received) -> None:
        """Give a message to the handler of its topic."""
        connection = self._connection
        assert connection is not None
        self._tell(received=self._state.received + 1)

        def acknowledge() -> None:
            if message.ack_id is not None:
                self._acknowledged.append((connection, message.ack_id))
                self.wake()

        if message.topic is None:
            self._tell(malformed=self._state.malformed + 1)
            acknowledge()
        elif message.topic == self._topics.status:
            if message.payload == OFFLINE and self._online and not self._stopping.is_set():
                log.info("mqtt.late_will", broker=self._broker)
                connection.publish(self._topics.status, ONLINE, retain=True)
            acknowledge()
        elif (handler := self._handler(message.topic)) is None:
            log.debug("mqtt.nobody_listens", topic=message.topic)  # amqtt sends others' retained messages
            acknowledge()
        else:
            incoming = Incoming(
                message.topic,
                message.payload,
                message.retained,
                acknowledge,
                message.response_topic,
                message.correlation,
            )
            handler(incoming)

    def _handler(self, topic: str) -> Handler | None:
        for topic_filter, handler in self._routes.items():
            if topic_matches_sub(topic_filter, topic):
                return handler
        return None
