"""Goes the way to the broker, step by step, as the agent does: name, TCP, TLS, protocol, login.

The login shows the device's own credentials under a client id of its own, without a will and without a session: the
running agent's connection is left alone. The whole way takes :data:`WAY_S` at most.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config.schema import Mqtt
from agent.doctor.case import Case
from agent.doctor.judge.broker import Certificate, Step, Way
from agent.doctor.mqtt import DISCONNECT, connect_packet, read_connack
from agent.link import faults
from agent.link.access import Access, load, located
from agent.link.dial import Resolver, dial, wait_for
from agent.link.probe import probe
from agent.link.signals import Flag
from agent.link.wire import Protocols
from agent.settings import broker as broker_of
from agent.supervise.status import BrokerStatus

if TYPE_CHECKING:
    from cryptography import x509

WAY_S = 16.0
CONNACK_S = 5.0


def look(case: Case) -> Way | None:
    """Go the way; None where no broker is configured."""
    mqtt = None if case.loaded is None else broker_of(case.loaded)
    if mqtt is None or mqtt.host is None:
        return None
    start = Way(
        broker=faults.broker_name(mqtt.host, mqtt.port),
        tls=mqtt.tls is not None,
        wanted_protocol=mqtt.protocol,
        client_id=f"lookout-doctor-{secrets.token_hex(4)}",
        agent=_agents(case, mqtt),
    )
    try:
        shown = load(mqtt, case.credentials)
    except faults.BrokerFault as fault:
        private = isinstance(fault.__cause__, PermissionError) or "given no credentials" in fault.message
        return replace(start, stopped="settings", problem=fault.message, private=private)
    return _Walk(mqtt, shown, case.credentials, replace(start, username=shown.username or "")).go()


def _agents(case: Case, mqtt: Mqtt) -> BrokerStatus | None:
    """Return how the running agent stands with this very broker."""
    found = case.status.broker if case.status else None
    return found if found is not None and found.address == faults.broker_name(mqtt.host or "", mqtt.port) else None


@dataclass
class _Walk:
    """One way, on one thread; ``found`` grows with each step."""

    mqtt: Mqtt
    shown: Access
    credentials: Path | None
    found: Way

    def go(self) -> Way:
        """Take step after step until one fails."""
        halt = Flag()
        alarm = threading.Timer(WAY_S, halt.raise_)
        alarm.daemon = True
        alarm.name = "lookout-doctor-alarm"
        alarm.start()
        steps: list[tuple[Step, Callable[[socket.socket], None]]] = [
            ("name", self._resolve),
            ("port", self._knock),
            ("certificate", self._shake_hands),
            ("login", self._log_in),
        ]
        try:
            for step, take in steps:
                problem = _problem_of(take, halt.reading)
                if problem:
                    return replace(self.found, stopped=step, problem=problem)
            return self.found
        finally:
            alarm.cancel()
            halt.close()

    def _resolve(self, halt: socket.socket) -> None:
        assert self.mqtt.host is not None
        try:
            addresses = Resolver().addresses(self.mqtt.host, self.mqtt.port, halt)
        except (OSError, UnicodeError) as error:
            raise faults.not_connected(self.found.broker, error) from error
        self.found = replace(self.found, addresses=tuple(dict.fromkeys(str(one[4][0]) for one in addresses)))

    def _knock(self, halt: socket.socket) -> None:
        self._dial(None, halt).close()

    def _shake_hands(self, halt: socket.socket) -> None:
        if self.shown.tls is None:
            return
        with contextlib.closing(self._dial(self.shown.tls, halt)) as peer:
            assert isinstance(peer, ssl.SSLSocket)
            certificates = (*_of_peer(peer), *_of_files(self.mqtt, self.credentials))
            self.found = replace(self.found, tls_version=peer.version() or "TLS", certificates=certificates)

    def _log_in(self, halt: socket.socket) -> None:
        protocol, _ = probe(lambda: self._dial(self.shown.tls, halt), self.found.broker, halt)
        self.found = replace(self.found, protocol=protocol)
        with contextlib.closing(self._dial(self.shown.tls, halt)) as peer:
            self._connect(peer, protocol, halt)

    def _connect(self, peer: socket.socket, protocol: Protocols, halt: socket.socket) -> None:
        broker = self.found.broker
        packet = connect_packet(protocol, self.found.client_id, self.shown.username, self.shown.password)
        try:
            peer.settimeout(CONNACK_S)
            peer.sendall(packet)
            code = _answer(peer, broker, halt)
            if code:
                raise faults.refused(broker, code, f"reason {code:#x}")
            peer.sendall(DISCONNECT)
        except TimeoutError as error:
            raise faults.silent(broker, CONNACK_S) from error
        except OSError as error:
            raise faults.not_connected(broker, error) from error

    def _dial(self, tls: ssl.SSLContext | None, halt: socket.socket) -> socket.socket:
        assert self.mqtt.host is not None
        return dial(self.mqtt.host, self.mqtt.port, tls, halt, Resolver())


def _problem_of(take: Callable[[socket.socket], None], halt: socket.socket) -> str:
    try:
        take(halt)
    except faults.Interrupted:
        return f"it was not done within {WAY_S:g} s; check the network"
    except faults.BrokerFault as fault:
        return fault.message
    return ""


def _answer(peer: socket.socket, broker: str, halt: socket.socket) -> int:
    """Return the reason code of the CONNACK. Raises TimeoutError, BrokerFault."""
    until, data = time.monotonic() + CONNACK_S, b""
    while True:
        if not (isinstance(peer, ssl.SSLSocket) and peer.pending() > 0):
            wait_for(peer, selectors.EVENT_READ, halt, until)
        chunk = peer.recv(256)
        if not chunk:
            raise faults.hung_up(broker)
        data += chunk
        try:
            code = read_connack(data)
        except ValueError:
            raise faults.foreign(broker, data) from None
        if code is not None:
            return code


# --- certificates -----------------------------------------------------------------------------------------------------


def _of_peer(peer: ssl.SSLSocket) -> Iterator[Certificate]:
    """Give the broker's certificate."""
    from cryptography import x509  # heavy, and only needed here

    data = peer.getpeercert(binary_form=True)
    if data:
        yield replace(_certificate(x509.load_der_x509_certificate(data)), whose="the broker's")


def _of_files(mqtt: Mqtt, credentials: Path | None) -> Iterator[Certificate]:
    """Give the certificates of this device's own files; of a bundle of authorities nobody can say which one counts."""
    tls = mqtt.tls
    if tls is None:
        return
    for whose, key, text in (
        ("its authority's", "mqtt.tls.ca_file", tls.ca_file),
        ("this device's", "mqtt.tls.cert_file", tls.cert_file),
    ):
        found = [] if text is None else _in_file(located(key, text, credentials))
        if len(found) == 1 or (found and key == "mqtt.tls.cert_file"):
            yield replace(found[0], whose=whose)


def _in_file(path: Path) -> list[Certificate]:
    from cryptography import x509  # heavy, and only needed here

    return [_certificate(one) for one in x509.load_pem_x509_certificates(path.read_bytes())]


def _certificate(one: x509.Certificate) -> Certificate:
    begins, ends = one.not_valid_before_utc, one.not_valid_after_utc
    named = one.subject.rfc4514_string() or "unnamed"
    return Certificate("", named, int(begins.timestamp() * 1000), int(ends.timestamp() * 1000))
