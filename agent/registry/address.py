"""Where a registry lies: ``http://``, ``https://`` or ``file://``.

Pure. Credentials in the address never reach a message: :attr:`Address.shown` hides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from agent.errors import InputError
from agent.redact import redact


@dataclass(frozen=True)
class Address:
    """A registry's address, without a slash at its end."""

    url: str

    @property
    def is_file(self) -> bool:
        """Whether it is a folder of this host."""
        return self.url.startswith("file:")

    @property
    def shown(self) -> str:
        """The address for messages and logs, its credentials hidden."""
        return redact(self.url)

    def join(self, path: str) -> str:
        """Return the URL of a file of the registry; ``path`` is relative and not yet quoted."""
        return f"{self.url}/{quote(path, safe='/+')}"


def parse_address(url: str) -> Address:
    """Read ``registry.url``. Raises :class:`InputError`."""
    if not url.strip():
        raise InputError("registry.url is not set: there is nowhere to fetch a release from", field="registry.url")
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise InputError(f"registry.url {redact(url)!r}: {error}", field="registry.url") from error
    if parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment:
        return Address(url.strip().rstrip("/"))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Address(urlunsplit(("file", "", parts.path.rstrip("/"), "", "")))
    raise InputError(
        f"registry.url {redact(url)!r} must be http://HOST/…, https://HOST/… or file:///FOLDER",
        field="registry.url",
    )


def file_path(url: str) -> str:
    """Return the path that a ``file://`` URL names."""
    return unquote(urlsplit(url).path)
