"""The page's token, certificate and key, out of their files.

What cannot be used is a :class:`BadCredential` that names the key of the configuration, the file and the remedy: the
page is then not served, and the device says so. A certificate that was renewed on disk is taken up at the next
connection; where the new one is broken, the one before goes on and it is told.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from agent.config.schema import CREDENTIAL
from agent.errors import SurroundingsError
from agent.known_secrets import remember

MIN_TOKEN_CHARS = 16
MAX_TOKEN_BYTES = 4096

Stamp = tuple[tuple[int, int, int, int], ...]


class BadCredential(SurroundingsError):
    """A file of the page's cannot be used."""

    code = "bad_credential"


@dataclass(frozen=True)
class Files:
    """Where they lie, None where there is none; ``folder`` is that of systemd's credentials."""

    token: str | None = None
    certificate: str | None = None
    key: str | None = None
    folder: Path | None = field(default=None)

    def locate(self, name: str, text: str) -> Path:
        """Return the file that the key ``web.<name>`` names. Raises :class:`BadCredential`."""
        if not text.startswith(CREDENTIAL):
            return Path(text)
        credential = text.removeprefix(CREDENTIAL)
        if not credential or "/" in credential or credential in (".", ".."):
            raise _bad(name, f"{text!r} names no credential", "write credential:NAME")
        if self.folder is None:
            raise _bad(name, f"{text} is there under systemd only", f"add LoadCredential={credential}:… to the unit")
        return self.folder / credential


def token_in(files: Files) -> str | None:
    """Return the token that lies in a file, None where no file is named. Raises :class:`BadCredential`."""
    if files.token is None:
        return None
    path = files.locate("token_file", files.token)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOKEN_BYTES + 1)
        token = data.decode("ascii").strip()
    except OSError as error:
        raise _bad("token_file", f"{path}: cannot be read: {error.strerror}", "check its name and owner") from error
    except UnicodeDecodeError:
        token = ""
    if not MIN_TOKEN_CHARS <= len(token) <= MAX_TOKEN_BYTES or any(not "!" <= char <= "~" for char in token):
        raise _bad(
            "token_file",
            f"{path}: holds no token",
            f"write one line of {MIN_TOKEN_CHARS} characters or more, as openssl rand -hex 16 does",
        )
    remember([token])
    return token


class Certificate:
    """The certificate that is shown; one thread. ``problem`` says why a renewed one is not used, None: all is well."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.problem: str | None = None
        self._stamp = self._look()
        self._context = self._load()

    @classmethod
    def of(cls, files: Files) -> Certificate | None:
        """Return it, None where none is configured. Raises :class:`BadCredential`."""
        return None if files.certificate is None else cls(files)

    def context(self) -> ssl.SSLContext:
        """Return what the next connection is begun with."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._load()
                self.problem = None
            except BadCredential as error:
                self.problem = f"{error.message}; the one before is still used"
        return self._context

    def _paths(self) -> tuple[Path, Path]:
        files = self._files
        return (
            files.locate("tls.certificate", files.certificate or ""),
            files.locate("tls.key", files.key or ""),
        )

    def _look(self) -> Stamp:
        found = []
        for path in self._paths():
            try:
                seen = path.stat()
                found.append((seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size))
            except OSError:
                found.append((0, 0, 0, 0))
        return tuple(found)

    def _load(self) -> ssl.SSLContext:
        certificate, key = self._paths()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        for name, path in (("tls.certificate", certificate), ("tls.key", key)):
            try:
                path.open("rb").close()
            except OSError as error:
                raise _bad(name, f"{path}: cannot be read: {error.strerror}", "check its name and owner") from error
        try:
            context.load_cert_chain(certificate, key, password=_nobody)
        except (ssl.SSLError, _Encrypted) as error:
            raise _bad("tls.certificate", f"{certificate} or {key}: {_words(error)}", _REMEDY) from error
        return context


_REMEDY = "both are PEM, the key unencrypted and that of the certificate"


class _Encrypted(Exception):
    """Somebody would have to type a password."""


def _nobody() -> str:
    raise _Encrypted


def _words(error: Exception) -> str:
    if isinstance(error, _Encrypted):
        return "the key is encrypted, and nobody is there to type its password"
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if isinstance(reason, str) else "is no PEM file"


def _bad(name: str, what: str, remedy: str) -> BadCredential:
    return BadCredential(f"web.{name}: {what}; {remedy}", field=f"web.{name}")
