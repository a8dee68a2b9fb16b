"""The deployment part's face: takes orders and events from any thread, and drives every pipeline on one of its own.

Thread ``lookout-deployer`` owns all state; orders are requests to it that wait for its answer, events are posted.
Blocking work runs on two lanes: ``lookout-deploy-jobs`` (fetch, verify, trial) and ``lookout-deploy-restore`` (bringing
committed releases back, closing workers), so that a worker that died is replaced also while a fetch is running.
``report``, ``on_done`` and the clock are called on the control thread: they must not block, and must not call back.

Start: :meth:`Deployer.start` reads the journal, decides by ``bootguard``, makes that durable, and only then serves.
Stop: :meth:`Deployer.stop` leaves the mark of a clean stop; deployments under way go on at the next start.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import TypeVar

import structlog

from agent.clock import NS_PER_S, monotonic_ns, utc_ms
from agent.deploy.driver import Driver
from agent.deploy.journal import Journal
from agent.deploy.lanes import Lane
from agent.deploy.loading import Loader
from agent.deploy.news import News
from agent.deploy.optimised import OptimisedCache
from agent.deploy.parts import Parts, Turn
from agent.deploy.polling import Polling
from agent.deploy.ports import Beat, FetchPort, InspectPort, PipelinePort, StorePort, TunePort, WorkerFactory
from agent.deploy.ranking import Ranking
from agent.deploy.reconfiguring import Reconfiguring
from agent.deploy.records import (
    Accepted,
    DeploymentStatus,
    DeployOptions,
    DeploySettings,
    OnDone,
    PipelineSettings,
    StoredModel,
)
from agent.deploy.row import Row
from agent.deploy.starting import Starting
from agent.deploy.timers import Timers
from agent.deploy.tuning import Tuner
from agent.deploy.tunings import Tunings
from agent.errors import CommandError, DeploymentRefused, LookoutError, ProgrammingError, StorageError
from agent.process.memory import available_bytes
from agent.registry.reference import parse_reference
from agent.types import Digest, PipelineName

T = TypeVar("T")

ANSWER_S = 30.0
"""How long an order waits for the control thread: it does nothing slower than a few synced writes."""
BEAT_S = 5.0
STOP_S = 5.0

log = structlog.get_logger(part="deploy")


class Deployer(News):
    """Takes releases into service; implements the pipelines' events. ``boot_id`` is the kernel's, ``host`` names it."""

    def __init__(
        self,
        journal: Journal,
        *,
        store: StorePort,
        fetch: FetchPort,
        workers: WorkerFactory,
        settings: DeploySettings,
        report: Callable[[DeploymentStatus], None],
        boot_id: str,
        host: str,
        inspect: InspectPort | None = None,
        tune: TunePort | None = None,
        cache: OptimisedCache | None = None,
        beat: Beat | None = None,
        now_ns: Callable[[], int] = monotonic_ns,
        now_ms: Callable[[], int] = utc_ms,
        available: Callable[[], int | None] = available_bytes,
        on_safe_mode: Callable[[str | None], object] = lambda _: None,
        clock_doubt: Callable[[], str | None] = lambda: None,
    ) -> None:
        super().__init__()
        tunings = Tunings(journal.database, host)
        loader = Loader(workers, store, settings, cache, tunings)
        tuner = None if tune is None else Tuner(tune, tunings, loader, settings)
        self._journal = journal
        self._store = store
        self._report_to = report
        self._boot_id = boot_id
        self._beat = beat
        self._now_ns = now_ns
        self._absent: dict[PipelineName, Row] = {}
        self._statuses: dict[PipelineName, DeploymentStatus] = {}
        self._snapshot: tuple[DeploymentStatus, ...] = ()
        self._kept: frozenset[Digest] = frozenset()
        self._stopping = False
        self._timers = Timers()
        self._thread = threading.Thread(target=self._run, name="lookout-deployer", daemon=True)
        self._jobs = Lane("lookout-deploy-jobs")
        self._parts = Parts(
            journal=journal,
            store=store,
            fetch=fetch,
            loader=loader,
            trial=Ranking(loader, settings, host, inspect=inspect, remembered=journal.measurements, tuner=tuner),
            settings=settings,
            jobs=self._jobs,
            restore=self._restore,
            turn=Turn(),
            post=self._inbox.post,
            keep=lambda: self._kept,
            report=self._report,
            now_ns=now_ns,
            now_ms=now_ms,
            random=random.random,
            available=available,
            clock_doubt=clock_doubt,
        )
        self._starting = Starting(self._parts, self._drivers, self._timers, on_safe_mode)
        self._polling = Polling(self._parts, self._drivers, self._timers, settings.poll_s)
        self._reconfiguring = Reconfiguring(self._parts, self._drivers, self._absent, self._starting, self._polling)

    @property
    def safe_mode(self) -> str | None:
        """Why the previous models serve, in words; None: no safe mode. Any thread may read it."""
        return self._starting.safe_mode

    # --- start and stop ----------------------------------------------------------------------------------------------

    def start(self, settings: Sequence[PipelineSettings], pipelines: Mapping[PipelineName, PipelinePort]) -> None:
        """Decide about what the journal holds, bring the current releases back, deploy what the configuration wants.

        Returns once that is under way. ``pipelines`` has each pipeline that ``settings`` names.
        """
        rows, boot = self._starting.read(self._boot_id)
        for one in settings:
            row = rows.pop(one.name, None) or Row(one.name)
            self._drivers[one.name] = Driver(one, pipelines[one.name], self._parts, row)
        self._absent.update(rows)
        self._publish()
        self._jobs.start()
        self._restore.start()

        def begin() -> None:
            self._starting.boot(settings, boot)
            self._polling.start()

        self._inbox.post(begin)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and leave the mark of a clean stop. Workers in service are left to their pipelines; idempotent."""
        if self._stopping or not self._thread.is_alive():
            return
        self._inbox.post(self._shut_down)
        self._thread.join(STOP_S)
        late = [lane for lane in (self._jobs, self._restore) if not lane.stop(STOP_S)]
        if late or self._thread.is_alive():
            log.warning("deployer.stopped_late", lanes=len(late))  # its children end with the spawner
        try:
            self._journal.mark_clean_stop()
        except StorageError as error:
            log.warning("journal.not_written", problem=error.message)

    def _shut_down(self) -> None:
        self._stopping = True
        for driver in self._drivers.values():
            driver.shut_down()

    def reconfigure(
        self,
        settings: DeploySettings,
        wanted: Sequence[PipelineSettings],
        pipelines: Mapping[PipelineName, PipelinePort],
    ) -> None:
        """Take another configuration up; returns once that is under way. Any thread but the control thread.

        A pipeline that comes is started already, and in ``pipelines``; one that goes is dismissed after this, not
        before: no order reaches it any more. Raises DeploymentRefused where the control thread does not answer.
        """

        def order() -> None:
            self._reconfiguring.take_up(settings, wanted, pipelines)
            self._statuses = {name: status for name, status in self._statuses.items() if name in self._drivers}
            self._snapshot = tuple(self._statuses.values())

        self._ask(order)

    # --- orders: any thread but the control thread -------------------------------------------------------------------

    def deploy(
        self,
        pipeline: PipelineName,
        reference: str,
        *,
        force: bool = False,
        options: DeployOptions = DeployOptions(),  # noqa: B008 - frozen
        on_done: OnDone | None = None,
    ) -> Accepted:
        """Begin to take ``reference`` into service; returns once that is durable, ``on_done`` tells the end.

        Raises ReferenceError (syntax), CommandError (unknown pipeline), DeploymentRefused (busy), StorageError.
        """
        text = str(parse_reference(reference))

        def order() -> Accepted:
            self._polling.interrupt()
            return self._driver(pipeline).orders.deploy(text, force=force, options=options, on_done=on_done)

        return self._ask(order)

    def cancel(self, pipeline: PipelineName) -> Accepted:
        """Cancel a deployment before its probation. Raises CommandError, DeploymentRefused."""
        return self._ask(lambda: self._driver(pipeline).orders.cancel())

    def rollback(self, pipeline: PipelineName, *, on_done: OnDone | None = None) -> Accepted:
        """Undo the latest change, see ``Orders.roll_back``. Raises CommandError, DeploymentRefused."""
        return self._ask(lambda: self._driver(pipeline).orders.roll_back(on_done))

    def status(self) -> tuple[DeploymentStatus, ...]:
        """Return where each pipeline stands; any thread, never blocks."""
        return self._snapshot

    def models(self) -> tuple[StoredModel, ...]:
        """Return the releases in the store and who holds them; reads the disk. Raises StorageError."""
        quarantined = self._journal.quarantined()
        statuses = self._snapshot

        def holders(slot: str, digest: Digest) -> tuple[PipelineName, ...]:
            held = ((one.pipeline, getattr(one, slot)) for one in statuses)
            return tuple(name for name, release in held if release is not None and release.digest == digest)

        return tuple(
            StoredModel(
                release=stored.id,
                current_of=holders("current", stored.id.digest),
                previous_of=holders("previous", stored.id.digest),
                candidate_of=holders("candidate", stored.id.digest),
                quarantined=quarantined.get(stored.id.digest),
            )
            for stored in self._store.releases()
        )

    # --- the control thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            message = self._inbox.receive(self._patience_s())
            if message is not None:
                message()
            now_ns = self._now_ns()
            self._timers.run(now_ns)
            for driver in self._drivers.values():
                driver.timers.run(now_ns)
            self._publish()
            if self._beat is not None:
                self._beat.progress()

    def _patience_s(self) -> float | None:
        """Return how long the inbox may be waited for: until the next timer, and no longer than a heartbeat."""
        timers = [self._timers, *(driver.timers for driver in self._drivers.values())]
        due = [at for one in timers if (at := one.next_ns()) is not None]
        waits = [max(0.0, (min(due) - self._now_ns()) / NS_PER_S)] if due else []
        if self._beat is not None:
            waits.append(BEAT_S)
        return min(waits, default=None)

    def _ask(self, order: Callable[[], T]) -> T:
        """Run ``order`` on the control thread and return what it returns, or raise what it raises."""
        if threading.current_thread() is self._thread:
            raise ProgrammingError("an order to the deployer from its own callback: hand it to another thread")
        if self._stopping or not self._thread.is_alive():
            raise DeploymentRefused("the agent is stopping; try again when it runs")
        answer: futures.Future[T] = futures.Future()

        def run() -> None:
            try:
                answer.set_result(order())
            except LookoutError as error:
                answer.set_exception(error)

        self._inbox.request(run)
        try:
            return answer.result(ANSWER_S)
        except futures.TimeoutError:  # Python 3.10: not the builtin
            raise DeploymentRefused(
                f"busy: no answer within {ANSWER_S:g} s; look at the deployment's state before trying again"
            ) from None

    def _driver(self, pipeline: PipelineName) -> Driver:
        try:
            return self._drivers[pipeline]
        except KeyError:
            known = ", ".join(sorted(self._drivers))
            raise CommandError(f"pipeline {pipeline!r} is unknown; this device has {known}", field="pipeline") from None

    def _report(self, status: DeploymentStatus) -> None:
        """Tell a status on, once; nothing of a pipeline that was removed."""
        if self._statuses.get(status.pipeline) == status or status.pipeline not in self._drivers:
            return
        self._statuses[status.pipeline] = status
        self._snapshot = tuple(self._statuses.values())
        self._report_to(status)

    def _publish(self) -> None:
        """Renew what other threads see, and tell what changed without a transition."""
        rows = [driver.row for driver in self._drivers.values()] + list(self._absent.values())
        factory = {driver.factory for driver in self._drivers.values() if driver.factory is not None}
        self._kept = frozenset(factory).union(*(row.slots() for row in rows))
        self._starting.look_at_safe_mode()
        for driver in self._drivers.values():
            driver.look()
            self._report(driver.status())
