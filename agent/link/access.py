"""What shows the broker who we are, and us who it is: user name, password, certificates, out of their files.

Files are read at every attempt to connect, because certificates and passwords are renewed on disk; a path
``credential:NAME`` is the file NAME in the folder of systemd's credentials (``LoadCredential=``). What cannot be used
is a :class:`~agent.link.faults.BrokerFault` that names the key and the file. TLS is 1.2 at least, with the broker's
certificate and name checked: there is no key to turn that off.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.config.schema import CREDENTIAL, Mqtt
from agent.known_secrets import remember
from agent.link import faults
from agent.link.renewal import Stamp

MAX_FILE_BYTES = 1024 * 1024
MAX_LOGIN_BYTES = 65_535
"""What MQTT carries of a user name or a password."""


@dataclass(frozen=True)
class Access:
    """What a connection shows. ``digest`` is the same as long as all of it is; ``stamp`` is of before it was read."""

    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    digest: str
    stamp: Stamp


def load(config: Mqtt, credentials: Path | None) -> Access:
    """Read it all; ``credentials`` is systemd's folder of them. Raises BrokerFault."""
    before = stamp(config, credentials)
    files = _files(config, credentials)
    content = {field: _read(field, path) for field, path in files.items()}
    password = _password(config, content)
    remember(() if password is None else (password,))
    return Access(
        username=_login("mqtt.username_file", content) or config.username,
        password=password,
        tls=_tls_context(config, files, content),
        digest=_digest(content),
        stamp=before,
    )


def stamp(config: Mqtt, credentials: Path | None) -> Stamp:
    """Return the present state of the files; reads none of them."""
    return tuple(_stamp(path) for path in _files(config, credentials).values())


def located(field: str, text: str, credentials: Path | None) -> Path:
    """Return the file that a key names. Raises BrokerFault where it is a credential and there are none."""
    if not text.startswith(CREDENTIAL):
        return Path(text)
    name = text.removeprefix(CREDENTIAL)
    if not name or "/" in name or name in (".", ".."):
        raise faults.misnamed(field, text)
    if credentials is None:
        raise faults.no_credentials(field, text, name)
    return credentials / name


def named_files(config: Mqtt) -> dict[str, str]:
    """Return the keys that name files, and what they say."""
    tls = config.tls
    named = {
        "mqtt.username_file": config.username_file,
        "mqtt.password_file": config.password_file,
        "mqtt.tls.ca_file": None if tls is None else tls.ca_file,
        "mqtt.tls.cert_file": None if tls is None else tls.cert_file,
        "mqtt.tls.key_file": None if tls is None else tls.key_file,
    }
    return {field: text for field, text in named.items() if text is not None}


def _files(config: Mqtt, credentials: Path | None) -> dict[str, Path]:
    return {field: located(field, text, credentials) for field, text in named_files(config).items()}


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _read(field: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise faults.unreadable(str(path), field, error.strerror or str(error)) from error
    if len(found) > MAX_FILE_BYTES:
        raise faults.unreadable(str(path), field, f"it is larger than {MAX_FILE_BYTES} bytes")
    wanted = _PEM.get(field)
    if wanted is not None and wanted not in found:
        raise faults.unreadable(str(path), field, f"it holds no {wanted.decode()!r}, so it is not the PEM file")
    if field == "mqtt.tls.key_file" and b"ENCRYPTED" in found:
        raise faults.unreadable(str(path), field, "the key is encrypted, and nobody is there to type its password")
    return found


_PEM = {
    "mqtt.tls.ca_file": b"BEGIN CERTIFICATE",
    "mqtt.tls.cert_file": b"BEGIN CERTIFICATE",
    "mqtt.tls.key_file": b"PRIVATE KEY",
}


def _password(config: Mqtt, content: Mapping[str, bytes]) -> str | None:
    if config.password is not None:
        return config.password.get_secret_value()
    return _login("mqtt.password_file", content)


def _login(field: str, content: Mapping[str, bytes]) -> str | None:
    """Return the one line that a file holds; its last newline is left out."""
    if field not in content:
        return None
    try:
        text = content[field].decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise faults.unreadable("", field, "it is not UTF-8") from None
    if not text or "\0" in text or len(content[field]) > MAX_LOGIN_BYTES:
        raise faults.unreadable("", field, "it is empty, holds a NUL or is longer than MQTT allows")
    return text


def _tls_context(config: Mqtt, files: Mapping[str, Path], content: Mapping[str, bytes]) -> ssl.SSLContext | None:
    if config.tls is None:
        return None
    ca_file = files.get("mqtt.tls.ca_file")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise faults.unreadable(str(ca_file), "mqtt.tls.ca_file", _words(error)) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if "mqtt.tls.cert_file" in content:
        cert_file, key_file = files["mqtt.tls.cert_file"], files["mqtt.tls.key_file"]
        try:
            context.load_cert_chain(cert_file, key_file)
        except OSError as error:
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise faults.mismatched(str(cert_file), str(key_file)) from error
            raise faults.unreadable(f"{cert_file} or {key_file}", "mqtt.tls.cert_file", _words(error)) from error
    return context


def _words(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else error.strerror or str(error)


def _digest(content: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for field, data in content.items():
        found.update(f"{field}:{len(data)}:".encode() + data)
    return found.hexdigest()
