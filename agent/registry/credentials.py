"""What a private registry asks of a device: a token, a client certificate, an authority of its own, a proxy.

Only the fetch process imports this. Secrets lie in files that only it reads, and never reach a message or a log. A
token goes over HTTPS alone (or to this host itself): over plain HTTP anybody on the way could read it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from agent.errors import InputError, StorageError
from agent.known_secrets import remember
from agent.process.messages import RegistryAccess
from agent.registry.address import Address

MAX_TOKEN_BYTES = 16_384


@dataclass(frozen=True)
class Credentials:
    """How to show who this device is. Its text form holds no secret."""

    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate: tuple[str, str] | None = None
    proxy: str | None = field(default=None, repr=False)


NONE = Credentials()


def credentials_of(access: RegistryAccess, address: Address) -> Credentials:
    """Read what ``access`` names. Raises :class:`InputError`, :class:`StorageError` naming the key and the file."""
    if address.is_file:
        return NONE
    for key, name in (("ca_file", access.ca_file), ("cert_file", access.cert_file), ("key_file", access.key_file)):
        if name is not None:
            _read(Path(name), f"registry.{key}", 1)
    certificate = None
    if access.cert_file is not None and access.key_file is not None:
        certificate = (access.cert_file, access.key_file)
    return Credentials(_token(access.token_file, address), access.ca_file, certificate, access.proxy)


def _token(name: str | None, address: Address) -> str | None:
    if name is None:
        return None
    if not _is_private_way(address.url):
        raise InputError(
            f"registry.token_file goes with an https:// registry only: over {address.shown} anybody could read the "
            "token; serve the registry over HTTPS",
            field="registry.token_file",
        )
    data = _read(Path(name), "registry.token_file", MAX_TOKEN_BYTES + 1)
    try:
        token = data.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or len(data) > MAX_TOKEN_BYTES or any(not "!" <= char <= "~" for char in token):
        raise InputError(
            f"{name} holds no token: one line of ASCII without blanks is expected (registry.token_file)",
            field="registry.token_file",
        )
    remember([token])
    return token


def _is_private_way(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def _read(path: Path, key: str, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}; check {key}", field=key) from error
