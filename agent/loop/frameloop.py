"""The frame loop's decisions: frames to the current worker, answers to the sinks, workers that come and go.

No thread, no lock, no clock but a stopwatch that is handed in: :class:`~agent.loop.pipeline.Pipeline` calls these
methods one after another on its own thread, each with the time. What is called from here (capture, workers, events,
sinks) only posts and never blocks.

What holds: a frame is leased to a worker from dispatch until its answer, or until the worker was reaped; a frame whose
worker died or hung is kept (leased to :data:`HOLD`) and sent to another one once; results reach the sinks in the order
of dispatch, each exactly once; a worker that leaves the switch first answers what it has, then is handed back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from agent.clock import NS_PER_MS, NS_PER_S
from agent.errors import OutputError
from agent.loop.farewells import Departed, Farewells
from agent.loop.intake import CameraPort, Intake
from agent.loop.order import ATTEMPTS, Flight, Order
from agent.loop.pictures import Pictures, Portraits, Wish
from agent.loop.plan import CameraPlan
from agent.loop.ports import HealthSink, PipelineEvents, Sink
from agent.loop.records import Cause, PipelineStatistics, SwapSeen
from agent.loop.results import RawAnswer, Reporting, read
from agent.loop.rings import Generation
from agent.loop.seeing import Seeing
from agent.loop.serving import Change, Serving
from agent.loop.setups import PipelineSetup
from agent.loop.shadow import Lent, Shadows
from agent.loop.stats import Intervals, Rate, Stages
from agent.process.messages import Error, Frame, Health, Output, Rendered
from agent.serve.switch import Switch
from agent.types import CameraName, PipelineName, ReleaseId

if TYPE_CHECKING:
    from agent.serve.handle import WorkerEvents, WorkerHandle

log = structlog.get_logger(part="loop")

HOLD = "resend"
"""The reader that holds frames between two workers."""

SAMPLE_EVERY = 10
"""Results between two samples for whoever watches."""

Answer = tuple[Serving, RawAnswer]


class FrameLoop:
    """One pipeline's state; see the module."""

    def __init__(
        self,
        name: PipelineName,
        cameras: Sequence[CameraName],
        *,
        lossless: Collection[CameraName],
        in_flight: int,
        capture: CameraPort,
        events: PipelineEvents,
        sinks: Sequence[Sink],
        health_sinks: Sequence[HealthSink],
        listener: WorkerEvents,
        seeing: Seeing | None = None,
        plans: Mapping[CameraName, CameraPlan] | None = None,
        departed: Departed = lambda _camera, _remembered: None,
        portraits: Portraits | None = None,
        stopwatch_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self._stopwatch_ns = stopwatch_ns
        self._wanted_in_flight = self._in_flight = in_flight
        self._most_open = 4 * in_flight  # results held back by a slow old worker are bounded too
        self._events = events
        self._sinks = tuple(sinks)
        self._health_sinks = tuple(health_sinks)
        self._listener = listener
        self._seeing = seeing or Seeing()
        self._intake = Intake(cameras, lossless=lossless, in_flight=in_flight, capture=capture, plans=plans or {})
        self._farewells = Farewells(self._intake, self._seeing, self._forget, departed)
        self._pictures = Pictures(self._intake, capture, self._forget, portraits)
        self._order: Order[WorkerHandle, Answer] = Order()
        self._switch: Switch[WorkerHandle] = Switch()
        self._shadow = Shadows(Lent(name, self._intake, events, self._forget))
        self._servings: dict[str, Serving] = {}
        self._leaving: list[WorkerHandle] = []
        self._change: Change | None = None
        self._away: tuple[int, int] | None = None
        """Lost and skipped when current was taken out; None: nobody was."""
        self._last_release: ReleaseId | None = None
        self._watch_until = 0
        self._intervals = Intervals()
        self._rate = Rate()
        self._stages = Stages()
        self._resent = self._swaps = self._workers_lost = 0

    # --- from capture ------------------------------------------------------------------------------------------------

    def need_ring(self, now_ns: int, camera: CameraName, width: int, height: int) -> None:
        """Give a camera a ring: it delivers frames of a (new) size."""
        generation, gone = self._intake.need_ring(camera, width, height)
        if generation is not None:
            self._show(generation)
        self._forget(gone)
        self._dispatch(now_ns)

    def frame(self, now_ns: int, message: Frame) -> None:
        """Take a captured frame."""
        self._stages.came((now_ns - message.at_ns) / NS_PER_MS)
        if self._intake.frame(now_ns, message, needed=self._needs_frames(message.camera)):
            self._gated(now_ns, message)
            return
        self._pictures.came(now_ns, message.camera, serving=self._switch.current is not None)
        self._dispatch(now_ns)

    def _gated(self, now_ns: int, message: Frame) -> None:
        """Take note of a frame that the motion gate left out."""
        if not self._order.open:  # the scene is still and nobody waits for an answer: that is no gap
            self._intervals.rest(now_ns)
        if not self._intake.cameras[message.camera].waiting:  # else an older frame of it is still to be seen
            self._farewells.before(message.camera, message.generation)
            self._seeing.gated(message.camera, message.at_ns)

    def _needs_frames(self, camera: CameraName) -> bool:
        """Whether frames are wanted whatever they show: a worker begins, is watched or shadows; a picture is due."""
        if self._change is not None or self._shadow.workers() or self._pictures.waits_for(camera):
            return True
        current = self._switch.current
        return current is not None and self._servings[current.name].service.frames < self._watch_until

    def health(self, now_ns: int, message: Health) -> None:
        """Pass a change of a camera's state on."""
        del now_ns
        self._intake.health(message)
        self._pictures.health(message)
        for sink in self._health_sinks:
            sink(message)
        self._farewells.health(message)
        self._part()

    def camera_closed(self, now_ns: int, camera: CameraName, another: bool) -> None:
        """Take back what capture was granted: the camera was closed, to be opened anew or removed."""
        del now_ns
        self._farewells.closed(camera, another=another)
        self._pictures.capture_lost(camera, "it is being closed")

    def limit(self, now_ns: int, limits: Mapping[CameraName, float | None]) -> None:
        """Bound the frame rates of these cameras from now on (None: no bound)."""
        self._intake.limit(now_ns, limits)

    def capture_lost(self, now_ns: int, camera: CameraName, reason: str) -> None:
        """Take back what the reaped capture process held; it opens the camera again."""
        del now_ns
        self._intake.capture_lost(camera, reason)
        self._pictures.capture_lost(camera, reason)
        for sink in self._health_sinks:
            sink(Health(camera=camera, state="failed", reason=reason))

    def rendered(self, now_ns: int, message: Rendered, jpeg: bytes) -> None:
        """Take a picture that was made of a frame."""
        del now_ns
        self._pictures.rendered(message, jpeg)

    # --- another configuration ---------------------------------------------------------------------------------------

    def reconfigure(self, now_ns: int, setup: PipelineSetup) -> None:
        """Be as ``setup`` says from now on. Frames that are ready or in flight are answered all the same."""
        self._wanted_in_flight = setup.in_flight
        self._fit()
        self._seeing.reconfigure(setup.seeing)
        for name, camera in setup.cameras.items():
            self._farewells.stay(name)
            self._seeing.expect(name, camera.remembered)
            self._intake.take(name, camera.plan, lossless=camera.lossless)
        for name in [name for name in self._intake.cameras if name not in setup.cameras]:
            self._farewells.leave(name)
        self._part()
        self._dispatch(now_ns)

    def _fit(self) -> None:
        """Have as many frames with the worker as are wanted, and one more than it computes at once, if it does."""
        current, wanted = self._switch.current, self._wanted_in_flight
        if current is not None and wanted > 1:
            wanted = max(wanted, current.options.concurrency + 1)
        if wanted != self._in_flight:
            self._resize(wanted)

    def _resize(self, in_flight: int) -> None:
        self._in_flight, self._most_open = in_flight, 4 * in_flight
        for generation in self._intake.resize(in_flight):
            self._show(generation)
            self._intake.begin_writing(generation)

    def _show(self, generation: Generation) -> None:
        """Let every worker read a ring."""
        for worker in (*self._switch.workers(), *self._shadow.workers()):
            worker.attach_ring(generation.camera, generation.number, generation.memory)

    def report(self, now_ns: int, worker: WorkerHandle, reporting: Reporting) -> None:
        """Report a worker's answers in another way from now on; a worker that was handed back is none."""
        del now_ns
        serving = self._servings.get(worker.name)
        if serving is not None:
            serving.reporting = reporting

    # --- from workers ------------------------------------------------------------------------------------------------

    def output(self, now_ns: int, worker: WorkerHandle, message: Output) -> None:
        """Take a worker's answer."""
        if self._shadow.output(now_ns, worker, message):
            self._after_answer(now_ns, worker)
            return
        found = self._claim(now_ns, worker, message.request)
        if found is None:
            return
        serving, flight = found
        self._shadow.current_answered(now_ns, flight.ticket, worker.release, message)
        try:
            answer = read(message, flight.frame, worker.release, serving.reporting, now_ns)
        except OutputError as error:
            self._fail(now_ns, serving, flight, error.message)
        else:
            self._deliver(now_ns, self._order.settle(flight.ticket, (serving, answer)))
        self._after_answer(now_ns, worker)

    def failed(self, now_ns: int, worker: WorkerHandle, message: Error) -> None:
        """Take a worker's reason for having no answer."""
        if self._shadow.output(now_ns, worker, message):
            self._after_answer(now_ns, worker)
            return
        found = None if message.request is None else self._claim(now_ns, worker, message.request)
        if found is None:
            return
        self._shadow.current_answered(now_ns, found[1].ticket, worker.release, None)
        self._fail(now_ns, *found, message.message)
        self._after_answer(now_ns, worker)

    def died(self, now_ns: int, worker: WorkerHandle, reason: str) -> None:
        """Go on without a worker that was reaped: its frames go to another one, its leases end."""
        serving = self._servings.get(worker.name)
        if self._shadow.died(worker, reason) or serving is None:
            return
        if not serving.gone:
            self._lose(now_ns, serving, reason)
        self._forget(self._intake.reclaim(worker.name))
        self._retire(worker)
        self._dispatch(now_ns)

    # --- orders ------------------------------------------------------------------------------------------------------

    def swap(self, now_ns: int, worker: WorkerHandle, reporting: Reporting, p95_ms: float) -> None:
        """Let ``worker`` serve from the next frame on; ``p95_ms`` is what its trial measured."""
        self._switch.propose(worker)
        self._servings[worker.name] = Serving(worker, reporting, p95_ms, now_ns)
        if not self._shadow.take_over(worker):
            for generation in self._intake.generations():
                worker.attach_ring(generation.camera, generation.number, generation.memory)
        worker.listen(self._listener)
        retired = self._switch.promote()
        self._begin(now_ns, "swap")
        if retired is not None:
            self._leave(retired)
        self._dispatch(now_ns)

    def swap_back(self, now_ns: int, reason: str) -> None:
        """Let the warm previous worker serve from the next frame on."""
        if self._switch.previous is None:
            log.warning("swap_back.no_previous", pipeline=self.name, reason=reason)
            return
        log.info("swap_back", pipeline=self.name, reason=reason)
        retired = self._switch.back()
        self._begin(now_ns, "swap_back")
        if retired is not None:
            self._leave(retired)
        self._dispatch(now_ns)

    def drop_previous(self, now_ns: int) -> None:
        """Hand the warm previous worker back."""
        del now_ns
        retired = self._switch.drop_previous()
        if retired is not None:
            self._leave(retired)

    def take_out(self, now_ns: int, reason: str) -> None:
        """Hand the current worker back once it has answered what it has; nobody serves until the next swap."""
        self.drop_previous(now_ns)
        worker = self._switch.current
        if worker is not None:
            log.info("unload", pipeline=self.name, worker=worker.name, reason=reason)
            self._switch.remove(worker)
            self._away = (self._intake.lost, self._intake.skipped)
            self._leave(worker)
            self._part()

    def shadow(self, now_ns: int, worker: WorkerHandle, p95_ms: float, max_slowdown: float) -> None:
        """Show ``worker`` what current is shown, at the cost of at most ``max_slowdown`` of current's rate."""
        self._shadow.begin(now_ns, worker, p95_ms, max_slowdown, self._rate.per_second(now_ns))
        worker.listen(self._listener)

    def end_shadow(self, now_ns: int) -> None:
        """Hand the worker in the shadow back."""
        del now_ns
        self._shadow.end()

    def picture(self, now_ns: int, wish: Wish) -> None:
        """Have a picture made of a camera's newest frame."""
        del now_ns
        self._pictures.ask(wish)

    def watch(self, now_ns: int, frames: int) -> None:
        """Tell how current does, until it has given ``frames`` results since the swap."""
        del now_ns
        self._watch_until = frames

    # --- time --------------------------------------------------------------------------------------------------------

    def next_due_ns(self) -> int | None:
        """Return when the first answer is overdue; None: none is awaited."""
        shadow_ns = self._shadow.due_ns()
        dues = [due for _, due in self._dues()] + ([] if shadow_ns is None else [shadow_ns])
        return min(dues, default=None)

    @property
    def grant_due_ns(self) -> int | None:
        """When :meth:`grant_due` has something to do; None: nothing is awaited."""
        return self._intake.grant_due_ns

    def grant_due(self, now_ns: int) -> None:
        """Let cameras whose frame rate is bounded give their next frame, where it is time."""
        self._intake.grant_due(now_ns)

    def check_deadlines(self, now_ns: int) -> None:
        """Kill every worker that owes an answer for too long; its frames go to another one at once."""
        self._shadow.check_deadline(now_ns)
        for serving, due_ns in self._dues():
            if now_ns >= due_ns:
                reason = f"no answer for {serving.patience_ns / NS_PER_S:.1f} s"
                log.error("worker.hung", pipeline=self.name, worker=serving.worker.name, reason=reason)
                serving.worker.kill(reason)
                self._lose(now_ns, serving, reason)

    def _dues(self) -> list[tuple[Serving, int]]:
        """Return who owes an answer, and until when; usually one or two workers."""
        heads = ((s, self._order.flights(s.worker)) for s in self._servings.values() if not s.gone)
        return [(serving, serving.due_ns(flights[0].sent_ns)) for serving, flights in heads if flights]

    # --- dispatch and delivery ---------------------------------------------------------------------------------------

    def _dispatch(self, now_ns: int) -> None:
        """Keep current busy: first what must be sent again, then the cameras' next frames."""
        worker = self._switch.current
        if worker is None:
            return
        for _ in range(self._in_flight - len(self._order.flights(worker))):
            flight = self._order.stranded()
            if flight is not None:
                self._intake.lease(flight.frame, worker.name)
                self._intake.release(flight.frame, HOLD)
                self._order.resend(flight, worker, now_ns)
                self._resent += 1
            elif len(self._order) < self._most_open and (frame := self._intake.next_frame(worker.name)) is not None:
                flight = self._order.send(frame, worker, now_ns)
                self._pictures.sent(frame)
            else:
                return
            worker.infer(flight.ticket, flight.frame, "serve")
            self._shadow.offer(now_ns, flight)

    def _claim(self, now_ns: int, worker: WorkerHandle, request: int) -> tuple[Serving, Flight[WorkerHandle]] | None:
        """Take the flight that is answered, and end its lease; None where the answer is stale."""
        serving = self._servings.get(worker.name)
        flight = self._order.claim(request, worker)
        if serving is None or serving.gone or flight is None:
            log.info("answer.stale", pipeline=self.name, worker=worker.name, request=request)
            return None
        serving.heard(now_ns)
        self._forget(self._intake.release(flight.frame, worker.name))
        return serving, flight

    def _fail(self, now_ns: int, serving: Serving, flight: Flight[WorkerHandle], reason: str) -> None:
        """Count a frame that was answered with an error, and tell."""
        self._intake.cameras[flight.frame.camera].failed += 1
        self._deliver(now_ns, self._order.settle(flight.ticket, None))
        if serving.tells_bad_output(now_ns):
            self._events.bad_output(self.name, serving.worker.release, reason)

    def _deliver(self, now_ns: int, answers: Iterable[Answer]) -> None:
        """Give results to the sinks, in order, and to whoever watches the worker."""
        for serving, answer in answers:
            self._farewells.before(answer.frame.camera, answer.frame.generation)
            began_ns = self._stopwatch_ns()
            result = self._seeing.see(answer, serving.reporting)
            see_ms = (self._stopwatch_ns() - began_ns) / NS_PER_MS
            camera = self._intake.cameras[result.frame.camera]
            camera.answered += 1
            camera.rate.add(now_ns)
            camera.known = bool(result.detections) or (result.scene is not None and bool(result.scene.counts))
            self._rate.add(now_ns)
            self._stages.add(result.timings, result.latency_ms, see_ms)
            found = result.detections if result.detections is not None else result.classes
            serving.service.add(result.timings, len(found or ()))
            self._pictures.seen(result)
            for sink in self._sinks:
                sink(result)
            self._tell_change(now_ns, serving)
            self._intervals.add(now_ns)
            self._last_release = result.release
            self._tell_watcher(now_ns, serving)
        self._part()

    def _part(self) -> None:
        """End what is seen of cameras that are gone, as soon as their last frame was delivered."""
        self._farewells.look(served=self._switch.current is not None)

    def _tell_change(self, now_ns: int, serving: Serving) -> None:
        change = self._change
        if change is None or change.serving is not serving:
            return
        self._change = None
        self._swaps += 1
        seen = SwapSeen(
            cause=change.cause,
            old=self._last_release,
            new=serving.worker.release,
            gap_ms=self._intervals.gap_ms(now_ns),
            lost=self._intake.lost - change.lost,
            skipped=self._intake.skipped - change.skipped,
        )
        self._intervals.restart()
        self._events.swapped(self.name, seen)

    def _tell_watcher(self, now_ns: int, serving: Serving) -> None:
        frames = serving.service.frames
        if frames > self._watch_until or serving.worker is not self._switch.current:
            return
        if frames % SAMPLE_EVERY == 0 or frames == self._watch_until:
            self._events.served(self.name, serving.service.sample(now_ns))

    # --- workers that come and go ------------------------------------------------------------------------------------

    def _begin(self, now_ns: int, cause: Cause) -> None:
        """Count from here: another worker is current."""
        worker = self._switch.current
        assert worker is not None
        serving = self._servings[worker.name]
        serving.begin(now_ns)
        self._fit()
        self._watch_until = 0
        lost, skipped = self._away or (self._intake.lost, self._intake.skipped)
        self._away = None
        self._change = Change(cause, serving, lost=lost, skipped=skipped)

    def _lose(self, now_ns: int, serving: Serving, reason: str) -> None:
        """Go on without a worker that died or hung; it is reaped later, or was."""
        serving.gone = True
        worker = serving.worker
        was_current = worker is self._switch.current
        fell_back = self._switch.remove(worker)
        if fell_back:
            self._begin(now_ns, "fall_back")
        for flight in self._order.strand(worker):
            if flight.attempts < ATTEMPTS:
                self._intake.lease(flight.frame, HOLD)
            else:
                self._intake.cameras[flight.frame.camera].lost += 1
                self._shadow.current_answered(now_ns, flight.ticket, worker.release, None)
                self._deliver(now_ns, self._order.settle(flight.ticket, None))
        if was_current:
            self._workers_lost += 1
            self._events.worker_lost(self.name, worker.release, reason, fell_back)
        else:
            log.warning("worker.lost_unused", pipeline=self.name, worker=worker.name, reason=reason)
        self._part()
        self._dispatch(now_ns)

    def _leave(self, worker: WorkerHandle) -> None:
        """Hand a worker back that has no slot any more, once it has answered what it has."""
        if self._order.flights(worker) or self._shadow.holds(worker):
            self._leaving.append(worker)
        else:
            self._retire(worker)

    def _after_answer(self, now_ns: int, worker: WorkerHandle) -> None:
        owes = self._order.flights(worker) or self._shadow.holds(worker)
        # One that was killed is retired when it was reaped: until then it may read what it was lent.
        if self._leaving and worker in self._leaving and not owes and not self._servings[worker.name].gone:
            self._retire(worker)
        self._dispatch(now_ns)

    def _retire(self, worker: WorkerHandle) -> None:
        """Hand a worker back: nobody uses it any more."""
        del self._servings[worker.name]
        if worker in self._leaving:
            self._leaving.remove(worker)
        worker.listen(None)
        self._events.retired(self.name, worker)

    def _forget(self, gone: Iterable[Generation]) -> None:
        """Let workers drop rings of which no frame will be asked for again."""
        for generation in gone:
            for worker in (*self._switch.workers(), *self._shadow.workers()):
                worker.detach_ring(generation.camera, generation.number)

    # --- the end, and facts ------------------------------------------------------------------------------------------

    def dismiss(self, now_ns: int) -> None:
        """Hand every worker back at once: the pipeline ends. What they have is not answered any more."""
        del now_ns
        shadows = [worker for worker in self._shadow.workers() if worker.name not in self._servings]
        for worker in (*(serving.worker for serving in self._servings.values()), *shadows):
            worker.listen(None)
            self._events.retired(self.name, worker)

    def close(self) -> None:
        """End what is seen, stop listening to workers and free the rings. Nothing else may be called after it."""
        self._seeing.close()
        for serving in self._servings.values():
            serving.worker.listen(None)
        self._shadow.close()
        self._pictures.close()
        self._intake.close()

    def statistics(self, now_ns: int) -> PipelineStatistics:
        """Sum up."""
        sights = self._seeing.sights
        cameras = {name: one.statistics(now_ns, sights(name, now_ns)) for name, one in self._intake.cameras.items()}
        current, previous = self._switch.current, self._switch.previous
        service = self._servings[current.name].service if current is not None else None
        return PipelineStatistics(
            pipeline=self.name,
            captured=self._intake.captured,
            answered=self._intake.answered,
            failed=self._intake.failed,
            lost=self._intake.lost,
            skipped=self._intake.skipped,
            gated=self._intake.gated,
            in_flight=self._order.open,
            resent=self._resent,
            swaps=self._swaps,
            workers_lost=self._workers_lost,
            fps=self._rate.per_second(now_ns),
            cameras=cameras,
            stages=self._stages.snapshot(),
            current=current.release if current is not None else None,
            previous=previous.release if previous is not None else None,
            serving=None if service is None else service.sample(now_ns),
            inference=None if service is None else service.inference(),
        )
