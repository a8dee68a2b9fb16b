"""Any interleaving of frames, answers, failures, deaths, hangs, swaps and lost captures keeps the loop's promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.loop.plan import CameraPlan
from agent.types import CameraName
from agent.vision.gate import GateSettings
from tests.depth import examples
from tests.loop.fakes import Bench, FakeWorker

CAMERAS = ("live", "film", "calm")
PLANS = {
    "film": CameraPlan(weight=3, max_fps=20.0),
    "calm": CameraPlan(weight=2, gate=GateSettings(hold_s=0.2, every_s=2.0, recheck_s=0.5)),
}
camera_names = st.sampled_from(CAMERAS)


class LoopMachine(RuleBasedStateMachine):
    """The test is capture, the workers and the deployer at once."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(CAMERAS, lossless=["film"], in_flight=2, plans=PLANS)
        self.made: list[FakeWorker] = []
        self.writing = set(CAMERAS)

    @property
    def loop(self):
        return self.bench.loop

    def living(self) -> list[FakeWorker]:
        gone = self.bench.events.retired_workers
        return [worker for worker in self.made if worker.alive and worker not in gone]

    def asked(self) -> list[FakeWorker]:
        return [worker for worker in self.living() if worker.asked]

    @precondition(lambda self: self.writing)
    @rule(data=st.data(), count=st.integers(1, 4), motion=st.sampled_from([0.0, 0.0, 0.5]))
    def write(self, data, count: int, motion: float) -> None:
        self.bench.write(data.draw(st.sampled_from(sorted(self.writing))), count, motion=motion)

    @precondition(lambda self: self.asked())
    @rule(data=st.data(), fails=st.sampled_from([False, False, False, True]))
    def answer(self, data, fails: bool) -> None:
        worker = data.draw(st.sampled_from(self.asked()))
        self.bench.pass_ms(5)
        if fails:
            self.loop.failed(self.bench.now_ns, worker, worker.error())
        else:
            self.bench.answer(worker)

    @rule(concurrency=st.sampled_from([1, 1, 2, 4]))
    def swap(self, concurrency: int) -> None:
        worker = FakeWorker(f"worker-{len(self.made) + 1}", concurrency=concurrency)
        self.made.append(worker)
        self.bench.swap(worker)

    @rule()
    def shadow(self) -> None:
        worker = FakeWorker(f"worker-{len(self.made) + 1}")
        self.made.append(worker)
        self.loop.shadow(self.bench.now_ns, worker, 10.0, 0.5)

    @precondition(lambda self: self.loop._shadow.workers())
    @rule(swap=st.booleans())
    def leave_the_shadow(self, swap: bool) -> None:
        worker = self.loop._shadow.workers()[-1]
        if swap and worker.alive and not worker.killed:
            self.bench.swap(worker)
        else:
            self.loop.end_shadow(self.bench.now_ns)

    @rule()
    def take_out(self) -> None:
        self.loop.take_out(self.bench.now_ns, "test")

    @rule()
    def swap_back(self) -> None:
        self.loop.swap_back(self.bench.now_ns, "test")

    @rule()
    def drop_previous(self) -> None:
        self.loop.drop_previous(self.bench.now_ns)

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def die(self, data) -> None:
        self.bench.reap(data.draw(st.sampled_from(self.living())))

    @rule(ms=st.sampled_from([10, 500, 2500]))
    def time_passes(self, ms: int) -> None:
        self.bench.pass_ms(ms)
        self.loop.grant_due(self.bench.now_ns)
        self.loop.check_deadlines(self.bench.now_ns)

    @rule(camera=camera_names, fps=st.sampled_from([None, 0.5, 100.0]))
    def limit(self, camera: str, fps: float | None) -> None:
        self.loop.limit(self.bench.now_ns, {CameraName(camera): fps})

    @precondition(lambda self: any(worker.killed and worker.alive for worker in self.made))
    @rule()
    def reap_killed(self) -> None:
        for worker in self.made:
            if worker.killed and worker.alive:
                self.bench.reap(worker)

    @rule(camera=camera_names)
    def lose_capture(self, camera: str) -> None:
        self.loop.capture_lost(self.bench.now_ns, CameraName(camera), "killed")
        self.writing.discard(camera)

    @rule(camera=camera_names, size=st.sampled_from([(64, 48), (32, 24)]))
    def need_ring(self, camera: str, size: tuple[int, int]) -> None:
        self.loop.need_ring(self.bench.now_ns, CameraName(camera), *size)
        self.writing.add(camera)

    @invariant()
    def each_frame_is_delivered_at_most_once_and_in_order(self) -> None:
        for camera in CAMERAS:
            sequences = [r.frame.sequence for r in self.bench.results if r.frame.camera == camera]
            assert sequences == sorted(set(sequences))

    @invariant()
    def counters_add_up(self) -> None:
        for camera in self.bench.statistics.cameras.values():
            pending = camera.captured - camera.answered - camera.failed - camera.lost - camera.replaced
            assert pending - camera.gated >= 0
            assert camera.gated == 0 or camera.camera == "calm"
        film = self.bench.statistics.cameras[CameraName("film")]
        assert film.skipped == 0

    @invariant()
    def a_worker_is_handed_back_once(self) -> None:
        retired = self.bench.events.retired_workers
        assert len(retired) == len({worker.name for worker in retired})

    def teardown(self) -> None:
        """Let everything that hangs be reaped, a good worker serve, and see that nothing is left over."""
        self.reap_killed()
        self.loop.end_shadow(self.bench.now_ns)
        worker = FakeWorker("the-last")
        self.bench.swap(worker)
        self.loop.drop_previous(self.bench.now_ns)
        for _ in range(200):
            for other in [*self.living(), worker]:
                if other.asked and other.alive:
                    self.bench.answer(other)
        statistics = self.bench.statistics
        assert statistics.in_flight == 0
        for camera in statistics.cameras.values():
            ends = camera.answered + camera.failed + camera.lost + camera.replaced + camera.gated
            assert camera.captured == ends
        assert {w.name for w in self.made} == {w.name for w in self.bench.events.retired_workers}
        for generation in self.loop._intake.generations():
            counts = generation.leases.counts()
            assert counts.leased == counts.ready == 0
            assert counts.writing == len(generation.granted)
        self.loop.close()


TestLoop = LoopMachine.TestCase
TestLoop.settings = settings(max_examples=examples(80), stateful_step_count=50, deadline=None)
