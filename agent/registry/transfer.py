"""Our fetcher: bytes of a registry over HTTP(S) or out of a folder, and nothing that a hostile server can stretch.

Only the fetch process imports this. Every byte is counted against a cap that the caller knows beforehand, all requests
together have one deadline, each body a minimum rate. No redirect is followed, no compression accepted (a compressed
body would escape the cap), no proxy, cookie or netrc of the environment used. The caller decides whether the bytes are
the right ones: nothing here is trusted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
import urllib3

from agent.clock import monotonic_ns
from agent.errors import RegistryUnreachable
from agent.redact import redact
from agent.registry.address import file_path
from agent.registry.pace import Deadline, Pace

PIECE_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
RATE_WINDOW_S = 10.0

_MISSING = {403, 404, 410}


class Missing(RegistryUnreachable):
    """The registry answers, and has no such file."""


class Interrupted(RegistryUnreachable):
    """The connection ended before the body did; asking again for the rest may help."""


class TooLong(Exception):
    """The body is longer than the caller allows: what it means is the caller's to say."""


@dataclass(frozen=True)
class Body:
    """A body that is being received. ``offset`` is where in the file it begins: 0 where a range was not granted."""

    offset: int
    pieces: Iterator[bytes]


class Transfer:
    """All requests of one fetch; its deadline starts now. Not thread-safe."""

    def __init__(self, *, total_timeout_s: float, min_rate_bytes_s: float, window_s: float = RATE_WINDOW_S) -> None:
        self._deadline = Deadline(total_timeout_s, monotonic_ns())
        self._min_rate = min_rate_bytes_s
        self._window_s = window_s
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "lookout-agent"})

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @contextlib.contextmanager
    def get(self, url: str, *, max_bytes: int, offset: int = 0) -> Iterator[Body]:
        """Receive the file at ``url`` from ``offset`` on, at most ``max_bytes`` of it.

        Raises :class:`Missing`, :class:`Interrupted`, another :class:`RegistryUnreachable` (no connection, too slow,
        past the deadline, a redirect, a refusal) or :class:`TooLong`, here and while the pieces are taken.
        """
        if url.startswith("file:"):
            with self._open_file(url, offset) as (began, pieces):
                yield Body(began, self._counted(pieces, url, max_bytes))
        else:
            with self._open_http(url, offset, max_bytes) as (began, pieces):
                yield Body(began, self._counted(pieces, url, max_bytes))

    # --- folders --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open_file(self, url: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        path = Path(file_path(url))
        try:
            file = path.open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Missing(f"{path} does not exist") from error
        except OSError as error:
            raise RegistryUnreachable(f"{path} cannot be read: {error.strerror}") from error
        with file:
            file.seek(offset)
            yield offset, _pieces_of_file(file, path)

    # --- HTTP ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open_http(self, url: str, offset: int, max_bytes: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        left_s = self._left_s(url)
        timeout = (min(CONNECT_TIMEOUT_S, left_s), min(2 * self._window_s, left_s))
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=timeout, allow_redirects=False)
        except requests.RequestException as error:
            raise RegistryUnreachable(_connection_failed(url, error)) from error
        with contextlib.closing(response):
            if response.status_code == 416 and offset:  # the file ends here: what is missing never comes
                yield offset, iter(())
                return
            began = _check_answer(response, url, offset)
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) > max_bytes:
                raise TooLong
            yield began, _pieces_of_response(response, url)

    # --- limits ----------------------------------------------------------------------------------------------------

    def _counted(self, pieces: Iterator[bytes], url: str, max_bytes: int) -> Iterator[bytes]:
        count = 0
        pace = Pace(self._min_rate, self._window_s, monotonic_ns())
        for piece in pieces:
            count += len(piece)
            if count > max_bytes:
                raise TooLong
            if not pace.took(len(piece), monotonic_ns()):
                raise RegistryUnreachable(
                    f"{redact(url)} comes slower than {self._min_rate:.0f} bytes/s "
                    "(registry.min_rate_bytes_s); the deployment can be tried again"
                )
            self._left_s(url)
            yield piece

    def _left_s(self, url: str) -> float:
        left_s = self._deadline.left_s(monotonic_ns())
        if left_s <= 0:
            raise RegistryUnreachable(
                f"{redact(url)} was not received within {self._deadline.total_s:g} s for the whole fetch "
                "(registry.total_timeout_s); the deployment can be tried again and goes on where it stopped"
            )
        return left_s


def _check_answer(response: requests.Response, url: str, offset: int) -> int:
    """Return where the body begins in the file. Raises :class:`RegistryUnreachable` where it is no such body."""
    shown, status = redact(url), response.status_code
    if status in _MISSING:
        raise Missing(f"{shown} does not exist there (HTTP {status})")
    if 300 <= status < 400:
        target = redact(response.headers.get("Location", "nowhere"))
        raise RegistryUnreachable(
            f"{shown} redirects to {target}; redirects are not followed: set registry.url to the final address"
        )
    if status not in (200, 206):
        raise RegistryUnreachable(f"{shown} answers HTTP {status} {response.reason}; look at the registry's server")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RegistryUnreachable(
            f"{shown} comes compressed although it was not asked to; switch compression off for the registry"
        )
    if status == 200:
        return 0
    if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        raise RegistryUnreachable(f"{shown} answers with another range than was asked for")
    return offset


def _pieces_of_file(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(PIECE_BYTES)
        except OSError as error:
            raise RegistryUnreachable(f"{path} cannot be read: {error.strerror}") from error
        if not piece:
            return
        yield piece


def _pieces_of_response(response: requests.Response, url: str) -> Iterator[bytes]:
    """Yield bytes as they come: ``read1`` never waits for a full piece, so a drip is seen as one."""
    raw: urllib3.HTTPResponse = response.raw
    while True:
        try:
            piece = raw.read1(PIECE_BYTES, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Interrupted(f"{redact(url)} fell silent; the deployment can be tried again") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Interrupted(f"{redact(url)}: the connection broke; the deployment can be tried again") from error
        if not piece:
            return
        yield piece


def _connection_failed(url: str, error: requests.RequestException) -> str:
    """Say why there was no answer, without requests' nesting."""
    shown = redact(url)
    if isinstance(error, requests.exceptions.SSLError):
        return f"{shown}: its certificate is not accepted ({_cause(error)}); check registry.url and the clock"
    if isinstance(error, requests.Timeout):
        return f"{shown} does not answer in time; check the network and registry.url"
    if isinstance(error, requests.ConnectionError):
        return f"{shown} cannot be reached ({_cause(error)}); check the network and registry.url"
    return f"{shown}: {type(error).__name__}; check registry.url"


def _cause(error: BaseException) -> str:
    """Return the text of the innermost cause, e.g. ``Connection refused``."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
