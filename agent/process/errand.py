"""The agent's side of a child that lives for one conversation: inspection, tuning. Any thread; blocks.

The child says ``Hello`` and then answers request by request. It is killed when its time is over or when the caller
cancels, and is gone when the ``with`` block ends, however it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from agent.clock import NS_PER_S, monotonic_ns
from agent.errors import ChildDied, ChildError, ChildHung, LookoutError
from agent.process.channel import ChannelClosed
from agent.process.child import ChildSpec, Spawner
from agent.process.messages import PROTOCOL, AnyMessage, Hello, Message

ENDING_S = 2.0
CANCEL_LATENCY_S = 0.2


class Errand:
    """One child and the time that it has, from its start to its last answer.

    ``too_long``: what is said of it when it takes longer than ``timeout_s``; ``died`` makes that of how it ended.
    ``cancelled`` makes the error that is raised once ``cancel`` is set. Raises :class:`ChildError` where the host
    refuses another process.
    """

    def __init__(
        self,
        spawner: Spawner,
        spec: ChildSpec,
        *,
        timeout_s: float,
        too_long: str,
        died: Callable[[str], str],
        cancel: threading.Event,
        cancelled: Callable[[], LookoutError],
    ) -> None:
        self._deadline_ns = monotonic_ns() + round(timeout_s * NS_PER_S)
        self._too_long = too_long
        self._died = died
        self._cancel = cancel
        self._cancelled = cancelled
        self._child = spawner.start(spec)
        self._greeted = False

    def __enter__(self) -> Errand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.close()

    def ask(self, request: Message) -> AnyMessage:
        """Return the answer to ``request``.

        Raises :class:`ChildHung`, :class:`ChildDied`, what ``cancelled`` makes, and :class:`ChildError` for a child of
        another version.
        """
        try:
            if not self._greeted:
                self._greet()
            self._child.channel.send(request)
            return self._receive()
        except ChannelClosed:
            self._child.wait(ENDING_S)
            raise ChildDied(self._died(self._child.describe_exit())) from None

    def _greet(self) -> None:
        hello = self._receive()
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise ChildError(f"{self._child.name} is of another version ({hello!r}); restart the agent")
        self._greeted = True

    def _receive(self) -> AnyMessage:
        while True:
            if self._cancel.is_set():
                self._child.kill()
                raise self._cancelled()
            left_s = (self._deadline_ns - monotonic_ns()) / NS_PER_S
            if left_s <= 0:
                self._child.kill()
                raise ChildHung(self._too_long)
            # An Event cannot be waited for together with a socket, so it is looked at a few times a second.
            received = self._child.channel.receive(min(left_s, CANCEL_LATENCY_S))
            if received is not None:
                return received[0]
