"""A page that is really served, of an agent whose parts are simple: its cameras give bytes when they are asked to."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import structlog

from agent.config.layers import Loaded, load
from agent.config.schema import Logs
from agent.deploy.machine import State
from agent.deploy.records import DeploymentStatus
from agent.errors import LookoutError
from agent.logs.setup import Logging, configure
from agent.loop.pictures import Picture, Wish
from agent.supervise.status import BrokerStatus, Status
from agent.types import CameraName, FrameRef, PipelineName
from agent.web.parts import Agent, Settings
from agent.web.server import Page
from tests.conftest import free_port

TOKEN = "0123456789abcdef"
CONFIG = b"""
schema: 1
cameras: {yard: {source: {kind: pattern}}, gate: {source: {kind: pattern}}}
pipelines: {watch: {cameras: [yard, gate]}}
"""
YARD = CameraName("yard")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler).__name__ == "_Bridge"]:
        root.removeHandler(handler)
    logging.captureWarnings(False)


@dataclass
class Camera:
    """A pipeline that makes pictures at once, or when it is let; ``size`` is theirs in bytes."""

    size: int = 2000
    refuses: LookoutError | None = None
    silent: bool = False
    wishes: list[Wish] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    delay_s: float = 0.0

    def picture(self, wish: Wish) -> None:
        self.wishes.append(wish)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        if not self.silent:
            timer = threading.Timer(self.delay_s, self._answer, (wish,))
            timer.daemon = True
            timer.start()

    def _answer(self, wish: Wish) -> None:
        self.open -= 1
        number = len(self.wishes)
        frame = FrameRef(wish.camera, 1, 0, number, number, 0, 0, 64, 48)
        jpeg = b"\xff\xd8%010d" % number + b"x" * self.size
        wish.take(self.refuses or Picture(frame, 64, 48, 0, jpeg))


class Cameras:
    def __init__(self) -> None:
        self.yard, self.gate = Camera(), Camera()

    def pipelines(self) -> Mapping[CameraName, Camera]:
        return {YARD: self.yard, CameraName("gate"): self.gate}

    def zones(self) -> Mapping[CameraName, Any]:
        return {}


@dataclass
class Commands:
    """Answers each command with what it was."""

    given: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ask(self, name: str, args: dict[str, Any], take: Callable[[bytes], None]) -> None:
        self.given.append((name, args))
        threading.Thread(target=take, args=(msgspec.json.encode({"v": 1, "ok": True, "result": args}),)).start()


class Site:
    """A page and what it shows; ``start`` serves it."""

    def __init__(self, folder: Path) -> None:
        self.cameras, self.commands = Cameras(), Commands()
        self.out = io.BytesIO()
        self.logs: Logging = configure(Logs(fold_s=0), self.out)
        self.looks = 0
        self.status_delay_s = 0.0
        loaded: Loaded = load(folder / "agent.yaml", {}, text=CONFIG)
        self.agent = Agent(
            version="1.2.3",
            status=self._status,
            pipelines=lambda: (),
            memory_mb=lambda: {"agent": 40.0},
            telemetry=lambda: None,
            loaded=lambda: loaded,
            cameras=self.cameras,
            deployments=lambda: (DeploymentStatus(PipelineName("watch"), State.IDLE),),
            history=lambda _: (),
            logs=self.logs,
            commands=self.commands,
        )
        self.settings = Settings(page=True, metrics=False, host="127.0.0.1", port=free_port())
        self.page: Page | None = None

    def _status(self) -> Status:
        self.looks += 1
        time.sleep(self.status_delay_s)
        return Status("gate-7", "1.2.3", 1, 2.0, (), (), BrokerStatus(None, "off"))

    @property
    def port(self) -> int:
        return self.settings.port

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def start(self, *, served: bool = True, retry_s: float = 0.2, **changes: Any) -> Page:
        agent = {name: changes.pop(name) for name in ("metrics_text", "status") if name in changes}
        if "metrics_text" in agent:
            self.agent = replace(self.agent, metrics=lambda: agent["metrics_text"])
        if "status" in agent:
            self.agent = replace(self.agent, status=agent["status"])
        self.settings = replace(self.settings, **changes)
        self.page = Page(self.settings, self.agent, retry_s=retry_s)
        self.page.start()
        if served:
            assert self.page.wait_served(10), self.page.problem()
        return self.page

    def get(self, path: str, **rest: Any) -> requests.Response:
        return requests.get(self.url(path), timeout=10, allow_redirects=False, **rest)

    def post(self, path: str, **rest: Any) -> requests.Response:
        headers = {"X-Lookout": "1", **rest.pop("headers", {})}
        return requests.post(self.url(path), timeout=10, allow_redirects=False, headers=headers, **rest)

    def log(self) -> str:
        return self.out.getvalue().decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    if made.page is not None:
        made.page.stop()
        assert not made.page._thread.is_alive()
    assert "Traceback" not in made.log(), made.log()


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Return what ``condition`` says once it says something."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
    return found
