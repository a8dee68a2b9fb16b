"""The keyboard of a command that stays on the screen: keys as they are pressed, and changes of the window's size.

While it is entered, the terminal sends each key at once and shows none; what it was like before is put back on leaving,
also after SIGTERM. Without a terminal at stdin there are no keys, and only the time passes. Main thread only.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Literal

Pressed = Literal["quit", "resized", "time"]

QUIT = frozenset(b"qQ\x03\x04")
TERMINATED = 128 + signal.SIGTERM


class Keys:
    """Waits for a key. Made by :func:`keys`."""

    def __init__(self, selector: selectors.BaseSelector, wake: socket.socket, keyboard: int | None) -> None:
        self._selector = selector
        self._wake = wake
        self._keyboard = keyboard

    def wait(self, timeout_s: float) -> Pressed:
        """Wait until it is time, or the window's size changed, or somebody wants to leave; other keys are passed by."""
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            ready = {key.fileobj for key, _ in self._selector.select(left)}
            if self._keyboard in ready:
                pressed = os.read(self._keyboard, 64) if self._keyboard is not None else b""
                if not pressed or QUIT & set(pressed):
                    return "quit"
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    while self._wake.recv(64):
                        pass
                return "resized"
        return "time"


@contextlib.contextmanager
def keys() -> Iterator[Keys]:
    """Take the keyboard, and give it back."""
    with ExitStack() as stack:
        reading, writing = socket.socketpair()
        selector = stack.enter_context(selectors.DefaultSelector())
        for end in (reading, writing):
            end.setblocking(False)
            stack.callback(end.close)
        selector.register(reading, selectors.EVENT_READ)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        for number, handler in ((signal.SIGWINCH, _ignore), (signal.SIGTERM, _leave)):
            stack.callback(signal.signal, number, signal.signal(number, handler))
        yield Keys(selector, reading, _keyboard(selector, stack))


def _keyboard(selector: selectors.BaseSelector, stack: ExitStack) -> int | None:
    if not sys.stdin.isatty():
        return None
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    stack.callback(termios.tcsetattr, keyboard, termios.TCSANOW, before)
    tty.setcbreak(keyboard)
    selector.register(keyboard, selectors.EVENT_READ)
    return keyboard


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Let the wake-up alone tell of it."""


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)
