"""Brokers of both protocol versions, and a device's whole link without the rest of the device."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from agent.clock import utc_ms
from agent.config.schema import Mqtt
from agent.errors import DeploymentRefused
from agent.link.backoff import Backoff
from agent.link.client import Session
from agent.link.commands import Router
from agent.link.forms import DevicePing, ModelDeploy, ModelList, ModelRollback
from agent.link.memory import Answered, Fresh, Pending
from agent.link.outbox import MemoryOutbox
from agent.link.probe import ProtocolMemory
from agent.link.publisher import Publisher
from agent.link.standing import SessionStatistics
from agent.link.topics import Topics
from agent.link.verbs import Deferred, Verb, verb
from tests.conftest import Broker, free_port, wait_for_port
from tests.fakes.mqtt_operator import Operator

AMQTT = Path(__file__).parent.parent / "fakes" / "amqtt_broker.py"


@dataclass
class AmqttBroker:
    """A real amqtt in a process of its own."""

    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(AMQTT), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_port(self.port)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.fixture(autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """Tracebacks with every local variable take a second each."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture
def amqtt() -> Iterator[Callable[[], AmqttBroker]]:
    """A factory of amqtt brokers, which speak 3.1.1 only."""
    pytest.importorskip("amqtt", reason="amqtt is absent: pip install lookout-agent[demo]")
    brokers: list[AmqttBroker] = []

    def start() -> AmqttBroker:
        brokers.append(AmqttBroker())
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture(params=["5", "3.1.1"])
def broker(request: pytest.FixtureRequest) -> tuple[Broker | AmqttBroker, str]:
    """A real broker of each protocol version, and the version."""
    factory = request.getfixturevalue("mosquitto" if request.param == "5" else "amqtt")
    return factory(), request.param


class DictMemory:
    """A command memory that lives as long as the test: longer than one link."""

    def __init__(self) -> None:
        self.commands: dict[str, tuple[str, bytes | None]] = {}

    def remember(self, command_id: str, verb: str) -> Fresh | Pending | Answered:
        if command_id not in self.commands:
            self.commands[command_id] = (verb, None)
            return Fresh()
        known, answer = self.commands[command_id]
        return Pending(known) if answer is None else Answered(known, answer)

    def answer(self, command_id: str, payload: bytes) -> None:
        self.commands[command_id] = (self.commands[command_id][0], payload)

    def forget(self, command_id: str) -> None:
        self.commands.pop(command_id, None)

    def pending(self) -> tuple[tuple[str, str], ...]:
        return tuple((known, verb) for known, (verb, answer) in self.commands.items() if answer is None)


class Done(msgspec.Struct, frozen=True):
    """A handler's result."""

    what: str
    number: float = 0.0


class Link:
    """Publisher, session and router as app.py will wire them."""

    def __init__(self, port: int, memory: DictMemory | None = None, **options: Any) -> None:
        self.memory = memory or DictMemory()
        self.calls: list[Any] = []
        self.deferred: list[Deferred] = []
        groups = options.pop("groups", ())
        self.topics = Topics("lookout", options.pop("device", "cam1"))
        self.protocols: ProtocolMemory = options.pop("protocols", None) or ProtocolMemory()
        self.publisher = Publisher(self.topics, options.pop("outbox", None) or MemoryOutbox())
        self.router = Router(
            self.topics,
            options.pop("verbs", None) or self.verbs(),
            memory=self.memory,
            publish=self.publisher.publish,
            utc_ms=utc_ms,
            groups=groups,
        )
        self.errors: list[str] = []
        backoff, credentials = options.pop("backoff", Backoff(base_s=0.02, cap_s=0.2)), options.pop("credentials", None)
        instance = options.pop("instance", "")
        self.session = Session(
            Mqtt.model_validate({"host": "127.0.0.1", "port": port, "keepalive_s": 5, **options}),
            self.topics,
            self.publisher,
            routes=self.router.routes(),
            listeners=[self.changed],
            protocols=self.protocols,
            backoff=backoff,
            credentials=credentials,
            instance=instance,
        )

    def changed(self, statistics: SessionStatistics) -> None:
        if statistics.last_error is not None:
            self.errors.append(statistics.last_error.message)

    def verbs(self) -> list[Verb]:
        return [
            verb("model/deploy", ModelDeploy, self.deploy),
            verb("model/rollback", ModelRollback, self.rollback),
            verb("model/list", ModelList, self.later, repeatable=True),
            verb("device/ping", DevicePing, lambda args: self.called(args), repeatable=True),
        ]

    def called(self, args: Any) -> Done:
        self.calls.append(args)
        return Done("pong")

    def deploy(self, args: ModelDeploy) -> Done:
        self.calls.append(args)
        if args.reference == "bad:1.0.0":
            raise DeploymentRefused("bad:1.0.0 failed before; use force", field="reference")
        if args.reference == "bug:1.0.0":
            raise RuntimeError("a bug")
        return Done(args.reference)

    def rollback(self, args: ModelRollback) -> Done:
        return self.called(args)

    def later(self, args: ModelList) -> Deferred:
        self.calls.append(args)
        self.deferred.append(Deferred())
        return self.deferred[-1]

    def start(self) -> Link:
        self.publisher.start()
        self.router.start()
        self.session.start()
        return self

    def stop(self) -> None:
        self.session.stop()
        self.router.stop()
        self.publisher.stop()

    def wait_until(self, what: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := what()):
            assert time.monotonic() < deadline, self.session.statistics()
            time.sleep(0.01)
        return found

    def wait_connected(self, session: int = 1, timeout_s: float = 10.0) -> None:
        self.wait_until(
            lambda: (s := self.session.statistics()).state == "connected" and s.session >= session, timeout_s
        )


@pytest.fixture
def link() -> Iterator[Callable[..., Link]]:
    """A factory of links: ``link(port, memory=…, **keys of the configuration's mqtt section)``; started."""
    links: list[Link] = []

    def make(port: int, **options: Any) -> Link:
        links.append(Link(port, **options).start())
        return links[-1]

    yield make
    for each in links:
        each.stop()


@pytest.fixture
def operator() -> Iterator[Callable[..., Operator]]:
    """A factory of operators."""
    operators: list[Operator] = []

    def make(port: int, **options: Any) -> Operator:
        operators.append(Operator(port, **options))
        return operators[-1]

    yield make
    for each in operators:
        each.close()
