"""A child for tests: greets, logs, and does what the environment variable PROBE says."""

import ctypes
import os
import signal
import sys
import threading
import time

import structlog

from agent.process import lifeline
from agent.process.channel import ChannelClosed
from agent.process.messages import Hello, Stop


def log() -> None:
    structlog.get_logger(part="lens").info("probe.started", url="rtsp://me:secret@camera/1", count=3)
    print("native rtsp://me:secret@camera/1")


def crash() -> None:
    print("the lens fell off", file=sys.stderr)
    ctypes.string_at(0)


def flood() -> None:
    for number in range(2000):
        structlog.get_logger().info("flood", number=number)
    print("x" * 100_000)


def threads() -> None:
    for _ in range(3):
        threading.Thread(target=signal.pause, daemon=True).start()


def talk() -> None:
    def for_ever() -> None:
        while True:
            for level in ("debug", "info", "error"):
                getattr(structlog.get_logger(), level)("talk")
            time.sleep(0.05)

    threading.Thread(target=for_ever, daemon=True).start()


def errand() -> None:
    """Answer once and end, with whatever came meanwhile unread."""
    time.sleep(0.5)
    os._exit(0)


ACTS = {"errand": errand, "talk": talk, "log": log, "crash": crash, "flood": flood, "threads": threads}


def main() -> None:
    channel = lifeline.enter("probe")
    what = os.environ["PROBE"]
    channel.send(Hello("probe", os.getpid(), versions=dict(os.environ) if what == "environment" else {}))
    ACTS.get(what, int)()
    try:
        while (received := channel.receive()) is None or not isinstance(received[0], Stop):
            pass
    except ChannelClosed:
        pass
    if what == "stubborn":
        signal.pause()


main()
