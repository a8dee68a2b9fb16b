"""The composition root: the one place that knows every part, builds them, and owns their start and stop.

Everything that was started is on one :class:`contextlib.ExitStack`, so that a failure half-way unwinds what was built,
in reverse. Parts never import one another; what they need of each other is handed in here. Nothing is decided here.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from agent import bundle, overview, pages, rewiring, settings
from agent.announce import Announcer, standing_topics
from agent.capture.handle import CaptureHandle
from agent.capture.pool import CapturePool
from agent.clock import NS_PER_S, monotonic_ns, utc_ms
from agent.config.boot import Chosen, choose
from agent.config.confirm import Vitals
from agent.config.layers import load
from agent.config.places import LOCK_NAME, Places, device_id, places, prepare
from agent.config.record import ConfigRecord
from agent.config.schema import Report
from agent.config.watch import FileWatch
from agent.deploy.clockfloor import TrustedClock
from agent.deploy.commands import CommandMemory
from agent.deploy.deployer import Deployer
from agent.deploy.journal import Journal
from agent.deploy.ledger import TrustLedger
from agent.deploy.optimised import OptimisedCache
from agent.deploy.records import DeploymentStatus
from agent.diagnose import Diagnoser
from agent.errors import StorageError
from agent.host import boot_id, describe, host_key
from agent.inspect.client import InspectClient
from agent.link.client import Session
from agent.link.commands import Router
from agent.link.discovery import Facts
from agent.link.durable import DurableOutbox
from agent.link.publisher import Publisher
from agent.link.starts import claim_start
from agent.link.topics import Topics
from agent.link.wire import Incoming
from agent.logs.afar import AskedLogs
from agent.logs.children import forward
from agent.logs.setup import Logging, configure, log_unhandled
from agent.loop.album import Album
from agent.loop.governor import Governor
from agent.loop.pipeline import Pipeline
from agent.loop.seeing import Seeing
from agent.loop.setups import PipelineSetup
from agent.process.child import Spawner
from agent.rates import EVERY_S, SENSORS, Limits, Rates
from agent.readings import Readings
from agent.registry.client import FetchClient
from agent.registry.store import Store
from agent.serve.handle import Workers
from agent.serve.tuner import TuneClient
from agent.snapshots import Snapshots
from agent.steer.apply import Applier
from agent.steer.frames import Frames
from agent.steer.homeassistant import Announcements, HomeAssistant, HomeAssistantSettings
from agent.steer.inforce import reported
from agent.steer.pipelines import Pipelines
from agent.steer.rows import Drawn, Told, names, rows
from agent.steer.rows import Parts as TakingUp
from agent.steer.standing import Standing
from agent.steer.steward import Steward
from agent.steer.vitals import vitals
from agent.supervise.heartbeat import Heartbeat, Heartbeats
from agent.supervise.local import LocalServer
from agent.supervise.lock import StateLock
from agent.supervise.notify import Notifier
from agent.supervise.readiness import Readiness
from agent.supervise.restart import start_again
from agent.supervise.signals import StopSignals
from agent.supervise.watchdog import Watchdog
from agent.telemetry.host import host_probes
from agent.telemetry.look import Senses
from agent.telemetry.medium import Medium
from agent.telemetry.probes import Probes
from agent.telemetry.processes import Processes
from agent.telemetry.reporter import Reporter
from agent.telemetry.writing import Writing
from agent.types import Event, PipelineName
from agent.verbs import config_rows, table
from agent.versions import onnx_runtime, versions

log = structlog.get_logger(part="agent")

PATIENCE_S = 15.0
"""A loop that neither got something done nor declared a wait for this long is late."""


RECORD_NAME = "config.db"


def run(file: Path) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit code. Raises LookoutError where it cannot start.

    A restart that was asked for ends it in the same order, and then takes the process over with a new agent.
    """
    with ExitStack() as stack:
        chosen = choose(file, os.environ, lambda state: record_in(state, file, stack))
        loaded = chosen.loaded
        logs = configure(loaded.config.logs, environ=os.environ, file=settings.log_file(loaded))
        log_unhandled(logs)
        stop = StopSignals()
        folders = places(os.environ, loaded)
        prepare(folders)
        notifier = Notifier.from_environ(os.environ)
        agent = Agent(chosen, folders, notifier, stack, logs=logs, restart=stop.restart)
        agent.start()
        number = stop.wait(agent.reload if notifier.heard else None)
        if number is None:
            log.warning("agent.restarting", reason=stop.reason)
            notifier.restarting()
        else:
            log.info("agent.stopping", signal=number.name)
            notifier.stopping()
    log.info("agent.stopped")
    if number is None and stop.may_start_again():
        notifier.alive()  # the time that systemd gives begins anew
        start_again()
    return 0


def record_in(state: Path, file: Path, stack: ExitStack) -> ConfigRecord:
    """Open what is remembered of the configuration, under the lock of the state folder.

    Before the first start nothing is, and nothing is made for a file that is wrong. Raises LookoutError.
    """
    if not (state / RECORD_NAME).exists():
        prepare(places(os.environ, load(file, os.environ)))
    stack.enter_context(StateLock(state / LOCK_NAME))
    record = ConfigRecord(state / RECORD_NAME, boot_id=boot_id())
    stack.callback(record.close)
    return record


def boot_of(journal: Journal) -> int:
    """Return how many starts the journal has counted; this one counts only once the deployer has begun."""
    try:
        return journal.boots()
    except StorageError:  # the journal's own problem is told apart
        return 0


class Agent:
    """Every part of one device. Built whole, then started; ``stack`` undoes it. Main thread only."""

    def __init__(
        self,
        chosen: Chosen,
        folders: Places,
        notifier: Notifier,
        stack: ExitStack,
        *,
        logs: Logging,
        restart: Callable[[str], None],
    ) -> None:
        """``restart`` ends the agent and starts it again, for the reason that it is given; any thread."""
        self._restart = restart
        self._logs = logs
        self._chosen = chosen
        self._loaded = loaded = chosen.loaded
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
        logs.levels.listen(self._spawner.log_at)
        self._workers = Workers(self._spawner)
        stack.callback(self._workers.close)
        self._outbox = DurableOutbox(
            folders.state / "outbox.db",
            self._topics,
            settings.outbox_limits(self._config),
            pulse=self._beat("outbox"),
        )
        stack.callback(self._outbox.close)
        self._publisher = Publisher(self._topics, self._outbox, pulse=self._beat("publisher"))
        self._capture = self._build_capture()
        self._announcer = Announcer(
            self._publisher.publish, self._config.report, revision=lambda: self._steward.revision
        )
        self._album = Album(self._config.report.best_pictures)
        self._deployer = self._build_deployer()
        self._boot = claim_start(
            (self._outbox.database, self._journal.database), at_least=boot_of(self._journal), utc_ms=utc_ms()
        )
        self._event_numbers = itertools.count(1)
        self._pipelines = Pipelines(
            {name: self._build_pipeline(name, setup) for name, setup in rewiring.setups(loaded).items()}
        )
        self._standing = Standing(folders.state / "standing.json")
        self._processes = Processes(self._spawner.pids)
        self._writing = Writing(
            self._processes,
            Medium(folders.state),
            budget_mb=self._config.report.wear_budget_mb_per_day,
            changed=self._announcer.changed,
        )
        self._probes = Probes(host_probes(folders.state, processes=self._processes, writing=self._writing))
        self._rates = self._build_rates()
        self._snapshots = self._build_snapshots()
        self._asked_logs = AskedLogs(logs, self._publisher.publish)
        self._home_assistant = self._build_home_assistant()
        self._steward = self._build_steward()
        self._watch = FileWatch(loaded.file, self._steward.file_changed, pulse=self._beat("config-watch"))
        self._router = self._build_router()
        self._instance = secrets.token_hex(8)
        self._session = self._build_session()
        self._readings = self._build_readings()
        self._identity = overview.Identity(
            device=self._device,
            device_class=self._config.device.klass,
            groups=self._config.device.groups,
            versions=versions(),
            pid=os.getpid(),
            host=describe(),
            instance=self._instance,
        )
        self._diagnoser = self._build_diagnoser()
        self._senses = self._build_senses()
        self._reporter = self._build_reporter()
        self._page = self._build_page()

    # --- building ----------------------------------------------------------------------------------------------------

    def _beat(self, name: str) -> Heartbeat:
        return self._beats.add(name, PATIENCE_S)

    def _build_capture(self) -> CaptureHandle | CapturePool:
        if self._config.capture.process == "per_camera":
            return CapturePool(self._spawner, pulse=self._beat, still=self._beats.remove)
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
            report=self._deployment,
            boot_id=boot_id(),
            host=f"{host_key()}; {runtime}",
            inspect=InspectClient(self._spawner),
            tune=TuneClient(self._spawner),
            cache=OptimisedCache(self._folders.state / "cache", runtime=runtime, host=host_key()),
            beat=self._beat("deployer"),
            clock_doubt=self._clock.doubt,
            on_safe_mode=self._readiness.changed,
        )

    def _build_pipeline(self, name: PipelineName, setup: PipelineSetup) -> Pipeline:
        return Pipeline.of(
            name,
            setup,
            capture=self._capture,
            events=self._deployer,
            sinks=(*self._announcer.sinks, self._readiness.seen),
            health_sinks=self._announcer.health_sinks,
            heartbeat=self._beat(f"pipeline-{name}"),
            seeing=Seeing(setup.seeing, next_id=self._event_id, tell=self._happened),
            portraits=self._album,
        )

    def _build_rates(self) -> Rates:
        governed = settings.governor_settings(self._config)
        return Rates(
            rewiring.plans(self._loaded),
            None if governed is None else Governor(governed),
            read=lambda: self._probes.read(SENSORS),
            cores=os.cpu_count() or 1,
            limit=self._limit,
            changed=self._announcer.changed,
        )

    def _limit(self, name: PipelineName, limits: Limits) -> None:
        """Bound the frame rates of a pipeline's cameras; one that was removed meanwhile has none."""
        pipeline = self._pipelines.get(name)
        if pipeline is not None:
            pipeline.limit(limits)

    def _build_router(self) -> Router:
        rows = table(
            self._deployer,
            self._pipelines.names,
            device=self._device,
            uptime_s=self._uptime_s,
            snapshot=self._snapshots.take,
            diagnose=lambda args: self._diagnoser.diagnose(args),
            logs=self._asked_logs,
            restart=self._restart,
            may_restart=lambda: self._steward.loaded.config.remote.restart,
            refuse_managed=self._steward.refuse_managed,
        )
        return Router(
            self._topics,
            (*rows, *config_rows(self._steward)),
            memory=CommandMemory(self._journal.database),
            publish=self._publisher.publish,
            utc_ms=self._clock.utc_ms,
            groups=self._config.device.groups,
            beat=self._beat,
        )

    def _build_steward(self) -> Steward:
        return Steward(
            self._chosen,
            environ=os.environ,
            applier=self._build_applier(),
            vitals=self._vitals,
            deployments=self._deployer,
            publish=self._publisher.publish,
            restart=self._restart,
            drained=self._publisher.wait_idle,
            pulse=self._beat("config"),
        )

    def _build_applier(self) -> Applier:
        """Return what has every part take up another configuration."""
        booted = self._loaded
        made = rewiring.records(booted, state=self._folders.state, cores=os.cpu_count() or 1, announced=self._announced)
        frames = Frames(
            capture=self._capture,
            pipelines=self._pipelines,
            deployer=self._deployer,
            make=self._build_pipeline,
            still=lambda name: self._beats.remove(f"pipeline-{name}"),
            opened=rewiring.openings(booted),
            told=rewiring.setups(booted),
        )
        parts = TakingUp(
            frames=frames,
            logs=self._logs.reconfigure,
            trust_clock=lambda trust: self._clock.reconfigure(trust=trust),
            access=self._fetch.reconfigure,
            rates=self._rates.reconfigure,
            drawn=self._draw,
            report=self._tell_as,
            telemetry_s=lambda every_s: self._reporter.set_interval(every_s),
            expect=self._expect,
            groups=self._regroup,
            outbox=self._outbox.reconfigure,
            home_assistant=self._reannounce,
            broker=lambda mqtt: self._session.reconfigure(mqtt),
        )
        return Applier(booted, rows(parts, made, booted), settled=self._settled)

    def _draw(self, drawn: Drawn) -> None:
        watched, zones = drawn
        self._snapshots.reconfigure({camera: self._pipelines[name] for camera, name in watched.items()}, zones)

    def _tell_as(self, report: Report) -> None:
        self._announcer.reconfigure(report)
        self._snapshots.keep(report.best_pictures, at_end=report.snapshots)
        self._writing.allow(report.wear_budget_mb_per_day)

    def _expect(self, told: Told, before: Callable[[frozenset[str]], frozenset[str]] | None = None) -> None:
        """Tell of these cameras and pipelines only; ``before`` says what a former start may have left at the broker."""
        topics = standing_topics(*told)
        if before is None:
            self._standing.change(topics)
        self._announcer.expect(topics, before=frozenset() if before is None else before(topics))

    def _regroup(self, groups: tuple[str, ...]) -> None:
        self._identity = replace(self._identity, groups=groups)
        self._session.reroute(self._routes(self._router.regroup(groups)))

    def _reannounce(self, wanted: HomeAssistantSettings) -> None:
        self._home_assistant.reconfigure(wanted)
        self._session.reroute(self._routes(self._router.routes()))

    def _settled(self) -> None:
        """Say what the device is now."""
        self._readiness.changed(None)
        self._announcer.changed()

    def _vitals(self) -> Vitals:
        """Return how the device does, for the probation of a change; any thread."""
        return vitals(
            monotonic_ns(), self._session.statistics(), self._readings.pipeline_statistics(), self._rates.limits()
        )

    def _deployment(self, status: DeploymentStatus) -> None:
        self._announcer.deployment(status)
        self._steward.deployment(status)

    def _routes(self, commands: Mapping[str, Callable[[Incoming], None]]) -> dict[str, Callable[[Incoming], None]]:
        """Return all that is subscribed to, and who takes it."""
        own = {self._topics.absolute("desired"): self._steward.desired}
        return {**commands, **own, **self._home_assistant.routes()}

    def _build_snapshots(self) -> Snapshots:
        watched, zones = rewiring.drawn(self._loaded)
        return Snapshots(
            {camera: self._pipelines[name] for camera, name in watched.items()},
            self._publisher.publish,
            zones=zones,
            album=self._album,
            at_end=self._config.report.snapshots,
        )

    def _build_home_assistant(self) -> HomeAssistant:
        host = describe()
        self._announced = Facts(
            device=self._device,
            root=self._topics.root,
            model=self._config.device.klass or str(host["board"] or host["machine"]),
            version=versions().get("lookout-agent", "0"),
            rows=settings.host_rows(self._probes.had()),
            pipeline_rows=settings.pipeline_rows(),
            healthy=tuple(overview.HEALTHY),
            trouble=tuple(overview.TROUBLE),
        )
        return HomeAssistant(
            settings.home_assistant_settings(self._config, self._announced),
            self._publisher.publish,
            Announcements(self._folders.state / "homeassistant.json"),
            pulse=self._beat("homeassistant"),
        )

    def _build_session(self) -> Session:
        """Return the session with the broker; it waits for one where none is configured."""
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        return Session(
            settings.broker(self._loaded),
            self._topics,
            self._publisher,
            routes=self._routes(self._router.routes()),
            listeners=(self._announcer.session, self._home_assistant.session),
            pulse=self._beat("mqtt"),
            credentials=Path(credentials) if credentials else None,
            instance=self._instance,
        )

    def _build_senses(self) -> Senses:
        """Return who is asked for telemetry."""
        return Senses(
            self._probes,
            uptime_s=self._uptime_s,
            pipelines=self._readings.pipeline_statistics,
            link=self._readings.link,
            queues=self._readings.queues,
            processes=self._processes.rows,
            workers=self._readings.worker_readings,
            governor=self._rates.row,
        )

    def _build_metrics(self) -> Callable[[], bytes] | None:
        """Return what writes the text for Prometheus, whose library is loaded only where it is wanted."""
        if not self._config.web.metrics:
            return None
        from agent.telemetry.prometheus import render

        host = tuple(probe.column for probe in self._probes.rows)
        version = versions().get("lookout-agent", "0")
        return lambda: render(self._senses.look(), host, device=self._device, version=version)

    def _build_reporter(self) -> Reporter:
        return Reporter(
            self._publisher.publish,
            self._senses,
            interval_s=self._config.report.telemetry_s,
            pulse=self._beat("telemetry"),
            chore=self._rates.look,
            chore_s=EVERY_S,
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
            registry_url=lambda: self._steward.loaded.config.registry.url,
            uptime_s=self._uptime_s,
            distrust=lambda: self._fetch.distrust,
            clock_doubt=self._clock.doubt,
            unlogged=lambda: self._logs.statistics().problem,
            governed=self._rates.problem,
            worn=self._writing.problem,
            waiting_commands=lambda: self._router.statistics().waiting,
            boot=self._boot,
            config=lambda: self._steward.now,
            config_problem=lambda: self._chosen.record.problem or self._watch.problem,
            page=lambda: None if self._page is None else self._page.problem(),
        )

    def _build_diagnoser(self) -> Diagnoser:
        parts = bundle.Parts(
            identity=self._identity,
            readings=self._readings,
            loaded=lambda: self._steward.loaded,
            journal=self._journal,
            publisher=self._publisher,
            router=self._router,
            logs=self._logs,
            beats=self._beats,
            clock_doubt=self._clock.doubt,
            more={"reported": lambda: reported(self._steward.now)},
        )
        return Diagnoser(
            bundle.sections(parts),
            why_not=lambda: overview.why_not_of(self._readings.pipeline_statistics()),
            logs=self._logs.ring.tail,
            snapshot=self._snapshots.newest,
        )

    def _build_page(self) -> pages.Served | None:
        parts = pages.Parts(
            identity=lambda: self._identity,
            readings=self._readings,
            loaded=lambda: self._steward.loaded,
            pipelines=self._pipelines,
            reporter=self._reporter,
            journal=self._journal,
            router=self._router,
            logs=self._logs,
            metrics=self._build_metrics(),
        )
        return pages.build(self._loaded, parts, os.environ.get("CREDENTIALS_DIRECTORY"))

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
        self._logs.start(self._beat("logs"))
        self._stack.callback(self._logs.stop)
        told = {"status": self._status, "alive": self._alive}
        self._begin(LocalServer(self._folders.socket, told, {"logs": self._asked_logs.answer}))
        self._begin(self._outbox)
        self._begin(self._session)
        self._begin(self._publisher)
        self._begin(self._home_assistant)
        self._capture.start()
        self._stack.callback(self._capture.close)
        self._begin(self._pipelines)
        self._expect(names(self._loaded), before=self._standing.begin)
        self._announcer.start(lambda: overview.info(self._identity, self._readings.take()))
        self._stack.callback(self._announcer.close)
        self._deployer.start(settings.pipeline_settings(self._loaded), self._pipelines)
        self._stack.callback(self._deployer.stop)
        for camera, opening in rewiring.openings(self._loaded).items():
            self._capture.open(camera, opening.source, self._pipelines[opening.pipeline])
        self._begin(self._watch)
        self._begin(self._steward)
        self._begin(self._router)
        self._begin_reporting()
        log.info("agent.started", device=self._device, cameras=len(self._config.cameras))

    def _begin(self, part: Any) -> None:
        part.start()
        self._stack.callback(part.stop)

    def _begin_reporting(self) -> None:
        self._begin(self._reporter)
        self._begin(Watchdog(self._beats, self._notifier))
        if self._page is not None:
            self._begin(self._page)
        self._begin(self._readiness)

    def reload(self) -> None:
        """Look at the configuration file again."""
        log.info("agent.reload", file=str(self._loaded.file))
        self._steward.file_changed()

    def _line(self) -> str:
        """Return what systemd shows in a line, where all is well."""
        config = self._steward.loaded.config
        return f"{len(config.cameras)} cameras, {len(config.pipelines)} pipelines"

    def _problems(self) -> tuple[str, ...]:
        """Return what it shows besides, where not: hanging loops, and all that is degraded."""
        return (*(f"{name} hangs" for name in self._beats.late()), *overview.degraded(self._readings.take()))

    def _alive(self) -> object:
        """Say which loops hang, for whoever would restart the agent then; as cheap as it can be."""
        return {"late": self._beats.late()}

    def _status(self) -> object:
        return overview.status(self._identity, self._readings.take())
