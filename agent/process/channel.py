"""One end of the conversation between the agent and a child: whole messages over a ``SOCK_SEQPACKET`` pair.

A message is one packet, msgpack of one of :mod:`agent.process.messages`, at most ``MAX_BYTES``; a descriptor may ride
along. Any thread may send (a packet is atomic, no lock is held over the system call); exactly one thread receives.
Nothing blocks for ever: a peer that does not read makes ``send`` fail after :data:`SEND_TIMEOUT_S`, and ``close`` from
any thread wakes a blocked ``receive``. What arrives is foreign input: whatever is not exactly one of the messages is a
:class:`~agent.errors.ChildError` that names the peer.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator

import msgspec

from agent.errors import ChildError, ProgrammingError
from agent.process.messages import MAX_BYTES, AnyMessage, Message

SEND_TIMEOUT_S = 1.0
_FD_BYTES = array.array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(8 * _FD_BYTES)  # room to receive, and close, descriptors nobody asked for

_encoder = msgspec.msgpack.Encoder()


class ChannelClosed(ChildError):
    """The other end is gone (or this end was closed): there is nobody to talk to."""

    code = "channel_closed"


class ChannelFull(ChildError):
    """The other end has not read for so long that nothing more fits."""

    code = "channel_full"


class Channel:
    """One end of the pair. ``peer`` names the other side in messages."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        sock.setblocking(False)
        self.peer = peer
        self._sock = sock
        self._buffer = bytearray(MAX_BYTES)
        self._decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False

    @staticmethod
    def pair(peer: str = "child") -> tuple[Channel, socket.socket]:
        """Return our end and the raw end for the child; the caller closes the raw one once the child has it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(ours, peer), theirs

    @classmethod
    def from_fd(cls, fd: int, peer: str = "agent") -> Channel:
        """Take over the inherited descriptor ``fd``. Raises :class:`ChildError` where it is not such a socket."""
        try:
            os.set_inheritable(fd, False)
            sock = socket.socket(fileno=fd)
        except OSError as error:
            raise ChildError(f"descriptor {fd} is no channel ({error.strerror}): only the agent starts this") from error
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_SEQPACKET:
            sock.detach()
            raise ChildError(f"descriptor {fd} is no SOCK_SEQPACKET socket: only the agent starts this")
        return cls(sock, peer)

    def send(self, message: Message, fd: int | None = None) -> None:
        """Send one message, with a descriptor where one is given (the caller keeps its own).

        Raises :class:`ChannelClosed`, :class:`ChannelFull`; :class:`ProgrammingError` for one above ``MAX_BYTES``.
        """
        data = _encoder.encode(message)
        if len(data) > MAX_BYTES:
            raise ProgrammingError(
                f"{type(message).__name__} for {self.peer} has {len(data)} bytes, more than {MAX_BYTES}: "
                "larger things travel in a memfd"
            )
        ancillary = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        with self._in_use() as sock:
            deadline = time.monotonic() + SEND_TIMEOUT_S
            while not self._try_send(sock, data, ancillary):
                if not _wait(sock, select.POLLOUT, deadline - time.monotonic()):
                    raise ChannelFull(
                        f"{self.peer} has not read its channel for {SEND_TIMEOUT_S:g} s: it hangs or is stopped"
                    )

    def receive(self, timeout_s: float | None = None) -> tuple[AnyMessage, int | None] | None:
        """Return the next message and the descriptor that came with it (now the caller's); None after ``timeout_s``.

        Raises :class:`ChannelClosed` at the end, :class:`ChildError` for a packet that is no message.
        """
        with self._in_use() as sock:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            while True:
                try:
                    size, ancillary, flags, _ = sock.recvmsg_into(
                        [self._buffer], _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                    )
                    break
                except BlockingIOError:
                    left = None if deadline is None else deadline - time.monotonic()
                    if not _wait(sock, select.POLLIN, left):
                        return None
                except ConnectionResetError:
                    continue  # the peer ended with something unread; what it had sent before still lies here, then EOF
                except OSError as error:
                    raise self._gone() from error
        return self._decode(size, flags, _descriptors(ancillary))

    def close(self) -> None:
        """Close this end, from any thread; a blocked ``receive`` raises :class:`ChannelClosed`. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            if self._users == 0:
                self._sock.close()

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[socket.socket]:
        """Keep the descriptor open while a thread works with it: the last one out of a closed channel closes it."""
        with self._lock:
            if self._closed:
                raise self._gone()
            self._users += 1
        try:
            yield self._sock
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._closed and self._users == 0:
                self._sock.close()

    def _try_send(self, sock: socket.socket, data: bytes, ancillary: list[tuple[int, int, array.array[int]]]) -> bool:
        try:
            sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._gone() from error
        return True

    def _decode(self, size: int, flags: int, fds: list[int]) -> tuple[AnyMessage, int | None]:
        try:
            if size == 0:
                raise self._gone()
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ChildError(f"{self.peer} sent a message of more than {MAX_BYTES} bytes")
            message = self._decoder.decode(memoryview(self._buffer)[:size])
            fd = fds.pop(0) if fds else None
        except msgspec.MsgspecError as error:
            raise ChildError(f"{self.peer} sent something that is no message: {error}") from error
        finally:
            for unexpected in fds:
                os.close(unexpected)
        return message, fd

    def _gone(self) -> ChannelClosed:
        return ChannelClosed(f"the channel to {self.peer} is closed")


def _wait(sock: socket.socket, event: int, timeout_s: float | None) -> bool:
    """Wait until ``sock`` is ready; False when ``timeout_s`` is over."""
    if timeout_s is not None and timeout_s <= 0:
        return False
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % _FD_BYTES])
    return found.tolist()
