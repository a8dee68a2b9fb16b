"""How to get to the broker: its address, our certificates, our password.

Files are read at every attempt to connect, because certificates and passwords are renewed on disk. What cannot be used
is a :class:`~agent.link.faults.BrokerFault` that names the file.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from agent.config.schema import Mqtt
from agent.link import faults
from agent.link.connection import CONNECT_S


def tls_context(config: Mqtt) -> ssl.SSLContext | None:
    """Return the context, None where TLS is not asked for. Raises BrokerFault."""
    tls = config.tls
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise faults.unreadable(tls.ca_file or "system certificates", "mqtt.tls.ca_file", error) from error
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        except OSError as error:
            raise faults.unreadable(tls.cert_file, "mqtt.tls.cert_file or key_file", error) from error
    return context


def password(config: Mqtt) -> str | None:
    """Return the password, from the file where one is named. Raises BrokerFault."""
    if config.password is not None:
        return config.password.get_secret_value()
    if config.password_file is None:
        return None
    try:
        return Path(config.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise faults.unreadable(config.password_file, "mqtt.password_file", error) from error


def dial(config: Mqtt, tls: ssl.SSLContext | None) -> socket.socket:
    """Connect a socket, for the probe; blocks for :data:`CONNECT_S` each for TCP and TLS. Raises BrokerFault."""
    host = config.host or ""
    try:
        peer = socket.create_connection((host, config.port), CONNECT_S)
        if tls is None:
            return peer
        try:
            return tls.wrap_socket(peer, server_hostname=host)
        except OSError:
            peer.close()
            raise
    except (OSError, UnicodeError) as error:
        raise faults.not_connected(faults.broker_name(host, config.port), error) from error
