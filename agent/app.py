"""The composition root: the one place that knows every part, builds them, and owns their start and stop.

Everything that was started is on one :class:`contextlib.ExitStack`, so that a failure half-way unwinds what was built,
in reverse. Parts never import one another; what they need of each other is handed in here. Nothing is decided here.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack
from typing import Any

import structlog

from agent import overview, settings
from agent.announce import Announcer
from agent.capture.handle import CaptureHandle
from agent.capture.pool import CapturePool
from agent.clock import NS_PER_S, monotonic_ns
from agent.config.layers import Loaded
from agent.config.places import Places, device_id, places, prepare
from agent.deploy.clockfloor import TrustedClock
from agent.deploy.commands import CommandMemory
from agent.deploy.deployer import Deployer
from agent.deploy.journal import Journal
from agent.deploy.ledger import TrustLedger
from agent.deploy.optimised import OptimisedCache
from agent.errors import StorageError
from agent.host import boot_id, describe, host_key
from agent.inspect.client import InspectClient
from agent.link.client import Session
from agent.link.commands import Router
from agent.link.outbox import MemoryOutbox
from agent.link.publisher import Publisher
from agent.link.topics import Topics
from agent.logs.children import forward
from agent.logs.setup import configure, log_unhandled
from agent.loop.album import Album
from agent.loop.governor import Governor
from agent.loop.pipeline import Pipeline
from agent.loop.seeing import Seeing
from agent.process.child import Spawner
from agent.rates import EVERY_S, SENSORS, Rates
from agent.readings import Readings
from agent.registry.client import FetchClient
from agent.registry.store import Store
from agent.serve.handle import Workers
from agent.snapshots import Snapshots
from agent.supervise.heartbeat import Heartbeat, Heartbeats
from agent.supervise.local import LocalServer
from agent.supervise.lock import StateLock
from agent.supervise.notify import Notifier
from agent.supervise.readiness import Readiness
from agent.supervise.signals import StopSignals
from agent.supervise.watchdog import Watchdog
from agent.telemetry.probes import Probes, host_probes
from agent.telemetry.reporter import Reporter
from agent.types import CameraName, Event, PipelineName
from agent.verbs import table
from agent.versions import onnx_runtime, versions

log = structlog.get_logger(part="agent")

PATIENCE_S = 15.0
"""A loop that neither got something done nor declared a wait for this long is late."""


def run(loaded: Loaded) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit code. Raises LookoutError where it cannot start."""
    configure(loaded.config.logs.level, environ=os.environ)
    log_unhandled()
    stop = StopSignals()
    folders = places(os.environ, loaded)
    prepare(folders)
    notifier = Notifier.from_environ(os.environ)
    with ExitStack() as stack:
        stack.enter_context(StateLock(folders.lock))
        agent = Agent(loaded, folders, notifier, stack)
        agent.start()
        number = stop.wait(agent.reload if notifier.heard else None)
        log.info("agent.stopping", signal=number.name)
        notifier.stopping()
    log.info("agent.stopped")
    return 0


def boot_of(journal: Journal) -> int:
    """Return the number of this start, which the journal counts only once the deployer has begun."""
    try:
        return journal.boots() + 1
    except StorageError:  # the journal's own problem is told apart
        return 0


class Agent:
    """Every part of one device. Built whole, then started; ``stack`` undoes it. Main thread only."""

    def __init__(self, loaded: Loaded, folders: Places, notifier: Notifier, stack: ExitStack) -> None:
        self._loaded = loaded
        self._config = loaded.config
        self._folders = folders
        self._notifier = notifier
        self._stack = stack
        self._started_ns = monotonic_ns()
        self._beats = Heartbeats(monotonic_ns)
        self._readiness = Readiness(
            notifier, summary=self._line, problems=self._problems, pulse=self._beat("readiness")
        )
        self._device = device_id(loaded, folders.state)
        self._topics = Topics(self._config.mqtt.prefix, self._device)

        self._journal = Journal(folders.state / "journal.db")
        stack.callback(self._journal.close)
        self._clock = TrustedClock(self._journal, trust=self._config.registry.trust_clock)
        self._spawner = Spawner(forward)
        stack.callback(self._spawner.close)
        self._workers = Workers(self._spawner)
        stack.callback(self._workers.close)
        self._publisher = Publisher(self._topics, MemoryOutbox(), pulse=self._beat("publisher"))
        self._capture = self._build_capture()
        self._announcer = Announcer(self._publisher.publish, self._config.report)
        self._album = Album(self._config.report.best_pictures)
        self._deployer = self._build_deployer()
        self._boot = boot_of(self._journal)
        self._event_numbers = itertools.count(1)
        self._pipelines = {PipelineName(name): self._build_pipeline(name) for name in self._config.pipelines}
        self._probes = Probes(host_probes(self._folders.state))
        self._snapshots = self._build_snapshots()
        self._rates = self._build_rates()
        self._router = self._build_router()
        self._session = self._build_session()
        self._readings = self._build_readings()
        self._identity = overview.Identity(
            device=self._device,
            device_class=self._config.device.klass,
            groups=self._config.device.groups,
            versions=versions(),
            pid=os.getpid(),
            host=describe(),
        )

    # --- building ----------------------------------------------------------------------------------------------------

    def _beat(self, name: str) -> Heartbeat:
        return self._beats.add(name, PATIENCE_S)

    def _build_capture(self) -> CaptureHandle | CapturePool:
        if self._config.capture.process == "per_camera":
            return CapturePool(self._spawner, pulse=self._beat)
        return CaptureHandle(self._spawner, pulse=self._beat("capture"))

    def _build_deployer(self) -> Deployer:
        store = Store(self._folders.state / "store")
        access = settings.registry_access(self._loaded, self._folders.state)
        self._fetch = FetchClient(self._spawner, access, store, TrustLedger(self._journal, self._clock))
        runtime = onnx_runtime()
        return Deployer(
            self._journal,
            store=store,
            fetch=self._fetch,
            workers=self._workers,
            settings=settings.deploy_settings(self._config, os.cpu_count() or 1),
            report=self._announcer.deployment,
            boot_id=boot_id(),
            host=f"{host_key()}; {runtime}",
            inspect=InspectClient(self._spawner),
            cache=OptimisedCache(self._folders.state / "cache", runtime=runtime, host=host_key()),
            beat=self._beat("deployer"),
            clock_doubt=self._clock.doubt,
            on_safe_mode=self._readiness.changed,
        )

    def _build_pipeline(self, name: str) -> Pipeline:
        section = self._config.pipelines[name]
        cameras = tuple(CameraName(camera) for camera in section.cameras)
        return Pipeline(
            PipelineName(name),
            cameras,
            in_flight=section.in_flight,
            capture=self._capture,
            events=self._deployer,
            sinks=(*self._announcer.sinks, self._readiness.seen),
            health_sinks=self._announcer.health_sinks,
            heartbeat=self._beat(f"pipeline-{name}"),
            seeing=Seeing(settings.seeing_settings(self._config, name), next_id=self._event_id, tell=self._happened),
            portraits=self._album,
            lossless=settings.lossless_cameras(self._config) & set(cameras),
            plans=settings.camera_plans(self._config, cameras),
        )

    def _build_rates(self) -> Rates:
        governed = settings.governor_settings(self._config)
        return Rates(
            {
                name: settings.camera_plans(self._config, map(CameraName, self._config.pipelines[name].cameras))
                for name in self._pipelines
            },
            None if governed is None else Governor(governed),
            read=lambda: self._probes.read(SENSORS),
            cores=os.cpu_count() or 1,
            limit=lambda name, limits: self._pipelines[name].limit(limits),
            changed=self._announcer.changed,
        )

    def _build_router(self) -> Router:
        rows = table(
            self._deployer,
            tuple(self._pipelines),
            device=self._device,
            uptime_s=self._uptime_s,
            snapshot=self._snapshots.take,
            why_not=lambda: overview.why_not_of(self._readings.pipeline_statistics()),
        )
        return Router(
            self._topics,
            rows,
            memory=CommandMemory(self._journal.database),
            publish=self._publisher.publish,
            utc_ms=self._clock.utc_ms,
            groups=self._config.device.groups,
            pulse=self._beat("commands"),
        )

    def _build_snapshots(self) -> Snapshots:
        watched = {
            CameraName(camera): self._pipelines[PipelineName(name)]
            for name, pipeline in self._config.pipelines.items()
            for camera in pipeline.cameras
        }
        return Snapshots(
            watched,
            self._publisher.publish,
            zones=settings.overlay_zones(self._config),
            album=self._album,
            at_end=self._config.report.snapshots,
        )

    def _build_session(self) -> Session | None:
        """Return the session with the broker, None where no broker is configured."""
        if self._config.mqtt.host is None:
            return None
        return Session(
            self._config.mqtt,
            self._topics,
            self._publisher,
            routes=self._router.routes(),
            listeners=(self._announcer.session,),
            pulse=self._beat("mqtt"),
        )

    def _build_readings(self) -> Readings:
        return Readings(
            pipelines=self._pipelines,
            deployer=self._deployer,
            session=self._session,
            publisher=self._publisher,
            capture=self._capture,
            workers=self._workers,
            journal=self._journal,
            root=self._folders.state / "registry" / "root.json",
            registry_url=self._config.registry.url,
            uptime_s=self._uptime_s,
            distrust=lambda: self._fetch.distrust,
            clock_doubt=self._clock.doubt,
            governed=self._rates.problem,
        )

    def _happened(self, event: Event) -> None:
        """Tell an event; a pipeline's thread."""
        self._announcer.event(event)
        self._snapshots.event(event)

    def _event_id(self) -> str:
        """Return the next event's id; any thread."""
        return f"{self._boot}-{next(self._event_numbers)}"

    def _uptime_s(self) -> float:
        return (monotonic_ns() - self._started_ns) / NS_PER_S

    # --- starting ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every part, the ones that others lean on first; each that was started is stopped with the stack.

        The local socket comes first of all: where another agent has it, nothing was done yet.
        """
        self._begin(LocalServer(self._folders.socket, {"status": self._status}))
        if self._session is not None:
            self._begin(self._session)
        self._begin(self._publisher)
        self._capture.start()
        self._stack.callback(self._capture.close)
        for pipeline in self._pipelines.values():
            self._begin(pipeline)
        self._announcer.start(lambda: overview.info(self._identity, self._readings.take()))
        self._stack.callback(self._announcer.close)
        self._deployer.start(settings.pipeline_settings(self._loaded), self._pipelines)
        self._stack.callback(self._deployer.stop)
        for name, pipeline in self._pipelines.items():
            for camera in self._config.pipelines[name].cameras:
                self._capture.open(CameraName(camera), settings.source_of(self._loaded, CameraName(camera)), pipeline)
        self._begin(self._router)
        self._begin_reporting()
        log.info("agent.started", device=self._device, cameras=len(self._config.cameras))

    def _begin(self, part: Any) -> None:
        part.start()
        self._stack.callback(part.stop)

    def _begin_reporting(self) -> None:
        self._begin(
            Reporter(
                self._publisher.publish,
                self._probes,
                interval_s=self._config.report.telemetry_s,
                pipelines=self._readings.pipeline_statistics,
                link=self._readings.link,
                pulse=self._beat("telemetry"),
                governor=self._rates.row,
                chore=self._rates.look,
                chore_s=EVERY_S,
            )
        )
        self._begin(Watchdog(self._beats, self._notifier))
        self._begin(self._readiness)

    def reload(self) -> None:
        """Look at the configuration file again."""
        log.info("agent.reload", file=str(self._loaded.file))

    def _line(self) -> str:
        """Return what systemd shows in a line, where all is well."""
        return f"{len(self._config.cameras)} cameras, {len(self._config.pipelines)} pipelines"

    def _problems(self) -> tuple[str, ...]:
        """Return what it shows besides, where not: hanging loops, and all that is degraded."""
        return (*(f"{name} hangs" for name in self._beats.late()), *overview.degraded(self._readings.take()))

    def _status(self) -> object:
        return overview.status(self._identity, self._readings.take())
