"""A mosquitto of a benchmark's own, on a free port of loopback, anonymous, that keeps nothing on the disk."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tools.bench.case import CannotRun

START_S = 10.0


class NoBroker(CannotRun):
    """mosquitto is not installed, or does not start."""


@contextlib.contextmanager
def mosquitto() -> Iterator[int]:
    """Run one for the length of the block; gives its port. Raises :class:`NoBroker`."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        raise NoBroker("mosquitto is absent: apt-get install mosquitto")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = Path(folder) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        config.chmod(0o644)
        Path(folder).chmod(0o755)
        broker = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            _await_port(port)
            yield port
        finally:
            broker.terminate()
            broker.wait()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NoBroker(f"mosquitto did not begin to listen within {START_S:g} s")
