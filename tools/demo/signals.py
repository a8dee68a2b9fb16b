"""The demo's overall deadline and its manners when it is interrupted. Main thread only.

Inside :func:`deadline`, running out of time raises :class:`DemoFailed` wherever the main thread is, SIGTERM and SIGHUP
end the demo like Ctrl-C. :func:`hold` makes all of them wait: unwinding must not be interrupted half-way.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from tools.demo.failure import DemoFailed

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise :class:`DemoFailed` in the body when it takes longer than ``seconds``."""

    def late(_signum: int, _frame: FrameType | None) -> NoReturn:
        raise DemoFailed(
            f"the demo took longer than {seconds:g} s in all, its own deadline; is the machine very busy? "
            "(--deadline-s gives it more)"
        )

    before = {signum: signal.getsignal(signum) for signum in (*_INTERRUPTS, signal.SIGALRM)}
    signal.signal(signal.SIGALRM, late)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def hold() -> None:
    """Ignore interrupts and the deadline from now on, until the surrounding :func:`deadline` ends."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum in _INTERRUPTS:
        signal.signal(signum, signal.SIG_IGN)


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
