"""The secrets that a configuration holds: those of secret keys, and the credentials inside its addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from agent.redact import is_secret_key

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_PROPERTY = re.compile(r"\b(?P<key>[a-z][a-z_-]*)=(?:\"(?P<quoted>[^\"]*)\"|(?P<bare>[^\s!;\"]+))", re.IGNORECASE)
_QUERY_KEYS = frozenset({"pwd", "passwd", "key", "sig", "signature", "access_token"})


def secrets_of(value: Any) -> Iterator[str]:
    """Yield each secret inside a section of the configuration, or a value of one; some may come twice."""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        inside = tuple(_in_text(secret))
        # Of an address that is secret as a whole (a proxy with a password) only the password is one by itself.
        yield from inside or ((secret,) if "://" not in secret else ())
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_of(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_of(item)
    elif isinstance(value, str):
        yield from _in_text(value)


def _in_text(text: str) -> Iterator[str]:
    """Yield passwords of URLs, tokens of their queries, and passwords among GStreamer's properties."""
    for found in _URL.finditer(text):
        yield from _in_url(found.group())
    for found in _PROPERTY.finditer(text):
        if _names_a_secret(found["key"]):
            yield found["quoted"] if found["quoted"] is not None else found["bare"]


def _in_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
    except ValueError:  # no URL after all
        return
    userinfo, at, _ = parts.netloc.rpartition("@")
    password = userinfo.partition(":")[2]
    if at and password:
        yield password
        yield unquote(password)
    yield from (value for key, value in query if _names_a_secret(key))


def _names_a_secret(key: str) -> bool:
    return key.lower() in _QUERY_KEYS or key.lower().endswith(("-pw", "_pw")) or is_secret_key(key)
