"""One look at every part, for whoever asks how the device is. Any thread; takes at most a second a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.capture.handle import CaptureHandle
from agent.capture.pool import CapturePool
from agent.deploy.deployer import Deployer
from agent.deploy.journal import Journal
from agent.errors import LookoutError
from agent.link.client import Session
from agent.link.messages import Trust
from agent.link.publisher import Publisher
from agent.link.standing import SessionStatistics
from agent.loop.pipeline import Pipeline
from agent.loop.records import PipelineStatistics
from agent.overview import Reading
from agent.process.memory import pss_bytes
from agent.serve.handle import Workers
from agent.steer.inforce import InForce
from agent.telemetry.look import WorkerReading
from agent.telemetry.rows import LinkRow, QueueRow
from agent.types import MB, PipelineName


@dataclass(frozen=True)
class Readings:
    """The parts that are looked at. ``root`` is where the root of trust lies once the device is provisioned."""

    pipelines: Mapping[PipelineName, Pipeline]
    deployer: Deployer
    session: Session
    publisher: Publisher
    capture: CaptureHandle | CapturePool
    workers: Workers
    journal: Journal
    root: Path
    registry_url: Callable[[], str | None]
    uptime_s: Callable[[], float]
    distrust: Callable[[], LookoutError | None] = lambda: None
    """Why the registry was not believed when it was last asked."""
    clock_doubt: Callable[[], str | None] = lambda: None
    unlogged: Callable[[], str | None] = lambda: None
    """Why log lines are lost."""
    governed: Callable[[], str | None] = lambda: None
    """Why the device works less than it could."""
    worn: Callable[[], str | None] = lambda: None
    """Why the medium wears out sooner than is wanted."""
    waiting_commands: Callable[[], int] = lambda: 0
    boot: int = 0
    """The number of this start."""
    config: Callable[[], InForce | None] = lambda: None
    config_problem: Callable[[], str | None] = lambda: None
    """Why what is to be remembered of the configuration may not be."""
    page: Callable[[], str | None] = lambda: None
    """Why the device's page is not served."""

    def take(self) -> Reading:
        """Look at all of them once."""
        outbox = self.publisher.statistics().outbox
        problem = self.journal.problem
        return Reading(
            pipelines={reading.pipeline: reading for reading in self.pipeline_statistics()},
            deployments=self.deployer.status(),
            session=self._session(),
            queued=outbox.waiting + outbox.unacknowledged,
            uptime_s=self.uptime_s(),
            memory_mb=self.memory_mb(),
            trust=self._trust(),
            problems=tuple(
                filter(
                    None,
                    (
                        f"journal: {problem}" if problem else None,
                        f"outbox: {outbox.problem}" if outbox.problem else None,
                        f"log: {unlogged}" if (unlogged := self.unlogged()) else None,
                        f"configuration: {record}" if (record := self.config_problem()) else None,
                        f"page: {unserved}" if (unserved := self.page()) else None,
                        self.deployer.safe_mode,
                        self.governed(),
                        self.worn(),
                    ),
                )
            ),
            boot=self.boot,
            config=self.config(),
            providers=self.workers.providers(),
            runs_on={worker.release.digest: worker.ready.providers for worker in self.workers.living()},
            runs_with={worker.release.digest: worker.options for worker in self.workers.living()},
        )

    def pipeline_statistics(self) -> tuple[PipelineStatistics, ...]:
        """Return a snapshot of each pipeline."""
        return tuple(pipeline.statistics() for pipeline in self.pipelines.values())

    def link(self) -> LinkRow:
        """Return how what goes to the broker fares."""
        publisher = self.publisher.statistics()
        outbox, session = publisher.outbox, self.session.statistics()
        return LinkRow(
            connected=int(session.state == "connected"),
            published=publisher.published,
            sent=publisher.sent,
            acknowledged=publisher.acknowledged,
            waiting=outbox.waiting,
            unacknowledged=outbox.unacknowledged,
            expired=outbox.expired,
            dropped=outbox.dropped + outbox.dropped_durable + outbox.aged + publisher.refused_by_inbox,
            dropped_durable=outbox.dropped_durable,
            dropped_aged=outbox.aged,
            unsaved=outbox.unsaved,
            flushes=outbox.flushes,
            sessions=session.session,
            failures=session.failures,
        )

    def queues(self) -> QueueRow:
        """Return what waits just now."""
        publisher = self.publisher.statistics()
        return QueueRow(
            publisher=publisher.inbox,
            outbox=publisher.outbox.waiting,
            unacknowledged=publisher.outbox.unacknowledged,
            commands=self.waiting_commands(),
        )

    def worker_readings(self) -> tuple[WorkerReading, ...]:
        """Return the workers that live."""
        return tuple(
            WorkerReading(worker.name, worker.release, worker.ready.providers) for worker in self.workers.living()
        )

    def memory_mb(self) -> dict[str, float]:
        """Return the PSS of the agent, of capture and of each worker, MB."""
        found = {"agent": pss_bytes("self") / MB, "capture": self.capture.memory_bytes() / MB}
        return found | {worker.name: worker.memory_bytes() / MB for worker in self.workers.living()}

    def _session(self) -> SessionStatistics | None:
        """Return where the session stands; None where no broker is configured."""
        found = self.session.statistics()
        return None if found.state == "off" else found

    def _trust(self) -> Trust:
        if self.registry_url() is None:
            return Trust("off", "registry.url is not set: nothing new can be deployed")
        if not self.root.exists():
            return Trust("not_provisioned", "run lookout provision --root root.json: nothing new can be deployed")
        distrust, doubt = self.distrust(), self.clock_doubt()
        if distrust is not None:
            return Trust(distrust.code, f"{distrust.message}; what is stored goes on, nothing new can be deployed")
        if doubt is not None:
            return Trust("waiting_for_clock", f"{doubt}; nothing new can be deployed until then")
        return Trust("ok")
