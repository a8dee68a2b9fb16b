"""One look at every part, for whoever asks how the device is. Any thread; takes at most a second a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.capture.handle import CaptureHandle
from agent.deploy.deployer import Deployer
from agent.deploy.journal import Journal
from agent.link.client import Session
from agent.link.messages import Trust
from agent.link.publisher import Publisher
from agent.loop.pipeline import Pipeline
from agent.overview import Reading
from agent.process.memory import pss_bytes
from agent.serve.handle import Workers
from agent.settings import MB
from agent.types import PipelineName


@dataclass(frozen=True)
class Readings:
    """The parts that are looked at. ``root`` is where the root of trust lies once the device is provisioned."""

    pipelines: Mapping[PipelineName, Pipeline]
    deployer: Deployer
    session: Session | None
    publisher: Publisher
    capture: CaptureHandle
    workers: Workers
    journal: Journal
    root: Path
    registry_url: str | None
    uptime_s: Callable[[], float]

    def take(self) -> Reading:
        """Look at all of them once."""
        outbox = self.publisher.statistics().outbox
        problem = self.journal.problem
        return Reading(
            pipelines={name: pipeline.statistics() for name, pipeline in self.pipelines.items()},
            deployments=self.deployer.status(),
            session=None if self.session is None else self.session.statistics(),
            queued=outbox.waiting + outbox.unacknowledged,
            uptime_s=self.uptime_s(),
            memory_mb=self.memory_mb(),
            trust=self._trust(),
            problems=(f"journal: {problem}",) if problem else (),
            providers=self.workers.providers(),
        )

    def memory_mb(self) -> dict[str, float]:
        """Return the PSS of the agent, of capture and of each worker, MB."""
        found = {"agent": pss_bytes("self") / MB, "capture": self.capture.memory_bytes() / MB}
        return found | {worker.name: worker.memory_bytes() / MB for worker in self.workers.living()}

    def _trust(self) -> Trust:
        if self.registry_url is None:
            return Trust("off", "registry.url is not set: nothing new can be deployed")
        if not self.root.exists():
            return Trust("not_provisioned", "run lookout provision --root root.json: nothing new can be deployed")
        return Trust("ok")
