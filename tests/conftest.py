"""Fixtures every test may use: the shared material beside the checkout, and real brokers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import known_secrets
from tests import depth
from tests.fakes.proxy import Proxy
from tests.patience import patient

depth.load_profile()

pytest_plugins = ["tests.fakes.registry_fixtures", "tests.once"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


WAITING = {"faults", "integration", "browser"}
"""Folders whose tests wait for real devices."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: not WAITING & set(item.path.parts))


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of one test is not masked in the logs of the next: a process forgets none until it ends."""
    monkeypatch.setattr(known_secrets, "_known", dict(known_secrets._known))
    monkeypatch.setattr(known_secrets, "_pattern", known_secrets._pattern)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models, photographs and videos; a test that needs it is skipped where it is absent."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"{SHARED} is absent: real models and videos are needed")
    return SHARED


@dataclass
class Broker:
    """A real mosquitto of one test."""

    host: str
    port: int
    process: subprocess.Popen[bytes]
    command: list[str]

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again on the same port."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port)


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 10.0) -> None:
    """Return once something listens on ``port``."""
    deadline = time.monotonic() + patient(timeout_s)
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port} after {timeout_s} s")


def start_mosquitto(folder: Path, extra: str = "allow_anonymous true") -> Broker:
    """Start a mosquitto whose files lie in ``folder``; the test is skipped where the program is absent."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        pytest.skip("mosquitto is absent: apt-get install mosquitto")
    port = free_port()
    config = folder / f"mosquitto-{port}.conf"
    config.write_text(f"listener {port} 127.0.0.1\nuser root\n{extra}\n")
    command = [program, "-c", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    return Broker("127.0.0.1", port, process, command)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """A factory of mosquitto brokers on loopback: ``mosquitto(extra="…")`` appends lines to its configuration."""
    brokers: list[Broker] = []

    def start(extra: str = "allow_anonymous true") -> Broker:
        broker = start_mosquitto(tmp_path, extra)
        brokers.append(broker)
        return broker

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def proxy() -> Iterator[Callable[[int], Proxy]]:
    """Start a bad network in front of a port of loopback."""
    made: list[Proxy] = []

    def start(port: int) -> Proxy:
        made.append(Proxy(port))
        return made[-1]

    yield start
    for each in made:
        each.close()
