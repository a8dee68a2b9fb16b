from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tools.demo import signals
from tools.demo.failure import DemoFailed


def test_a_body_that_hangs_is_ended_by_the_deadline() -> None:
    with pytest.raises(DemoFailed, match=r"longer than 0\.1 s"), signals.deadline(0.1):
        threading.Event().wait(10)


def test_a_body_that_ends_in_time_is_left_alone() -> None:
    with signals.deadline(0.1):
        pass
    time.sleep(0.15)


def test_sigterm_ends_the_body_like_ctrl_c() -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(KeyboardInterrupt), signals.deadline(10):
        threading.Event().wait(10)


def test_once_held_nothing_interrupts_the_unwinding() -> None:
    with signals.deadline(0.1):
        signals.hold()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), signum)
        time.sleep(0.15)


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with signals.deadline(10):
        signals.hold()
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before
