"""A loop that is reconfigured at random, amid frames, answers, deaths and swaps, keeps every frame and every lease."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.loop.plan import CameraPlan
from agent.loop.setups import CameraSetup
from agent.types import CameraName
from agent.vision.gate import GateSettings
from tests.depth import examples
from tests.loop.fakes import Bench, FakeWorker

NAMES = ("door", "film", "hall", "yard")
LOSSLESS = "film"
plans = st.builds(
    CameraPlan,
    weight=st.integers(1, 10),
    max_fps=st.sampled_from([None, None, 20.0]),
    gate=st.sampled_from([None, None, GateSettings(hold_s=0.1, every_s=0.5)]),
)


class ReconfiguredLoop(RuleBasedStateMachine):
    """The test is capture, the workers, and whoever takes the configuration up."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(("door", LOSSLESS), lossless=[LOSSLESS], in_flight=2)
        self.wanted = {"door": CameraSetup(), LOSSLESS: CameraSetup(lossless=True)}
        self.in_flight = 2
        self.writing = {"door", LOSSLESS}
        self.made: list[FakeWorker] = []
        self.handed_over: dict[str, int] = dict.fromkeys(NAMES, 0)

    # --- capture and the workers -------------------------------------------------------------------------------------

    @precondition(lambda self: self.writing)
    @rule(data=st.data(), count=st.integers(1, 4), motion=st.sampled_from([0.0, 0.5]))
    def write(self, data, count: int, motion: float) -> None:
        camera = data.draw(st.sampled_from(sorted(self.writing)))
        self.handed_over[camera] += self.bench.write(camera, count, motion=motion)

    @precondition(lambda self: any(worker.asked for worker in self.living()))
    @rule(data=st.data())
    def answer(self, data) -> None:
        self.bench.pass_ms(5)
        self.bench.answer(data.draw(st.sampled_from([worker for worker in self.living() if worker.asked])))

    @rule(concurrency=st.sampled_from([1, 1, 2, 4]))
    def swap(self, concurrency: int) -> None:
        self.made.append(FakeWorker(f"worker-{len(self.made) + 1}", concurrency=concurrency))
        self.bench.swap(self.made[-1])

    @rule()
    def shadow(self) -> None:
        self.made.append(FakeWorker(f"worker-{len(self.made) + 1}"))
        self.bench.loop.shadow(self.bench.now_ns, self.made[-1], 10.0, 0.5)

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def die(self, data) -> None:
        self.bench.reap(data.draw(st.sampled_from(self.living())))

    @rule(ms=st.sampled_from([10, 500]))
    def time_passes(self, ms: int) -> None:
        self.bench.pass_ms(ms)
        self.bench.loop.grant_due(self.bench.now_ns)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def lose_capture(self, data) -> None:
        camera = data.draw(st.sampled_from(sorted(self.wanted)))
        self.bench.capture.granted.pop(camera, None)
        self.bench.loop.capture_lost(self.bench.now_ns, CameraName(camera), "killed")
        self.writing.discard(camera)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data(), size=st.sampled_from([(64, 48), (32, 24)]))
    def need_ring(self, data, size: tuple[int, int]) -> None:
        camera = data.draw(st.sampled_from(sorted(self.wanted)))
        self.bench.open(camera, *size)
        self.writing.add(camera)

    # --- another configuration ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.wanted)
    @rule(data=st.data(), another=st.booleans())
    def reopen(self, data, another: bool) -> None:
        camera = data.draw(st.sampled_from(sorted(self.wanted)))
        self.close(camera, another=another)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def remove(self, data) -> None:
        camera = data.draw(st.sampled_from(sorted(self.wanted)))
        self.close(camera, another=True)
        del self.wanted[camera]
        self.take_up()

    @precondition(lambda self: len(self.wanted) < len(NAMES))
    @rule(data=st.data(), plan=plans)
    def add(self, data, plan: CameraPlan) -> None:
        camera = data.draw(st.sampled_from(sorted(set(NAMES) - self.wanted.keys())))
        self.wanted[camera] = CameraSetup(CameraPlan(plan.weight, plan.max_fps), lossless=camera == LOSSLESS)
        self.take_up()

    @precondition(lambda self: self.wanted)
    @rule(data=st.data(), plan=plans)
    def plan(self, data, plan: CameraPlan) -> None:
        camera = data.draw(st.sampled_from(sorted(self.wanted)))
        self.wanted[camera] = CameraSetup(plan, lossless=camera == LOSSLESS)
        self.take_up()

    @rule(in_flight=st.integers(1, 4))
    def resize(self, in_flight: int) -> None:
        self.in_flight = in_flight
        self.take_up()

    # --- what holds --------------------------------------------------------------------------------------------------

    @invariant()
    def frames_of_a_camera_come_in_order_and_once(self) -> None:
        for camera in NAMES:
            sequences = [r.frame.sequence for r in self.bench.results if r.frame.camera == camera]
            assert sequences == sorted(set(sequences))

    @invariant()
    def totals_never_go_down_and_cover_every_frame(self) -> None:
        assert self.bench.statistics.captured == sum(self.handed_over.values())

    @invariant()
    def only_frames_in_flight_are_leased_beyond_what_the_configuration_allows(self) -> None:
        for worker in self.living():
            assert len(worker.asked) <= 2 * 4 + 1

    def teardown(self) -> None:
        """Remove all but one camera, answer what is left, and see that nothing hangs and no memory is kept."""
        last = FakeWorker("the-last")
        self.bench.loop.end_shadow(self.bench.now_ns)
        self.bench.swap(last)
        self.bench.loop.drop_previous(self.bench.now_ns)
        self.wanted.setdefault("door", CameraSetup())
        for camera in [camera for camera in self.wanted if camera != "door"]:
            self.close(camera, another=True)
            del self.wanted[camera]
        self.take_up()
        for _ in range(200):
            for worker in [*self.living(), last]:
                if worker.asked and worker.alive:
                    self.bench.answer(worker)
        statistics = self.bench.statistics
        assert set(statistics.cameras) == {"door"}, "the others are gone"
        assert statistics.in_flight == 0
        lossless = [r.frame.sequence for r in self.bench.results if r.frame.camera == LOSSLESS]
        lost = self.bench.loop._intake.lost
        assert len(lossless) >= self.handed_over[LOSSLESS] - lost - self._given_up(), "no frame was lost"
        for generation in self.bench.loop._intake.generations():
            counts = generation.leases.counts()
            assert counts.leased == counts.ready == 0
            assert generation.camera == "door"
            assert all(worker.rings <= {("door", n) for n in range(1000)} for worker in self.living())
        self.bench.loop.close()

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _given_up(self) -> int:
        """Frames of a removed camera that were ready while nobody served, or left out by its gate."""
        past = self.bench.loop._intake
        return past.skipped + past.gated

    def living(self) -> list[FakeWorker]:
        gone = self.bench.events.retired_workers
        return [worker for worker in self.made if worker.alive and worker not in gone]

    def close(self, camera: str, *, another: bool) -> None:
        self.bench.close_camera(camera, another=another)
        self.writing.discard(camera)

    def take_up(self) -> None:
        self.bench.reconfigure(self.wanted, in_flight=self.in_flight)


TestReconfiguredLoop = ReconfiguredLoop.TestCase
TestReconfiguredLoop.settings = settings(max_examples=examples(80), stateful_step_count=50, deadline=None)
