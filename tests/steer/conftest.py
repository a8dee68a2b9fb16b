"""A steward with a real record and a real file; the parts behind it are played."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.config.boot import choose
from agent.config.confirm import CameraVitals, Vitals
from agent.config.layers import Loaded
from agent.config.record import ConfigRecord
from agent.deploy.machine import State
from agent.deploy.records import Accepted, DeploymentStatus
from agent.errors import LookoutError
from agent.link.forms import ConfigConfirm, ConfigGet, ConfigPatch, ConfigRevert
from agent.link.messages import Reported
from agent.link.verbs import Deferred
from agent.link.wire import Incoming
from agent.steer.steward import Steward
from agent.types import Outgoing, PipelineName

PATIENCE_S = 10.0

FILE: dict[str, Any] = {
    "schema": 1,
    "device": {"id": "tower"},
    "cameras": {"yard": {"source": {"kind": "pattern", "fps": 10}}},
    "pipelines": {"watch": {"cameras": ["yard"]}},
    "mqtt": {"host": "old.example", "username": "tower", "password": "s3cret-word"},
    "remote": {"confirm_s": 60, "brokers": ["new.example"]},
}


class PlayedParts:
    """The applier, the deployer and the device's vitals."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.connected, self.session, self.trouble = True, 1, ""
        self.health, self.rate, self.reason = "streaming", 10.0, ""
        self.limit: float | None = None
        self.applied: list[tuple[Loaded, Loaded]] = []
        self.refuse: Callable[[Loaded], str | None] = lambda _: None
        self.on_apply: Callable[[Loaded], None] = lambda _: None
        self.restarts: list[str] = []
        self.deployed: list[tuple[str, str]] = []
        self.statuses: dict[str, DeploymentStatus] = {}

    def obeys(self) -> None:
        """Let the camera do what ``RISKY`` asks for."""
        self.rate = self.limit = 5.0

    def apply(self, before: Loaded, after: Loaded) -> tuple[str, ...]:
        why = self.refuse(after)
        if why is not None:
            raise LookoutError(why)
        self.applied.append((before, after))
        self.on_apply(after)
        return ()

    def vitals(self) -> Vitals:
        frames = int(self.now_ns / 1e9 * self.rate)
        camera = CameraVitals(self.health, self.reason, frames, frames, self.rate, self.limit)
        return Vitals(self.now_ns, self.connected, self.session, {"yard": camera}, self.trouble)

    def deploy(self, pipeline: PipelineName, reference: str) -> Accepted:
        self.deployed.append((pipeline, reference))
        return Accepted(pipeline, reference)

    def status(self) -> tuple[DeploymentStatus, ...]:
        return tuple(self.statuses.values())

    def stands(self, reference: str, state: State, reason: str | None = None) -> DeploymentStatus:
        self.statuses["watch"] = DeploymentStatus(PipelineName("watch"), state, reference, reason=reason)
        return self.statuses["watch"]


class House:
    """One device's configuration over several starts of the agent."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "agent.yaml"
        self.parts = PlayedParts()
        self.told: list[Reported] = []
        self.environ: dict[str, str] = {"HOME": str(folder)}
        self.drained: list[float] = []
        self.steward: Steward
        self._stack: list[Any] = []

    def write(self, **changes: Any) -> None:
        whole = {**FILE, **changes}
        beside = self.file.with_name("new")
        beside.write_text(json.dumps(whole))
        beside.replace(self.file)

    def start(self) -> Steward:
        record: list[ConfigRecord] = []

        def record_of(state: Path) -> ConfigRecord:
            record.append(ConfigRecord(state / "config.db"))
            return record[0]

        chosen = choose(self.file, self.environ, record_of)
        self.record = record[0]
        self.told = []
        self.steward = Steward(
            chosen,
            environ=self.environ,
            applier=self.parts,
            vitals=self.parts.vitals,
            deployments=self.parts,
            publish=self._publish,
            restart=self.parts.restarts.append,
            drained=self._drain,
            now_ns=lambda: self.parts.now_ns,
        )
        self.steward.start()
        return self.steward

    def stop(self) -> None:
        """End it in order."""
        self.steward.stop()
        self.record.close()

    def kill(self) -> None:
        """End it as a kill would: what is on the disk at this moment is all that stays."""
        files = {path: path.read_bytes() for path in self.record.database.path.parent.glob("config.db*")}
        self.stop()
        for path, content in files.items():
            path.write_bytes(content)

    def restart(self) -> Steward:
        """Kill it, and start it again."""
        self.kill()
        return self.start()

    def begin_again(self) -> Steward:
        """Stop it in order, and start it again."""
        self.stop()
        return self.start()

    def _publish(self, message: Outgoing) -> None:
        assert message.topic == "reported"
        assert message.retain
        payload = message.payload
        assert isinstance(payload, Reported)
        msgspec.json.encode(payload)
        self.told.append(payload)

    def _drain(self, timeout_s: float) -> bool:
        self.drained.append(timeout_s)
        return True

    # --- what an operator does ---------------------------------------------------------------------------------------

    def patch(self, patch: dict[str, Any], **rest: Any) -> Any:
        return settled(self.steward.patch(ConfigPatch(patch=patch, **rest)))

    def confirm(self, revision: int) -> Any:
        return settled(self.steward.confirm(ConfigConfirm(revision=revision)))

    def revert(self, revision: int | None = None) -> Any:
        return settled(self.steward.revert(ConfigRevert(revision=revision)))

    def get(self, path: str = "", *, history: bool = False) -> Any:
        return self.steward.get(ConfigGet(path=path, history=history))

    def want(self, version: int, *, epoch: int = 0, **rest: Any) -> None:
        """Publish a ``desired`` and wait until it was looked at."""
        self.send(json.dumps({"v": 1, "epoch": epoch, "version": version, **rest}).encode())

    def send(self, payload: bytes) -> None:
        acknowledged = threading.Event()
        self.steward.desired(Incoming("lookout/tower/desired", payload, True, acknowledged.set))
        assert acknowledged.is_set()
        self.idle()

    def look_at_file(self) -> None:
        self.steward.file_changed()
        self.idle()

    def idle(self) -> None:
        """Return once all that was posted so far has been done: orders come after it."""
        settled(self.steward.confirm(ConfigConfirm(revision=0)))

    def pass_s(self, seconds: float) -> None:
        """Let time pass, second by second, with the steward looking."""
        for _ in range(round(seconds)):
            self.parts.now_ns += 1_000_000_000
            self.idle()

    @property
    def reported(self) -> Reported:
        self.idle()
        return self.told[-1]


def settled(answer: Deferred) -> Any:
    """Return what an order came to."""
    found: list[Any] = []
    there = threading.Event()

    def tell(outcome: Any) -> None:
        found.append(outcome)
        there.set()

    answer.then(tell)
    assert there.wait(PATIENCE_S)
    return found[0]


def until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.write()
    made.start()
    yield made
    made.stop()
