"""A device's deployment part with fakes behind its ports, that can be killed and started again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.clock import utc_ms
from agent.deploy.deployer import Deployer
from agent.deploy.journal import Journal
from agent.deploy.machine import State
from agent.deploy.records import DeploymentStatus, DeploySettings, Outcome, PipelineSettings
from agent.registry.store import Store
from agent.types import PipelineName
from tests.fakes.deploying import FakeFactory, FakePipeline, FakeRegistry

SETTINGS = DeploySettings(probation_frames=10, probation_s=0.0, load_timeout_s=2.0, golden_timeout_s=0.5)


class Device:
    """Everything of one device; ``start`` and ``kill`` as often as a test likes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "store")
        self.registry = FakeRegistry(self.store)
        self.factory = FakeFactory()
        self.settings = SETTINGS
        self.boot_id = "boot-1"
        self.statuses: list[DeploymentStatus] = []
        self.outcomes: list[Outcome] = []
        self.changed = threading.Condition()
        self.deployers: list[Deployer] = []
        self.max_pages = 1000
        self.doubt: str | None = None
        """Why the clock is not believed."""
        self.ahead_ms = 0
        self.available: int | None = None
        self.safe_modes: list[str | None] = []

    def start(self, *configs: PipelineSettings, **settings: Any) -> Deployer:
        """Start the agent's deployment part anew."""
        configs = self.configs = configs or (PipelineSettings(PipelineName("main")),)
        self.settings = msgspec.structs.replace(self.settings, **settings)
        self.pipelines = {one.name: FakePipeline(one.name) for one in configs}
        self.journal = Journal(self.root / "journal.db", max_pages=self.max_pages)
        self.deployer = Deployer(
            self.journal,
            store=self.store,
            fetch=self.registry,
            workers=self.factory,
            settings=self.settings,
            report=self._report,
            boot_id=self.boot_id,
            host="test",
            clock_doubt=lambda: self.doubt,
            now_ms=lambda: utc_ms() + self.ahead_ms,
            available=lambda: self.available,
            on_safe_mode=self.safe_modes.append,
        )
        self.deployers.append(self.deployer)
        for pipeline in self.pipelines.values():
            pipeline.events = self.deployer
        self.deployer.start(configs, self.pipelines)
        return self.deployer

    def reconfigure(self, *configs: PipelineSettings, **settings: Any) -> None:
        """Give the running deployer another configuration; pipelines come and go as the real ones do."""
        configs = configs or self.configs
        self.settings = msgspec.structs.replace(self.settings, **settings)
        gone = {
            name: pipeline for name, pipeline in self.pipelines.items() if name not in {one.name for one in configs}
        }
        self.pipelines = {one.name: self.pipelines.get(one.name) or FakePipeline(one.name) for one in configs}
        for pipeline in self.pipelines.values():
            pipeline.events = self.deployer
        self.deployer.reconfigure(self.settings, configs, self.pipelines)
        for pipeline in gone.values():
            pipeline.dismiss()
        self.configs = configs

    @property
    def pipeline(self) -> FakePipeline:
        """The first pipeline."""
        return next(iter(self.pipelines.values()))

    def kill(self) -> None:
        """End the agent without a clean stop: what it had not journalled is gone."""
        self.journal.mark_clean_stop = lambda: None  # type: ignore[method-assign]
        self.deployer.stop()
        self.journal.close()

    def stop(self) -> None:
        """End the agent in order."""
        self.deployer.stop()
        self.journal.close()

    def _report(self, status: DeploymentStatus) -> None:
        with self.changed:
            self.statuses.append(status)
            self.changed.notify_all()

    def done(self, outcome: Outcome) -> None:
        """Take an outcome."""
        with self.changed:
            self.outcomes.append(outcome)
            self.changed.notify_all()

    def wait(self, met: Callable[[], object], what: str = "", timeout_s: float = 20.0) -> None:
        """Return once ``met``; looked at whenever something was told, and now and then: not all that counts is told."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not (ok := met()) and time.monotonic() < deadline:
                self.changed.wait(0.05)
        assert ok, f"{what or met} not met; {[(s.state.value, s.reason) for s in self.statuses][-6:]}"

    def wait_state(self, state: State, pipeline: str = "main") -> DeploymentStatus:
        """Return the last status once the pipeline is in ``state``."""
        self.wait(lambda: self.last(pipeline) is not None and self.last(pipeline).state is state, state.value)
        return self.last(pipeline)

    def wait_outcome(self, count: int = 1) -> Outcome:
        """Return the ``count``-th outcome once it was told."""
        self.wait(lambda: len(self.outcomes) >= count, f"{count} outcomes")
        return self.outcomes[count - 1]

    def last(self, pipeline: str = "main") -> DeploymentStatus:
        """The last status told of a pipeline."""
        return next((s for s in reversed(self.statuses) if s.pipeline == pipeline), None)  # type: ignore[return-value]

    def deploy(self, reference: str, **options: Any) -> Outcome:
        """Deploy and return how it ended; a pipeline on probation answers frames until then."""
        before = len(self.outcomes)
        self.deployer.deploy(PipelineName("main"), reference, on_done=self.done, **options)
        self.wait(lambda: len(self.outcomes) > before or self.last().state is State.PROBATION, reference)
        if len(self.outcomes) == before:
            self.pipeline.wait_serving(reference.split(":")[1])
            self.pipeline.answer(self.settings.probation_frames)
        self.wait(lambda: len(self.outcomes) > before, reference)
        return self.outcomes[before]

    def committed(self, version: str, **changes: Any) -> None:
        """Publish and deploy a version until it is committed."""
        self.registry.publish(version, **changes)
        assert self.deploy(f"faces:{version}").ok

    def to_probation(self, version: str, **changes: Any) -> None:
        """Publish and deploy a version until it serves on probation."""
        self.registry.publish(version, **changes)
        self.deployer.deploy(PipelineName("main"), f"faces:{version}", on_done=self.done)
        self.wait_state(State.PROBATION)
        self.pipeline.wait_serving(version)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    for deployer in device.deployers:
        deployer.stop()
    device.journal.close()
