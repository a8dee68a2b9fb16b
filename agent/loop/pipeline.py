"""The frame loop of one pipeline: an actor with one thread, one inbox, and every bit of state owned by that thread.

Other threads (capture's reader, the workers' readers, the deployer) only post: each method below puts a call of
:class:`~agent.loop.frameloop.FrameLoop` into the inbox and returns. The inbox is bounded by what may be posted: a frame
needs a granted slot, an answer a frame in flight, an order a deployment; only health messages are free, and those above
:data:`INBOX_LIMIT` are dropped and counted. Nothing on the thread blocks, syncs a disk or serialises; it waits on the
inbox, at most until the next deadline. A bug ends the thread, loudly; its heart stops, and the watchdog acts.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from agent.clock import NS_PER_S, monotonic_ns
from agent.loop.eye import Remembered
from agent.loop.frameloop import FrameLoop
from agent.loop.intake import CameraPort
from agent.loop.pictures import Portraits, Wish
from agent.loop.plan import CameraPlan
from agent.loop.ports import HealthSink, Heartbeat, PipelineEvents, Sink
from agent.loop.records import PipelineStatistics
from agent.loop.results import Reporting
from agent.loop.seeing import Seeing
from agent.loop.setups import PipelineSetup
from agent.process.messages import Error, Frame, Health, Output, Rendered
from agent.types import CameraName, PipelineName

if TYPE_CHECKING:
    from agent.serve.handle import WorkerHandle

log = structlog.get_logger(part="loop")

INBOX_LIMIT = 1024
IDLE_S = 5.0
"""The longest wait: the heart must beat again after it."""

LAST_LOOK_NS = NS_PER_S // 4
"""How long an overdue answer is waited for once more, with an empty inbox: where the whole agent stood still (stopped,
starved, a paused machine), the answers lie in sockets and need this moment to come in."""

ANSWER_S = 1.0
"""How long ``statistics`` waits for the thread before it gives an older snapshot."""

Call = tuple[Callable[..., None], tuple[Any, ...]]


class Pipeline:
    """A pipeline: capture's and the workers' events come in, results go to ``sinks``, the rest to ``events``.

    ``lossless`` names the cameras whose every frame counts. ``sinks`` get results, ``health_sinks`` changes of a
    camera's state, all on the pipeline's thread. ``seeing`` makes results of answers; it is the pipeline's own.
    ``plans`` say how cameras take part; those without one have every frame looked at, as often as it can be.
    ``portraits`` keeps the best pictures of tracks.
    """

    def __init__(
        self,
        name: PipelineName,
        cameras: Sequence[CameraName],
        *,
        in_flight: int,
        capture: CameraPort,
        events: PipelineEvents,
        sinks: Sequence[Sink],
        heartbeat: Heartbeat,
        lossless: Collection[CameraName] = (),
        health_sinks: Sequence[HealthSink] = (),
        seeing: Seeing | None = None,
        plans: Mapping[CameraName, CameraPlan] | None = None,
        portraits: Portraits | None = None,
    ) -> None:
        self.name = name
        self._heartbeat = heartbeat
        self._inbox: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._loop = FrameLoop(
            name,
            cameras,
            lossless=lossless,
            in_flight=in_flight,
            capture=capture,
            events=events,
            sinks=sinks,
            health_sinks=health_sinks,
            listener=self,
            seeing=seeing,
            plans=plans,
            departed=self._departed,
            portraits=portraits,
            stopwatch_ns=monotonic_ns,
        )
        self._left: dict[CameraName, Remembered] = {}
        self._left_changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"lookout-pipeline-{name}", daemon=True)
        self._started = False
        self._overdue_ns: int | None = None
        self._last_look_ns = 0
        self._last_statistics = self._loop.statistics(monotonic_ns())
        self.health_dropped = 0

    @classmethod
    def of(
        cls,
        name: PipelineName,
        setup: PipelineSetup,
        *,
        capture: CameraPort,
        events: PipelineEvents,
        sinks: Sequence[Sink],
        heartbeat: Heartbeat,
        health_sinks: Sequence[HealthSink],
        seeing: Seeing,
        portraits: Portraits | None = None,
    ) -> Pipeline:
        """Make a pipeline by its setup; ``seeing`` goes by the same."""
        made = cls(
            name,
            tuple(setup.cameras),
            in_flight=setup.in_flight,
            capture=capture,
            events=events,
            sinks=sinks,
            heartbeat=heartbeat,
            lossless=[camera for camera, one in setup.cameras.items() if one.lossless],
            health_sinks=health_sinks,
            seeing=seeing,
            plans={camera: one.plan for camera, one in setup.cameras.items()},
            portraits=portraits,
        )
        made.reconfigure(setup)  # for what is remembered of the cameras; the thread hears it first of all
        return made

    def start(self) -> None:
        """Start the thread."""
        self._started = True
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the rings; workers stay the deployer's to close. Idempotent."""
        if self._started:
            self._inbox.put(None)
            self._thread.join()
        self._loop.close()

    # --- CameraEvents: any thread ------------------------------------------------------------------------------------

    def need_ring(self, camera: CameraName, width: int, height: int) -> None:
        """Ask for a ring for frames of this size."""
        self._inbox.put((self._loop.need_ring, (camera, width, height)))

    def frame(self, message: Frame) -> None:
        """Hand over a captured frame."""
        self._inbox.put((self._loop.frame, (message,)))

    def health(self, message: Health) -> None:
        """Tell a camera's new state."""
        if self._inbox.qsize() < INBOX_LIMIT:
            self._inbox.put((self._loop.health, (message,)))
        else:
            self.health_dropped += 1

    def capture_lost(self, camera: CameraName, reason: str) -> None:
        """Tell that the capture process was reaped; it opens the camera again."""
        self._inbox.put((self._loop.capture_lost, (camera, reason)))

    def rendered(self, message: Rendered, jpeg: bytes) -> None:
        """Hand over a picture that was made of a frame."""
        self._inbox.put((self._loop.rendered, (message, jpeg)))

    def camera_closed(self, camera: CameraName, *, another: bool) -> None:
        """Tell that capture has closed a camera and no event of it follows, but those of another opening.

        ``another``: what it gives then is another picture, so what is seen now ends.
        """
        self._inbox.put((self._loop.camera_closed, (camera, another)))

    # --- WorkerEvents: any thread ------------------------------------------------------------------------------------

    def output(self, worker: WorkerHandle, message: Output) -> None:
        """Hand over an answer."""
        self._inbox.put((self._loop.output, (worker, message)))

    def failed(self, worker: WorkerHandle, message: Error) -> None:
        """Hand over the reason why there is no answer."""
        self._inbox.put((self._loop.failed, (worker, message)))

    def died(self, worker: WorkerHandle, reason: str) -> None:
        """Tell that a worker was reaped."""
        self._inbox.put((self._loop.died, (worker, reason)))

    # --- another configuration: any thread ---------------------------------------------------------------------------

    def reconfigure(self, setup: PipelineSetup) -> None:
        """Be as ``setup`` says from now on. A camera that it lacks was closed at capture, a new one is not open yet."""
        with self._left_changed:
            for camera in setup.cameras:
                self._left.pop(camera, None)
        self._inbox.put((self._loop.reconfigure, (setup,)))

    def wait_departed(self, cameras: Collection[CameraName], timeout_s: float) -> dict[CameraName, Remembered]:
        """Wait until nothing is left of these cameras, which a reconfiguration removed; return those that are gone.

        With what whoever has them next should know. Not from the pipeline's own thread.
        """
        wanted = set(cameras)
        with self._left_changed:
            self._left_changed.wait_for(lambda: wanted <= self._left.keys(), timeout_s)
            return {name: self._left.pop(name) for name in wanted & self._left.keys()}

    def _departed(self, camera: CameraName, remembered: Remembered) -> None:
        with self._left_changed:
            self._left[camera] = remembered
            self._left_changed.notify_all()

    def dismiss(self) -> None:
        """Hand every worker back to the deployer and end, for good: the pipeline was removed."""
        self._inbox.put((self._loop.dismiss, ()))
        self.stop()

    # --- orders: any thread ------------------------------------------------------------------------------------------

    def swap(
        self,
        worker: WorkerHandle,
        *,
        labels: Sequence[str],
        score: float,
        only: Collection[str] | None = None,
        p95_ms: float | None = None,
    ) -> None:
        """Between two frames: current becomes previous (kept warm), ``worker`` current; a former previous is retired.

        ``labels`` by class id; reported is what scores ``score`` at least and, where ``only`` is given, has one of its
        labels. ``p95_ms`` is what the trial measured; default: the time of the worker's first run.
        """
        reporting = _reporting(labels, score, only)
        trial_ms = worker.ready.first_run_ms if p95_ms is None else p95_ms
        self._inbox.put((self._loop.swap, (worker, reporting, trial_ms)))

    def report(
        self, worker: WorkerHandle, *, labels: Sequence[str], score: float, only: Collection[str] | None = None
    ) -> None:
        """Report what ``worker`` answers in another way from now on; see :meth:`swap`. Tracks go on."""
        self._inbox.put((self._loop.report, (worker, _reporting(labels, score, only))))

    def swap_back(self, reason: str) -> None:
        """Make the warm previous worker current at once and retire the former current; without one, only log."""
        self._inbox.put((self._loop.swap_back, (reason,)))

    def drop_previous(self) -> None:
        """Retire the warm previous worker, if there is one."""
        self._inbox.put((self._loop.drop_previous, ()))

    def take_out(self, reason: str) -> None:
        """Retire current and a warm previous once they answered what they have; nobody serves until the next swap."""
        self._inbox.put((self._loop.take_out, (reason,)))

    def shadow(self, worker: WorkerHandle, *, p95_ms: float | None, max_slowdown: float) -> None:
        """Show ``worker`` frames beside current, until a swap to it, :meth:`end_shadow`, or its death.

        It may cost at most ``max_slowdown`` (0..1) of current's rate. What both answered is told by ``shadow_seen``.
        """
        trial_ms = worker.ready.first_run_ms if p95_ms is None else p95_ms
        self._inbox.put((self._loop.shadow, (worker, trial_ms, max_slowdown)))

    def end_shadow(self) -> None:
        """Retire the worker in the shadow, if there is one."""
        self._inbox.put((self._loop.end_shadow, ()))

    def picture(self, wish: Wish) -> None:
        """Have a picture made of a camera's newest frame; ``wish.take`` gets it on the pipeline's thread."""
        self._inbox.put((self._loop.picture, (wish,)))

    def watch(self, frames: int) -> None:
        """Tell ``served`` every 10 results until current gave ``frames`` of them since the swap; a swap ends it."""
        self._inbox.put((self._loop.watch, (frames,)))

    def limit(self, limits: Mapping[CameraName, float | None]) -> None:
        """Bound the frame rates of these cameras (None: no bound), instead of what bounded them before."""
        self._inbox.put((self._loop.limit, (limits,)))

    def statistics(self) -> PipelineStatistics:
        """Return a snapshot, from any thread; an older one where the loop does not answer within a second."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            return self._loop.statistics(monotonic_ns())
        answered = threading.Event()
        self._inbox.put((self._publish, (answered,)))
        answered.wait(ANSWER_S)
        return self._last_statistics

    def _publish(self, now_ns: int, answered: threading.Event) -> None:
        self._last_statistics = self._loop.statistics(now_ns)
        answered.set()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._turn()
        except BaseException:  # the supervisor's last line: the thread ends, its heart stops, the watchdog acts
            log.critical("pipeline.broken", pipeline=self.name, exc_info=True)
            raise

    def _turn(self) -> None:
        while True:
            try:
                call = self._inbox.get_nowait()
            except queue.Empty:
                try:
                    call = self._wait()
                except queue.Empty:
                    self._loop.grant_due(monotonic_ns())
                    self._check_deadlines()
                    continue
            if call is None:
                return
            function, arguments = call
            now_ns = monotonic_ns()
            self._loop.grant_due(now_ns)
            function(now_ns, *arguments)
            self._heartbeat.progress()

    def _wait(self) -> Call | None:
        """Wait for the inbox, at most until something is due. Raises :class:`queue.Empty` then."""
        now_ns = monotonic_ns()
        due_ns = self._loop.next_due_ns()
        if due_ns is not None and due_ns <= now_ns:
            if due_ns != self._overdue_ns:
                self._overdue_ns, self._last_look_ns = due_ns, now_ns + LAST_LOOK_NS
            due_ns = self._last_look_ns
        wakes_ns = [at_ns for at_ns in (due_ns, self._loop.grant_due_ns) if at_ns is not None]
        wait_s = min([IDLE_S, *(max(0.0, (at_ns - now_ns) / NS_PER_S) for at_ns in wakes_ns)])
        self._heartbeat.waiting(wait_s)
        return self._inbox.get(timeout=wait_s)

    def _check_deadlines(self) -> None:
        """Let the loop kill whoever is overdue, but only after a last look into the inbox."""
        now_ns = monotonic_ns()
        due_ns = self._loop.next_due_ns()
        if due_ns is not None and due_ns == self._overdue_ns and now_ns >= self._last_look_ns:
            self._loop.check_deadlines(now_ns)


def _reporting(labels: Sequence[str], score: float, only: Collection[str] | None) -> Reporting:
    return Reporting(tuple(labels), score, None if only is None else frozenset(only))
