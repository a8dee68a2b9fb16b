"""Who may ask what of the page: by the name that was asked for, by where a request comes from, by what it shows. Pure.

The rules, in their order; the first that is broken decides:

1. *Name.* The request names an address, or a name of this device. A page of somebody else's, whose name was made to
   lead here (DNS rebinding), names its own.
2. *Method.* GET and HEAD look, POST changes; nothing else is known. CORS is never granted.
3. *Site.* What another site embeds or fetches is refused; to be led here by a link is fine.
4. *Changes.* A POST comes from the page itself, by its ``Origin``, and carries :data:`MARK`, which no form of another
   site can. Logging in needs no mark: it is a form of ours.
5. *Token.* Where one is configured, all but the way in (:data:`OPEN`) needs it, or a session that it opened.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.errors import LookoutError

MARK = "x-lookout"
"""The header of a changing request; its value is ``1``."""

COOKIE, COOKIE_TLS = "lookout", "__Host-lookout"
"""The session's cookie; over TLS its name has browsers see to it that no other host and no plain page set it."""

LOGIN = "/login"
OPEN = ("/healthz", LOGIN)
OPEN_FOLDER = "/static/"

MAX_HOST_CHARS = 264

_HOST = re.compile(r"(?:\[(?P<inner>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_.-]{1,254}))(?::(?P<port>[0-9]{1,5}))?")

Level = Literal["api", "page"]


class Refused(LookoutError):
    """A request that is not answered; ``status`` is HTTP's number for it."""

    code = "refused"
    status = 403


class WrongName(Refused):
    """The request names a host that this device is not."""

    code = "wrong_name"
    status = 421


class WrongMethod(Refused):
    """The page knows GET, HEAD and POST."""

    code = "wrong_method"
    status = 405


class Unauthorized(Refused):
    """The request shows no token, or a wrong one."""

    code = "unauthorized"
    status = 401


class TooManyTries(Refused):
    """Too many wrong tokens came from there."""

    code = "too_many_tries"
    status = 429


@dataclass(frozen=True)
class Asked:
    """What a request says of itself, as far as access is concerned; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str = ""


@dataclass(frozen=True)
class Rules:
    """The page's rules. ``names`` beside addresses and localhost; ``token`` None: whoever comes this far may look."""

    names: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)
    tls: bool = False

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return COOKIE_TLS if self.tls else COOKIE

    def check(self, asked: Asked) -> None:
        """Apply all rules but the token's. Raises :class:`Refused`."""
        if asked.path == "/healthz" and asked.method in ("GET", "HEAD"):
            return
        host = asked.headers.get("host", "")
        if not self.is_ours(host):
            raise WrongName(
                "this device is not called so; ask for its address, or list the name in web.names", field="web.names"
            )
        if asked.method not in ("GET", "HEAD", "POST"):
            raise WrongMethod("GET, HEAD and POST are known here")
        self._check_site(asked)
        if asked.method == "POST":
            self._check_change(asked, host)

    def is_ours(self, host: str) -> bool:
        """Tell whether a Host header names this device."""
        name = host_name(host)
        if name is None:
            return False
        return is_address(name) or name == "localhost" or name in self.names

    def needs_token(self, path: str) -> bool:
        """Tell whether a path is for those who show the token only."""
        return self.token is not None and path not in OPEN and not path.startswith(OPEN_FOLDER)

    def is_token(self, text: str) -> bool:
        """Compare in a time that tells nothing of how much was right."""
        return self.token is not None and hmac.compare_digest(
            text.encode("utf-8", "surrogateescape"), self.token.encode()
        )

    def _check_site(self, asked: Asked) -> None:
        site = asked.headers.get("sec-fetch-site")
        if site in (None, "same-origin", "none"):
            return
        led_here = asked.headers.get("sec-fetch-mode") == "navigate" and asked.headers.get("sec-fetch-dest") not in (
            "embed", "frame", "iframe", "object",
        )  # fmt: skip
        if asked.method == "POST" or not led_here:
            raise Refused("another site's page may not embed, fetch or change anything here")

    def _check_change(self, asked: Asked, host: str) -> None:
        origin = asked.headers.get("origin")
        if origin is not None and not self._is_own_origin(origin, host):
            raise Refused("a change comes from this page itself, not from another one")
        if asked.path != LOGIN and asked.headers.get(MARK) != "1":
            raise Refused("a change carries the header X-Lookout: 1")

    def _is_own_origin(self, origin: str, host: str) -> bool:
        scheme, colon, rest = origin.partition("://")
        if not colon or scheme not in ("http", "https") or (self.tls and scheme != "https"):
            return False  # without TLS of its own a proxy may have added it
        default = ":443" if scheme == "https" else ":80"
        return rest.lower().removesuffix(default) == host.lower().removesuffix(default) and rest != ""


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, lower case, without port and last dot; None: it holds none."""
    found = _HOST.fullmatch(host[: MAX_HOST_CHARS + 1])
    if found is None or int(found["port"] or 0) > 65535:
        return None
    if found["inner"] is not None:
        return found["inner"].lower() if _is_version_6(found["inner"]) else None
    return found["name"].removesuffix(".").lower() or None


def is_address(name: str) -> bool:
    """Tell whether this is an IP address, which no name server can make lead elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def own_names(hostname: str, configured: Iterable[str]) -> frozenset[str]:
    """Return the names of this device: its host's, plain and as mDNS tells it, and those that are configured."""
    plain = hostname.lower().removesuffix(".")
    short = plain.partition(".")[0]
    known = {plain, short, f"{short}.local", *(name.lower().removesuffix(".") for name in configured)}
    return frozenset(name for name in known if name and name != ".local")


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token in an Authorization header; None: there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def cookie(headers: Mapping[str, str], name: str) -> str | None:
    """Return the value of a cookie; None: it was not sent."""
    for part in headers.get("cookie", "").split(";"):
        key, equals, value = part.strip().partition("=")
        if equals and key == name:
            return value
    return None


def _is_version_6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
