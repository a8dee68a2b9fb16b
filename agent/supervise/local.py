"""The local socket: one JSON line asks, one JSON line answers, then the connection is closed, or handed over.

Server: one thread, ``lookout-local``, owned by whoever starts it. The socket is reachable for the agent's user and
group only (mode 0660). A request has at most :data:`MAX_REQUEST_BYTES` and :data:`PEER_TIMEOUT_S` for everything, so
a silent peer delays others by no more than that. A socket file that a killed agent left behind is replaced, that of a
living one is not. Operations are called on the server's thread and must not block. A connection on which more is to
come (a log that is followed) is handed over to its :class:`Stream`, and is no business of the server's any more.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import structlog

from agent.errors import LookoutError, ProgrammingError, SurroundingsError
from agent.supervise.listen import PEER_TIMEOUT_S, listen_at, refuse_living

log = structlog.get_logger(part="supervise")

MAX_REQUEST_BYTES = 4096
MAX_ANSWER_BYTES = 4 * 1024 * 1024
ACCEPT_PAUSE_S = 0.5

Operation = Callable[[], Any]
"""Returns what msgspec can write as JSON; a :class:`LookoutError` becomes an error answer."""

Asked = Callable[[Mapping[str, Any]], Any]
"""An operation that takes arguments, unchecked; it may also return a :class:`Stream`."""


@runtime_checkable
class Stream(Protocol):
    """An answer after which more is to come."""

    @property
    def result(self) -> Any:
        """What is answered first."""
        ...

    def go(self, peer: socket.socket) -> None:
        """Take the connection over, now that the answer was sent; must not block."""
        ...

    def abandon(self) -> None:
        """Give it up: the peer did not take the answer."""
        ...


class NoAgent(SurroundingsError):
    """No agent answers at the socket."""

    code = "no_agent"


class LocalServer:
    """Serves ``operations`` by name, ``asked`` those with arguments, on a Unix stream socket at ``path``."""

    def __init__(
        self, path: Path, operations: Mapping[str, Operation], asked: Mapping[str, Asked] | None = None
    ) -> None:
        self._path = path
        self._operations: dict[str, Asked] = {name: _without_arguments(one) for name, one in operations.items()}
        self._operations |= asked or {}
        self._wake, self._woken = socket.socketpair()
        self._listener: socket.socket | None = None
        self._inode = 0
        self._thread = threading.Thread(target=self._run, name="lookout-local", daemon=True)

    def start(self) -> None:
        """Listen. Raises :class:`AlreadyRunning` or :class:`StorageError`."""
        if self._listener is not None:
            raise ProgrammingError("the local server can be started once only")
        refuse_living(self._path)
        self._listener, self._inode = listen_at(self._path)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and take the socket away; fine where it never started, and twice."""
        self._wake.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._woken.close()
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(OSError):  # only our own: a newer agent may have put its socket there
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()

    def _run(self) -> None:
        assert self._listener is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._woken in ready:
                    return
                try:
                    peer, _ = self._listener.accept()
                except OSError as error:  # no descriptors left: ask again a little later, not at once
                    log.warning("local.accept_failed", error=str(error))
                    select.select([self._woken], [], [], ACCEPT_PAUSE_S)
                    continue
                with peer, contextlib.suppress(OSError):  # the peer is gone again, or too slow: its own loss
                    self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        deadline = time.monotonic() + PEER_TIMEOUT_S
        request = _receive_line(peer, MAX_REQUEST_BYTES, deadline)
        answer = self._answer(request)
        if isinstance(answer, bytes):
            _send_all(peer, answer + b"\n", deadline)
            return
        try:
            _send_all(peer, _success(answer.result) + b"\n", deadline)
            answer.go(peer.dup())
        except OSError:
            answer.abandon()
            raise

    def _answer(self, request: bytes | None) -> bytes | Stream:
        """Return the answer; whatever was asked and whatever goes wrong, there is one."""
        if request is None:
            return _error("bad_request", f"a request is one line of at most {MAX_REQUEST_BYTES} bytes")
        try:
            asked = msgspec.json.decode(request, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _error("bad_request", 'a request is a JSON object such as {"op": "status"}')
        name = asked.get("op")
        operation = self._operations.get(name) if isinstance(name, str) else None
        if operation is None:
            return _error("bad_request", f"there is no such operation; known: {', '.join(self._operations)}")
        try:
            result = operation(asked)
            return result if isinstance(result, Stream) else _success(result)
        except LookoutError as error:
            return _error(error.code, error.message)
        except Exception as error:  # the supervisor's last line: asking must never end the agent
            log.exception("local.operation_failed", op=name)
            return _error("internal", f"the agent failed to answer ({type(error).__name__}); see its log")


def ask(path: Path, operation: str, timeout_s: float = 5.0, **args: Any) -> Any:
    """Ask the agent behind the socket at ``path``, and return its result.

    Raises :class:`NoAgent`, whose message says what to do, or :class:`LookoutError` with the agent's own words.
    """
    with contextlib.closing(_asked(path, operation, timeout_s, args)) as lines:
        return _read(path, next(lines))


def follow(path: Path, operation: str, timeout_s: float = 5.0, **args: Any) -> Iterator[Any]:
    """Ask for more than one answer: yield the result, then each object that follows, until the agent ends.

    Raises as :func:`ask` does.
    """
    with contextlib.closing(_asked(path, operation, timeout_s, args)) as lines:
        yield _read(path, next(lines))
        for line in lines:
            yield msgspec.json.decode(line)


def _asked(path: Path, operation: str, timeout_s: float, args: Mapping[str, Any]) -> Generator[bytes, None, None]:
    """Yield the lines that the agent answers with: the first in time, the others whenever they come."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            _connect(peer, path, timeout_s)
            _send_all(peer, msgspec.json.encode({**args, "op": operation}) + b"\n", deadline)
            buffer = bytearray()
            yield _next_line(peer, buffer, deadline) or b""
            while line := _next_line(peer, buffer, None):
                yield line
    except (OSError, ValueError) as error:
        raise NoAgent(f"no agent answers at {path}: {_reason(error)}") from error


def _next_line(peer: socket.socket, buffer: bytearray, deadline: float | None) -> bytes | None:
    """Return the next line without its end, taken from ``buffer`` and from the peer; None at the end."""
    while b"\n" not in buffer:
        if len(buffer) > MAX_ANSWER_BYTES:
            return None
        peer.settimeout(None if deadline is None else _left(deadline))
        chunk = peer.recv(65536)
        if not chunk:
            return None
        buffer += chunk
    line, _, rest = buffer.partition(b"\n")
    buffer[:] = rest
    return bytes(line)


def _read(path: Path, line: bytes) -> Any:
    """Return the result in an answer."""
    try:
        answer = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoAgent(f"what answers at {path} is no agent; name the agent's socket with --socket") from error
    if answer.get("ok") is not True:
        told = answer.get("error")
        raise LookoutError(str(told.get("message")) if isinstance(told, dict) else "the agent refused to answer")
    return answer.get("result")


def _without_arguments(operation: Operation) -> Asked:
    return lambda _: operation()


def _success(result: Any) -> bytes:
    return msgspec.json.encode({"ok": True, "result": result}, enc_hook=str)


def _error(code: str, message: str) -> bytes:
    return msgspec.json.encode({"ok": False, "error": {"code": code, "message": message}})


def _reason(error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such socket; start one with 'lookout run', or name its socket with --socket"
        case ConnectionRefusedError():
            return "the agent that made the socket has ended; start it again"
        case PermissionError():
            return "this user may not connect; use the agent's user or join its group"
        case TimeoutError() | BlockingIOError():
            return "it is silent; it hangs or is overloaded"
    return getattr(error, "strerror", None) or str(error)


def _connect(peer: socket.socket, path: Path, timeout_s: float) -> None:
    """Connect, waiting while the listener's queue is full, as Linux does for a blocking socket with a send timeout."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6)))
    peer.connect(os.fspath(path))


def _receive_line(peer: socket.socket, limit: int, deadline: float) -> bytes | None:
    """Return one line without its end, or what came before the peer closed; None when it is longer than ``limit``."""
    data = b""
    while b"\n" not in data:
        if len(data) > limit:
            return None
        peer.settimeout(_left(deadline))
        chunk = peer.recv(65536)
        if not chunk:
            break
        data += chunk
    line = data.split(b"\n", 1)[0]
    return line if len(line) <= limit else None


def _send_all(peer: socket.socket, data: bytes, deadline: float) -> None:
    peer.settimeout(_left(deadline))
    peer.sendall(data)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
