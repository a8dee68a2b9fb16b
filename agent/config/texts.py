"""Texts with a form of their own: URLs, hosts, devices, references. Pure.

Each is a pydantic annotation for :mod:`agent.config.schema`; what it raises carries a message without the value (which
may hold credentials) and a hint of what would be right.
"""

from __future__ import annotations

import itertools
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

from agent.config.checks import nearest
from agent.errors import ReferenceError  # noqa: A004 - the field's word, as errors.py says
from agent.registry.reference import FORMS, is_version, parse_reference

CAMERA_SCHEMES = ("rtsp", "rtsps", "http", "https")
PROXY_SCHEMES = ("http", "https")
REGISTRY_SCHEMES = ("https", "http", "file")
PROVIDERS = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
    "OpenVINOExecutionProvider",
    "XnnpackExecutionProvider",
    "ACLExecutionProvider",
    "ArmNNExecutionProvider",
    "QNNExecutionProvider",
    "ROCMExecutionProvider",
    "DmlExecutionProvider",
    "CoreMLExecutionProvider",
)
"""Execution providers that people have; others of the same form are taken as well."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def wrong(message: str, hint: str = "", *, kind: str = "text") -> PydanticCustomError:
    """Return the error of a key that has a problem of its own: ``kind`` ``cross`` marks one between keys."""
    return PydanticCustomError(f"lookout_{kind}", "{message}", {"message": message, "hint": hint})


def int_as_text(value: Any) -> Any:
    """Take a whole number for its digits: ``device: 0`` and ``protocol: 5`` are natural to write."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1000 else value


def _split(value: str, schemes: tuple[str, ...]) -> urllib.parse.SplitResult:
    """Split a URL of one of ``schemes``; a file's may lack a host, others must have one."""
    listed = ", ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urllib.parse.urlsplit(value)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise wrong("is no URL: its host or port cannot be read", f"write {listed}host:port/…") from None
    if parts.scheme not in schemes or "://" not in value:
        raise wrong("starts with none of the known schemes", f"use one of {listed}")
    if _CONTROL.search(value) or " " in value:
        raise wrong("holds blanks or control characters", "write a blank as %20")
    if parts.scheme != "file" and not host:
        raise wrong("names no host", f"write {parts.scheme}://host/…")
    return parts


def _camera_url(value: str) -> str:
    _split(value, CAMERA_SCHEMES)
    return value


def _registry_url(value: str) -> str:
    parts = _split(value, REGISTRY_SCHEMES)
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        raise wrong("is no absolute folder", "write file:///folder with three slashes")
    if parts.query or parts.fragment:
        raise wrong("has a query or fragment", "name the registry's folder only")
    return value


def _broker_address(value: str) -> str:
    """Take ``host``, ``host:port`` or ``[IPv6]:port``."""
    host, colon, port = value.rpartition(":") if value.count(":") == 1 or "]:" in value else (value, "", "")
    if colon and not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise wrong("has no port from 1 to 65535 after the colon", "write host or host:port")
    _broker_host(host.strip("[]"))
    return value


def _broker_host(value: str) -> str:
    if "://" in value:
        raise wrong("is a URL", "write the host alone; the port goes to mqtt.port, TLS to mqtt.tls")
    if value.count(":") == 1:
        raise wrong("has a port in it", "write the port to mqtt.port")
    if not re.fullmatch(r"[\w.:%-]+", value):
        raise wrong("is no name or address of a host", "write a name, an IPv4 or an IPv6 address")
    return value


def _listening_host(value: str) -> str:
    if "://" in value or "/" in value or value.startswith("["):
        raise wrong("is no address to serve at", "write 127.0.0.1, 0.0.0.0, :: or an address of this device")
    if value.count(":") == 1:
        raise wrong("has a port in it", "write the port to web.port")
    if not re.fullmatch(r"[\w.:%-]+", value):
        raise wrong("is no name or address of a host", "write 127.0.0.1, 0.0.0.0, :: or an address of this device")
    return value


def _page_token(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    if not 16 <= len(token) <= 1024:
        raise wrong("has fewer than 16 characters, or more than 1024", "take what openssl rand -hex 16 makes")
    if not re.fullmatch(r"[!-~]+", token):
        raise wrong("holds blanks or characters beyond ASCII", "take what openssl rand -hex 16 makes")
    return value


def _own_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", value):
        raise wrong("is no name of a host", "write it alone, such as gate.example.org: no https://, no port, no *")
    return value


def _device_path(value: str) -> str:
    if re.fullmatch(r"[0-9]{1,3}", value):
        return value
    if not value.startswith("/dev/") or ".." in value.split("/") or _CONTROL.search(value):
        raise wrong("is neither an index nor a path below /dev", "write 0, /dev/video0 or /dev/v4l/by-id/…")
    return value


def _crop(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = value
    if right <= left or bottom <= top:
        raise wrong("holds nothing", "write [left, top, right, bottom], in pixels or as parts of the picture (0 to 1)")
    return value


def _polygon(value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if len(set(value)) < 3:
        raise wrong("has fewer than three corners", "write [[x, y], [x, y], [x, y], …]")
    return value


def _gstreamer_pipeline(value: str) -> str:
    if _CONTROL.search(value.replace("\n", " ")):
        raise wrong("holds control characters", "leave them out")
    if "!" not in value:
        raise wrong("is no pipeline: it joins no elements", "write source ! … ! videoconvert ! appsink")
    return value


def _model_reference(value: str) -> str:
    try:
        parse_reference(value)
    except ReferenceError as error:
        said = error.message.removesuffix(f": {FORMS}").removeprefix(f"{value!r}").lstrip(": ")
        raise wrong(said, FORMS) from None
    return value


def _version(value: str) -> str:
    if not is_version(value):
        raise wrong("is no version", "write one like 1.2.0")
    return value


def _proxy_url(value: SecretStr) -> SecretStr:
    parts = _split(value.get_secret_value(), PROXY_SCHEMES)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise wrong("names more than a proxy", "write http://host:port")
    return value


def _provider(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{1,64}ExecutionProvider", value):
        close = nearest(value if value.endswith("Provider") else f"{value}ExecutionProvider", list(PROVIDERS))
        hint = f"did you mean {close}?" if close else "such as CPUExecutionProvider"
        raise wrong("is no name of an execution provider", hint)
    return value


def _topic_prefix(value: str) -> str:
    if _CONTROL.search(value) or any(char in value for char in "+# "):
        raise wrong("holds blanks, +, # or control characters", "write words divided by /")
    if value.startswith(("/", "$")) or value.endswith("/") or "//" in value:
        raise wrong("starts with / or $, ends with /, or has an empty part", "write words divided by /")
    return value


def _plain_text(value: str) -> str:
    if _CONTROL.search(value):
        raise wrong("holds control characters", "leave them out")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if twice is not None:
        raise wrong(f"names {twice} twice", "name each once")
    return values


def _falling(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(value <= later for value, later in itertools.pairwise(values)):
        raise wrong("does not fall from each number to the next", "write the highest first")
    return values


def minutes_as_time(value: Any) -> Any:
    """Take what YAML makes of 22:00 without quotation marks, a number of minutes, for the time that it was."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return f"{value // 60:02d}:{value % 60:02d}"
    return value


def _annotation(check: Callable[[Any], Any]) -> AfterValidator:
    return AfterValidator(check)


camera_url = _annotation(_camera_url)
registry_url = _annotation(_registry_url)
broker_host = _annotation(_broker_host)
broker_address = _annotation(_broker_address)
device_path = _annotation(_device_path)
listening_host = _annotation(_listening_host)
own_name = _annotation(_own_name)
page_token = _annotation(_page_token)
crop = _annotation(_crop)
polygon = _annotation(_polygon)
gstreamer_pipeline = _annotation(_gstreamer_pipeline)
model_reference = _annotation(_model_reference)
provider = _annotation(_provider)
proxy_url = _annotation(_proxy_url)
version = _annotation(_version)
topic_prefix = _annotation(_topic_prefix)
plain_text = _annotation(_plain_text)
unique = _annotation(_unique)
falling = _annotation(_falling)
