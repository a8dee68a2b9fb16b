"""The session with the broker: one thread, ``lookout-mqtt``, that connects, stays connected, and comes back.

The broker knows the device by a stable client id and keeps its subscriptions and unacknowledged commands for a day
while it is away; the will, delayed on MQTT 5, says ``offline``. What is said and done while connected is
:mod:`agent.link.visit`'s; how a broker is reached, and what is thought of its refusals, :mod:`agent.link.broker`'s.

Reconnecting is ours, with the delays of :mod:`agent.link.backoff`. Another configuration (:meth:`Session.reconfigure`)
is taken up at once, whatever the thread waits for; the old broker is told ``offline`` where it can be. Nothing here
blocks whoever publishes, and :meth:`Session.stop` returns in time whatever the broker does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from agent.config.schema import Mqtt
from agent.link import faults
from agent.link.backoff import Backoff
from agent.link.broker import Broker
from agent.link.connection import CONNECT_S
from agent.link.dial import DIAL_S, Resolver
from agent.link.messages import Failure
from agent.link.probe import DEADLINE_S, ProtocolMemory
from agent.link.routes import Handler, Routes
from agent.link.signals import Flag
from agent.link.standing import Listener, SessionStatistics, Standing
from agent.link.topics import Topics
from agent.link.twins import Twins
from agent.link.visit import Visit
from agent.link.wire import NoPulse, Pulse, Supply

log = structlog.get_logger(part="link")

IDLE_S = 600.0
"""How long the thread waits at a time while there is no broker: only so that its heartbeat is renewed."""

CONNECTING_S = 2 * DIAL_S + DEADLINE_S + 2 * CONNECT_S
"""How long an attempt takes at most: one connection for the probe, one to stay."""


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
        credentials: Path | None = None,
        instance: str = "",
    ) -> None:
        """Take the section ``mqtt`` with its paths resolved (``agent.settings.broker``); without a host: ``off``.

        ``listeners`` are told of what changed, on the thread. ``credentials`` is systemd's folder of them, ``instance``
        the word in this device's ``info`` by which it knows itself; without one it does not listen to its ``info``.
        """
        self._topics = topics
        self._supply = supply
        self._routes = Routes(topics.status, f"{topics.root}info" if instance else None, routes or {})
        self._protocols = protocols or ProtocolMemory()
        self._backoff = backoff
        self._pulse = pulse or NoPulse()
        self._credentials = credentials
        self._instance = instance
        self._resolver = Resolver()
        self._stopping = threading.Event()
        self._wake = Flag()  # there is something to send
        self._halt = Flag()  # another configuration, or the end: nothing is worth waiting for
        self._config = self._wanted = config
        self._broker = self._make_broker()
        self._twins = self._make_twins()
        self._visit: Visit | None = None
        self._clean_next = False
        self._standing = Standing(listeners, self._broker.name if self._broker else "")
        self._thread = threading.Thread(target=self._run, name="lookout-mqtt", daemon=True)
        supply.listen(self.wake)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Send what waits, say ``offline`` and disconnect, in ``timeout_s`` at most. Idempotent."""
        self._stopping.set()
        self._interrupt()
        if self._thread.ident is None:
            self._close()
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("mqtt.left_behind", broker=self._standing.now.broker, reason="the thread hangs in the network")

    def reconfigure(self, config: Mqtt) -> None:
        """Leave the broker, if it is another or is reached otherwise, and connect to this one; any thread.

        Returns at once; the newest call counts. The count of sessions goes on.
        """
        self._wanted = config
        self._interrupt()

    def reroute(self, routes: Mapping[str, Handler]) -> None:
        """Take these handlers in the place of all that there were; any thread, returns at once.

        On a living connection only what differs is subscribed to and unsubscribed from.
        """
        self._routes.want(routes)
        self.wake()

    def wake(self) -> None:
        """Look for something to do; any thread, never blocks."""
        self._wake.raise_()

    def statistics(self) -> SessionStatistics:
        """Return where the session stands; any thread."""
        return self._standing.now

    def _interrupt(self) -> None:
        self._halt.raise_()
        self._wake.raise_()

    # --- on the thread lookout-mqtt ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._halt.lower()
            if self._stopping.is_set():
                break
            self._take_up()
            delay_s = self._turn()
            self._pulse.waiting(delay_s + CONNECT_S)
            self._halt.wait(delay_s)
        self._standing.tell(state="stopped", retry_s=0.0)
        self._close()

    def _close(self) -> None:
        self._resolver.close()
        self._wake.close()
        self._halt.close()

    def _turn(self) -> float:
        """Do what there is to do with the broker; return the seconds to wait until the next time."""
        broker = self._broker
        if broker is None:
            self._standing.tell(state="off", protocol=None, last_error=None, retry_s=0.0)
            return IDLE_S
        try:
            return self._attempt(broker)
        except Exception:  # the thread's last line: a bug in a handler costs this connection, not the link
            log.exception("mqtt.crashed", broker=broker.name)
            return self._failed(broker, faults.crashed(broker.name), was_accepted=False)

    def _take_up(self) -> None:
        """Make the configuration that is wanted the one that counts."""
        wanted = self._wanted
        if self._same_way(wanted):
            return
        self._config = wanted
        self._broker = self._make_broker()
        self._twins = self._make_twins()
        self._clean_next = False
        self._standing.tell(
            broker="" if self._broker is None else self._broker.name,
            last_error=None,
            not_subscribed=(),
            duplicate_device_id=False,
            credentials_problem="",
        )

    def _same_way(self, wanted: Mqtt) -> bool:
        """Tell whether the broker is reached as before by another configuration, which is then taken."""
        if wanted is self._config:
            return True
        if wanted != self._config and not (self._broker is not None and self._broker.more_patient(wanted)):
            return False
        self._config = wanted
        return True

    def _make_broker(self) -> Broker | None:
        if self._config.host is None:
            return None
        return Broker(
            self._config,
            self._topics,
            protocols=self._protocols,
            backoff=self._backoff,
            credentials=self._credentials,
            halt=self._halt.reading,
            resolver=self._resolver,
        )

    def _make_twins(self) -> Twins:
        return Twins(self._instance, 0.0 if self._broker is None else self._broker.backoff.longest_s)

    def _attempt(self, broker: Broker) -> float:
        """Connect and stay until a fault, a change or a stop; return the seconds to wait before the next attempt."""
        self._standing.tell(state="connecting", protocol=None, retry_s=0.0)
        self._pulse.waiting(CONNECTING_S)
        visit: Visit | None = None
        try:
            visit = self._visit = self._make_visit(broker)
            visit.connection.open()
            self._stay(broker, visit)
            return 0.0
        except faults.Interrupted:
            return 0.0
        except faults.BrokerFault as fault:
            return self._failed(broker, fault, was_accepted=visit is not None and visit.connection.accepted)
        finally:
            self._visit = None
            if visit is not None:
                visit.end()
                self._clean_next = visit.connection.too_large  # else that message would come at each connection

    def _make_visit(self, broker: Broker) -> Visit:
        return Visit(
            broker.plan(clean=self._clean_next),
            broker,
            topics=self._topics,
            supply=self._supply,
            routes=self._routes,
            twins=self._twins,
            standing=self._standing,
            wake=self._wake,
            pulse=self._pulse,
        )

    def _stay(self, broker: Broker, visit: Visit) -> None:
        while not self._stopping.is_set() and self._same_way(self._wanted):
            visit.step()
            if visit.connection.is_open and self._renewed(broker):
                visit.leave(for_good=False)
                return
        visit.leave()

    def _renewed(self, broker: Broker) -> bool:
        now_s = time.monotonic()
        if not broker.files_due(now_s):
            return False
        self._pulse.waiting(CONNECTING_S)
        self._halt.lower()  # only a change that is still to come interrupts it; one that came is seen in the next turn
        return broker.renewed(now_s)

    def _failed(self, broker: Broker, fault: faults.BrokerFault, *, was_accepted: bool) -> float:
        if isinstance(fault, faults.TakenOver):
            self._twins.taken_over()
        elif self._twins.found and was_accepted:
            fault = faults.twin(broker.name)
        fault, delay_s = broker.failed(fault)
        if not self._stopping.is_set():
            log.warning("mqtt.no_connection", code=fault.code, error=fault.message, retry_s=round(delay_s, 1))
        before = self._standing.now
        self._standing.tell(
            state="waiting",
            protocol=None,
            last_error=Failure.of(fault),
            retry_s=delay_s,
            failures=before.failures + 1,
            taken_over=before.taken_over + isinstance(fault, faults.TakenOver),
            duplicate_device_id=self._twins.found,
            credentials_problem=broker.problem,
        )
        return delay_s
