"""One broker as the session knows it: how it is reached, with what, how patiently, and what it thought of us.

Credentials come out of their files at every attempt. Those of the last connection that the broker accepted are kept in
memory: where renewed ones cannot be read, or the broker refuses them, the old ones are used again, and the reason is
told, because a device that nobody can reach cannot be given better ones. On a living connection the files are watched
(:mod:`agent.link.renewal`); before it is left for new certificates, these are tried on a connection of their own.

Used by the session's thread only.
"""

from __future__ import annotations

import random
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path

import structlog

from agent.config.schema import Mqtt
from agent.link import access, faults
from agent.link.backoff import Backoff
from agent.link.dial import Resolver, dial
from agent.link.peer import Plan
from agent.link.probe import ProtocolMemory, probe
from agent.link.provoked import Provoked
from agent.link.renewal import Renewal
from agent.link.topics import Topics
from agent.link.wire import Protocols

log = structlog.get_logger(part="link")

SESSION_EXPIRY_S = 24 * 3600
WILL_DELAY_S = 10
OFFLINE = b"offline"

SUSPICIOUS = 3
"""Connections in a row that ended soon after they were made, from which on another device of our name is suspected."""


class Broker:
    """See the module."""

    def __init__(
        self,
        config: Mqtt,
        topics: Topics,
        *,
        protocols: ProtocolMemory,
        backoff: Backoff | None,
        credentials: Path | None,
        halt: socket.socket,
        resolver: Resolver,
    ) -> None:
        """Take a configuration with a host; ``halt`` becomes readable when no wait is worth while any more."""
        self._config = config
        self._host = config.host or ""
        self._topics = topics
        self._protocols = protocols
        self._own_backoff = backoff is None
        self.backoff = backoff or Backoff(base_s=config.reconnect_s)
        self._credentials = credentials
        self._halt = halt
        self._resolver = resolver
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._used: access.Access | None = None
        self._good: access.Access | None = None
        self._refused: str | None = None
        self._renewal: Renewal | None = None
        self._sure = True
        self._opened_at: float | None = None
        self._short = 0
        self.name = faults.broker_name(self._host, config.port)
        self.provoked = Provoked()
        self.problem = ""
        """Why renewed credentials were not taken up; empty: there is nothing to tell."""

    @property
    def keepalive_s(self) -> int:
        """The longest silence towards it."""
        return self._config.keepalive_s

    def more_patient(self, config: Mqtt) -> bool:
        """Take ``config`` if all that it changes is the patience; tell whether that was so."""
        if config.model_copy(update={"reconnect_s": self._config.reconnect_s}) != self._config:
            return False
        if self._own_backoff:
            self.backoff = Backoff(base_s=config.reconnect_s)
        self._config = config
        return True

    # --- connecting --------------------------------------------------------------------------------------------------

    def plan(self, *, clean: bool) -> Plan:
        """Say how to connect now; asks the broker for its protocol where that is not known. Raises BrokerFault."""
        self._opened_at, self._renewal = None, None
        self._used = None
        self._used = used = self._choose()
        return Plan(
            host=self._host,
            port=self._config.port,
            way=lambda: self._dial(used.tls),
            protocol=self._protocol(used.tls),
            client_id=f"{self._topics.prefix}-{self._topics.device}".replace("/", "-"),
            username=used.username,
            password=used.password,
            keepalive_s=self._config.keepalive_s,
            will_topic=self._topics.status,
            will_payload=OFFLINE,
            will_delay_s=WILL_DELAY_S,
            session_expiry_s=SESSION_EXPIRY_S,
            clean=clean,
        )

    def opened(self, protocol: Protocols) -> None:
        """Take note that it accepted the connection."""
        now_s = time.monotonic()
        assert self._used is not None
        self._opened_at = now_s
        self._protocols.learn(self.name, protocol, sure=self._sure)
        if self._good is None or self._used.digest != self._good.digest:
            self.problem, self._refused = "", None
        self._good = self._used
        if access.named_files(self._config):
            self._renewal = Renewal(self._used.stamp, now_s)

    def failed(self, fault: faults.BrokerFault) -> tuple[faults.BrokerFault, float]:
        """Take note of a failure; return it with what else is known, and the seconds to wait."""
        if fault.unsure or not self._sure:
            self._protocols.forget(self.name)
        if self._opened_at is not None:
            lasted = self.backoff.lasted(time.monotonic() - self._opened_at)
            self._short = 0 if lasted else self._short + 1
            if self._short >= SUSPICIOUS and not isinstance(fault, faults.TakenOver):
                fault = faults.suspect(fault, self._short)
        patience = "soon" if self._falls_back(fault) else fault.patience
        return fault, self.backoff.delay_s(patience, self._random.random())

    def _falls_back(self, fault: faults.BrokerFault) -> bool:
        """Tell whether the credentials that were refused just now are not the last ones that it took."""
        if not isinstance(fault, faults.BrokerRefused) or self._used is None or self._good is None:
            return False
        if self._used.digest == self._good.digest:
            self._refused = None  # the old ones are no better: the new ones are tried again
            return False
        self._refused = self._used.digest
        self._tell(f"the renewed credentials were refused ({fault.message}); the last ones that worked are used")
        return True

    def _choose(self) -> access.Access:
        try:
            fresh = access.load(self._config, self._credentials)
        except faults.BrokerFault as fault:
            if self._good is None:
                raise
            self._tell(f"{fault.message}; the last ones that worked are used")
            return replace(self._good, stamp=access.stamp(self._config, self._credentials))
        if self._good is not None and fresh.digest == self._refused:
            return replace(self._good, stamp=fresh.stamp)
        return fresh

    def _dial(self, tls: ssl.SSLContext | None) -> socket.socket:
        return dial(self._host, self._config.port, tls, self._halt, self._resolver)

    def _protocol(self, tls: ssl.SSLContext | None) -> Protocols:
        self._sure = True
        if self._config.protocol != "auto":
            return self._config.protocol
        known = self._protocols.get(self.name)
        if known is not None:
            return known
        protocol, self._sure = probe(lambda: self._dial(tls), self.name, self._halt)
        log.info("mqtt.probed", broker=self.name, protocol=protocol, sure=self._sure)
        return protocol

    # --- renewed files -----------------------------------------------------------------------------------------------

    def files_due(self, now_s: float) -> bool:
        """Tell whether it is time to look at the files."""
        return self._renewal is not None and (self._renewal.due(now_s) or self._renewal.leave(now_s))

    def renewed(self, now_s: float) -> bool:
        """Look at the files; tell whether to leave the living connection and connect with them."""
        renewal = self._renewal
        if renewal is None or renewal.leave(now_s):
            return renewal is not None
        if not renewal.changed(access.stamp(self._config, self._credentials), now_s):
            return False
        try:
            fresh = access.load(self._config, self._credentials)
            if self._good is not None and fresh.digest == self._good.digest:
                self.problem = ""
                return False
            if fresh.tls is not None:
                probe(lambda: self._dial(fresh.tls), self.name, self._halt)
        except faults.Interrupted:
            return False
        except faults.BrokerFault as fault:
            self._tell(f"{fault.message}; the connection goes on with the old ones")
            renewal.unusable(now_s)
            return False
        self.problem, self._refused = "", None
        renewal.usable(now_s, self._random.random())
        log.info("mqtt.renewing", broker=self.name)
        return False

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            log.warning("mqtt.credentials", broker=self.name, reason=problem)
