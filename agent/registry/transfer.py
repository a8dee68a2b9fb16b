"""Our fetcher: bytes of a registry over HTTP(S) or out of a folder, and nothing that a hostile server can stretch.

Only the fetch process imports this. Every byte is counted against a cap that the caller knows beforehand, all requests
together have one deadline, each body a minimum rate. No redirect is followed (it would carry the token elsewhere), no
compression accepted (a compressed body would escape the cap), no proxy, cookie or netrc of the environment used. What
usually passes (a refused connection, 503) is asked again a few times, with full jitter. The caller decides whether the
bytes are the right ones: nothing here is trusted.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
import structlog
import urllib3

from agent.clock import monotonic_ns
from agent.errors import ProgrammingError, RegistryUnreachable
from agent.redact import redact
from agent.registry.address import file_path
from agent.registry.credentials import NONE, Credentials
from agent.registry.pace import Deadline, Pace, Throttle, full_jitter_s

PIECE_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
RATE_WINDOW_S = 10.0

MAX_ATTEMPTS = 4
RETRY_FIRST_S = 0.5
RETRY_LONGEST_S = 10.0

_MISSING = {403, 404, 410}
_TRANSIENT = {429, 500, 502, 503, 504}

log = structlog.get_logger(part="fetch")


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

    def __init__(
        self,
        *,
        total_timeout_s: float,
        min_rate_bytes_s: float,
        window_s: float | None = None,
        rate_limit_bytes_s: float = 0,
        credentials: Credentials = NONE,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        """``rate_limit_bytes_s`` 0: as fast as it comes. A limit lowers a minimum rate that it could not reach."""
        self._deadline = Deadline(total_timeout_s, monotonic_ns())
        self._min_rate = min(min_rate_bytes_s, rate_limit_bytes_s / 2) if rate_limit_bytes_s else min_rate_bytes_s
        self._window_s = RATE_WINDOW_S if window_s is None else window_s
        self._throttle = Throttle(rate_limit_bytes_s, monotonic_ns())
        # A slow line is taken in small pieces: a long pause after a large one would look like an end to the server.
        self._piece_bytes = (
            min(PIECE_BYTES, max(512, int(rate_limit_bytes_s / 4))) if rate_limit_bytes_s else PIECE_BYTES
        )
        self._retry_first_s = retry_first_s
        self._session = _session(credentials)

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

    def rest(self, attempt: int) -> None:
        """Wait before ``attempt`` (from 1) is made again: full jitter, within the deadline."""
        delay_s = full_jitter_s(attempt, self._retry_first_s, RETRY_LONGEST_S, random.random())  # noqa: S311 - jitter
        time.sleep(min(delay_s, self._deadline.left_s(monotonic_ns())))

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
        response = self._patiently(url, {"Range": f"bytes={offset}-"} if offset else {})
        with contextlib.closing(response):
            if response.status_code == 416 and offset:  # the file ends here: what is missing never comes
                yield offset, iter(())
                return
            began = _check_answer(response, url, offset)
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) > max_bytes:
                raise TooLong
            yield began, _pieces_of_response(response, url, self._piece_bytes)

    def _patiently(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Ask; what usually passes (a refused or broken connection, 503) is asked again a few times, with jitter."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            last = attempt == MAX_ATTEMPTS
            try:
                response = self._ask(url, headers)
            except requests.RequestException as error:
                if last or not _may_pass(error):
                    raise RegistryUnreachable(_connection_failed(url, error)) from error
                why = type(error).__name__
            else:
                if last or response.status_code not in _TRANSIENT:
                    return response
                why = f"HTTP {response.status_code}"
                response.close()
            log.info("request.again", url=redact(url), why=why, attempt=attempt)
            self.rest(attempt)
        raise ProgrammingError("the last attempt neither returned nor raised")

    def _ask(self, url: str, headers: dict[str, str]) -> requests.Response:
        left_s = self._left_s(url)
        timeout = (min(CONNECT_TIMEOUT_S, left_s), min(2 * self._window_s, left_s))
        return self._session.get(url, headers=headers, stream=True, timeout=timeout, allow_redirects=False)

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
            left_s = self._left_s(url)
            yield piece
            pause_s = self._throttle.pause_s(len(piece), monotonic_ns())
            if pause_s > 0:  # what comes meanwhile waits in the socket: its sender is slowed down
                time.sleep(min(pause_s, left_s))

    def _left_s(self, url: str) -> float:
        left_s = self._deadline.left_s(monotonic_ns())
        if left_s <= 0:
            raise RegistryUnreachable(
                f"{redact(url)} was not received within {self._deadline.total_s:g} s for the whole fetch "
                "(registry.total_timeout_s); the deployment can be tried again and goes on where it stopped"
            )
        return left_s


def _session(credentials: Credentials) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "lookout-agent"})
    if credentials.token is not None:
        session.headers["Authorization"] = f"Bearer {credentials.token}"
    if credentials.proxy is not None:
        session.proxies = {"http": credentials.proxy, "https": credentials.proxy}
    if credentials.ca_file is not None:
        session.verify = credentials.ca_file
    session.cert = credentials.certificate
    return session


def _may_pass(error: requests.RequestException) -> bool:
    """Tell a fault of the moment from one that stays; waiting out a silent server again would only cost time."""
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError | requests.Timeout):
        return False
    return isinstance(error, requests.ConnectionError) and not isinstance(_innermost(error), socket.gaierror)


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
    if status in (401, 407):
        key = "token_file or registry.cert_file" if status == 401 else "proxy"
        raise RegistryUnreachable(f"{shown} does not let this device in (HTTP {status}); check registry.{key}")
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


def _pieces_of_response(response: requests.Response, url: str, size: int) -> Iterator[bytes]:
    """Yield bytes as they come: ``read1`` never waits for a full piece, so a drip is seen as one."""
    raw: urllib3.HTTPResponse = response.raw
    while True:
        try:
            piece = raw.read1(size, decode_content=False)
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
    if isinstance(error, requests.exceptions.ProxyError):
        return f"{shown} cannot be reached through the proxy ({_cause(error)}); check registry.proxy"
    if isinstance(error, requests.Timeout):
        return f"{shown} does not answer in time; check the network and registry.url"
    if isinstance(error, requests.ConnectionError):
        return f"{shown} cannot be reached ({_cause(error)}); check the network and registry.url"
    return f"{shown}: {type(error).__name__}; check registry.url"


def _cause(error: BaseException) -> str:
    """Return the text of the innermost cause, e.g. ``Connection refused``."""
    inner = _innermost(error)
    return redact(getattr(inner, "strerror", None) or str(inner) or type(inner).__name__)


def _innermost(error: BaseException) -> BaseException:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error
