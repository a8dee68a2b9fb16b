"""Why there is no connection to the broker, in words with a remedy, and how patiently to try again. Pure.

Every way in which a connection fails has one row or branch here; whoever connects only raises what these return.
"""

from __future__ import annotations

import socket
import ssl

from agent.errors import BrokerUnreachable
from agent.link.backoff import Patience


class BrokerFault(BrokerUnreachable):
    """There is no connection. ``unsure``: the broker's MQTT version may be the reason, so find it out anew."""

    patience: Patience = "soon"
    unsure = False


class BrokerSilent(BrokerFault):
    """The broker took the connection and did not answer, or hung up before it did."""

    unsure = True


class BrokerRefused(BrokerFault):
    """The broker or TLS says no, and will until somebody changes a setting."""

    code = "broker_refused"
    patience: Patience = "long"


class WrongProtocol(BrokerRefused):
    """The broker does not speak this version of MQTT, or what answers is no broker."""

    unsure = True


class Interrupted(BrokerFault):
    """Nothing failed: whoever waits for the network is asked to do something else."""


class TakenOver(BrokerFault):
    """Another client connected under this device's id."""

    code = "duplicate_device_id"
    patience: Patience = "longest"


_SETTINGS: dict[int, str] = {
    0x84: "it does not speak this version of MQTT; set mqtt.protocol to auto, 5 or 3.1.1",
    0x85: "it does not accept the client id; device.id may be too long for it",
    0x86: "user name or password is wrong; check mqtt.username and mqtt.password or password_file",
    0x87: "not authorised; check mqtt.username, mqtt.password or password_file, and the broker's access list",
    0x8A: "this client is banned; ask whoever runs the broker",
    0x8C: "it asks for another way to authenticate, which this agent does not know",
    0x90: "it does not accept the topic of the will; check mqtt.prefix and the broker's access list",
    0x9C: "it says to use another server; change mqtt.host",
    0x9D: "it says that it moved; change mqtt.host",
}
"""MQTT 5 reason codes that only a change of settings mends (those of 3.1.1 arrive translated)."""

_PASSING: dict[int, str] = {
    0x88: "it is not available now",
    0x89: "it is busy",
    0x8B: "it is shutting down",
    0x8D: "it heard nothing from this device for too long",
    0x97: "a quota is exceeded",
    0x9F: "too many connections in a short time",
}


def broker_name(host: str, port: int) -> str:
    """Return how messages and memory name a broker."""
    return f"{host}:{port}"


def refused(broker: str, code: int, words: str) -> BrokerFault:
    """Explain a CONNACK that says no, or a DISCONNECT from the broker. ``words``: what the standard calls ``code``."""
    if code == 0x8E:
        return TakenOver(
            f"broker {broker}: another client connected under this device's id; give each device its own device.id"
        )
    if code in _SETTINGS:
        kind = WrongProtocol if code == 0x84 else BrokerRefused
        return kind(f"broker {broker} refuses the connection: {_SETTINGS[code]}")
    return BrokerFault(f"broker {broker} ended the connection: {_PASSING.get(code, words.lower())}; it is tried again")


def not_connected(broker: str, error: Exception) -> BrokerFault:
    """Explain why no TCP or TLS connection came about."""
    if isinstance(error, socket.gaierror):
        return BrokerFault(f"broker {broker}: the name cannot be resolved ({error.strerror}); check mqtt.host and DNS")
    if isinstance(error, ssl.SSLError):
        return _no_tls(broker, error)
    if isinstance(error, ConnectionRefusedError):
        return BrokerFault(f"broker {broker}: connection refused; is the broker running, and mqtt.port right?")
    if isinstance(error, TimeoutError):
        return BrokerFault(f"broker {broker}: no answer to the connection attempt; check mqtt.host and the network")
    if isinstance(error, UnicodeError):
        return BrokerRefused(f"broker {broker}: {broker!r} is no host name; check mqtt.host")
    if isinstance(error, ConnectionError):  # reset or closed while TLS shook hands
        return BrokerFault(
            f"broker {broker}: it closed the connection; check that mqtt.port and mqtt.tls belong together"
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokerFault(f"broker {broker}: cannot connect: {reason}; check mqtt.host and the network")


def _no_tls(broker: str, error: ssl.SSLError) -> BrokerFault:
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = _CERTIFICATES.get(error.verify_code, "check mqtt.tls.ca_file, mqtt.host and this device's clock")
        words = (error.verify_message or "it cannot be verified").rstrip(".")
        return BrokerRefused(f"broker {broker}: its certificate is not trusted: {words}; {remedy}")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return BrokerFault(f"broker {broker}: it ended the connection while TLS began; check mqtt.port and its log")
    reason = error.reason or str(error)
    for mark, says in _TLS.items():
        if mark in reason:
            return BrokerRefused(f"broker {broker}: {says}")
    words = reason.replace("_", " ").lower()
    return BrokerRefused(
        f"broker {broker}: TLS failed: {words}; check that mqtt.port is the TLS port, mqtt.tls.cert_file and key_file"
    )


_ISSUER = "mqtt.tls.ca_file must hold the certificate of the authority that issued it"
_NAME = "mqtt.host must be a name or address that stands in the certificate"
_CERTIFICATES: dict[int, str] = {
    9: "check this device's clock, and the broker's certificate",
    10: "have it renewed at the broker, or check this device's clock",
    18: _ISSUER,
    19: _ISSUER,
    20: _ISSUER,
    21: _ISSUER,
    62: _NAME,
    64: _NAME,
}
"""OpenSSL's codes of why a certificate does not verify (X509_V_ERR_…), and who mends it."""

_OLD = "it offers no TLS 1.2 or newer, and nothing older is used; update the broker or its tls_version"
_TLS: dict[str, str] = {
    "WRONG_VERSION_NUMBER": "what answers does not speak TLS; check that mqtt.port is the TLS port, or remove mqtt.tls",
    "RECORD_LAYER_FAILURE": "what answers does not speak TLS; check that mqtt.port is the TLS port, or remove mqtt.tls",
    "UNSUPPORTED_PROTOCOL": _OLD,
    "ALERT_PROTOCOL_VERSION": _OLD,
    "WRONG_SSL_VERSION": _OLD,
    "CERTIFICATE_REQUIRED": "it wants a certificate of this device; set mqtt.tls.cert_file and mqtt.tls.key_file",
    "CERTIFICATE_EXPIRED": "it says that this device's certificate, mqtt.tls.cert_file, has expired; renew it",
    "CERTIFICATE_REVOKED": "it says that this device's certificate, mqtt.tls.cert_file, was revoked; get a new one",
    "ALERT_UNKNOWN_CA": "it does not know the authority that issued this device's certificate, mqtt.tls.cert_file",
    "BAD_CERTIFICATE": "it does not accept this device's certificate; check mqtt.tls.cert_file and the broker's log",
}
"""What OpenSSL calls it (a part of the name), and what it means here."""


def silent(broker: str, seconds: float) -> BrokerFault:
    """Say that the broker took the connection and gave no CONNACK."""
    return BrokerSilent(
        f"broker {broker} took the connection but did not answer within {seconds:g} s; is it an MQTT broker, and alive?"
    )


def hung_up(broker: str) -> BrokerFault:
    """Say that the connection was closed before a CONNACK."""
    return BrokerSilent(
        f"broker {broker} closed the connection without an answer; check that mqtt.port and mqtt.tls belong together"
    )


def foreign(broker: str, first: bytes) -> BrokerFault:
    """Say that something else than a broker answered, ``first`` being its first bytes."""
    if first[:2] in (b"\x15\x03", b"\x16\x03"):
        return WrongProtocol(
            f"broker {broker} wants TLS on this port; set mqtt.tls (an empty section is enough) or mqtt.port"
        )
    return WrongProtocol(
        f"broker {broker}: what answers there is no MQTT broker (it sent {first[:16]!r}); check mqtt.port"
    )


def lost(broker: str, reason: str) -> BrokerFault:
    """Say that an established connection ended."""
    return BrokerFault(f"broker {broker}: the connection was lost: {reason.lower()}; it is tried again")


def unacknowledged(broker: str, seconds: float) -> BrokerFault:
    """Say that the broker stopped acknowledging."""
    return BrokerFault(f"broker {broker} acknowledged nothing for {seconds:g} s; connecting anew")


def crashed(broker: str) -> BrokerFault:
    """Say that the connection was ended by a fault of ours."""
    return BrokerRefused(f"broker {broker}: the connection was ended by a fault of the agent; its log says more")


def twin(broker: str) -> BrokerFault:
    """Say that a connection ended which another client of this device's id had ended before."""
    return TakenOver(
        f"broker {broker}: another client connects under this device's id; give each device its own device.id"
    )


def suspect(fault: BrokerFault, times: int) -> BrokerFault:
    """Add what it may mean that connections keep ending soon; not every broker says that a session was taken over."""
    hint = f"it ended soon after it began {times} times in a row: does another client use this device's device.id?"
    return type(fault)(f"{fault.message}; {hint}")


def unreadable(path: str, field: str, reason: str) -> BrokerFault:
    """Say that a file which the connection needs cannot be used."""
    named = f"{field} ({path})" if path else field
    return BrokerRefused(
        f"{named} cannot be used: {reason}; check the file, and that the agent may read it", field=field
    )


def mismatched(cert_file: str, key_file: str) -> BrokerFault:
    """Say that certificate and key are not of one pair."""
    return BrokerRefused(
        f"mqtt.tls.key_file ({key_file}) does not belong to mqtt.tls.cert_file ({cert_file}); name a pair",
        field="mqtt.tls.key_file",
    )


def misnamed(field: str, text: str) -> BrokerFault:
    """Say that what stands after ``credential:`` is no file name."""
    return BrokerRefused(f"{field} is {text!r}: after credential: comes a credential's name, without /", field=field)


def no_credentials(field: str, text: str, name: str) -> BrokerFault:
    """Say that systemd gave this process no credentials."""
    return BrokerRefused(
        f"{field} is {text!r}, and this process was given no credentials; "
        f"add LoadCredential={name}:/path/to/file to the unit, or name the file itself",
        field=field,
    )
