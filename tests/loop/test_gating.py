"""The gate, weights and frame-rate bounds inside the loop: what is left out, what never is, and how it is counted."""

from __future__ import annotations

from agent.loop.plan import CameraPlan
from agent.types import CameraName
from agent.vision.gate import GateSettings
from tests.loop.fakes import MS, Bench, FakeWorker, rows

GATE = GateSettings(min_area=0.001, hold_s=1.0, every_s=10.0, recheck_s=2.0)
NOTHING = rows()


def gated_bench(**more) -> tuple[Bench, FakeWorker]:
    """A bench whose camera has a gate, past its first answer."""
    bench, worker = Bench(plans={"front": CameraPlan(gate=GATE)}, **more), FakeWorker("one")
    bench.swap(worker)
    bench.write()
    bench.answer(worker, detections=NOTHING)
    bench.pass_ms(1100)
    return bench, worker


def test_a_still_frame_is_gated_and_its_slot_is_free_at_once():
    bench, worker = gated_bench()
    for _ in range(40):
        assert bench.write(motion=0.0) == 1
    seen = bench.statistics
    assert not worker.asked
    assert (seen.gated, seen.skipped, seen.lost, seen.captured, seen.answered) == (40, 0, 0, 41, 1)
    assert seen.cameras[CameraName("front")].gated == 40


def test_a_frame_with_motion_is_not_replaced_by_a_still_one():
    bench, worker = gated_bench(in_flight=1)
    bench.write(motion=0.5)
    bench.write(motion=0.5)  # waits behind the first
    bench.pass_ms(1500)
    bench.write(count=5, motion=0.0)
    assert bench.statistics.gated == 5
    bench.answer(worker)
    bench.answer(worker)
    assert bench.sequences == [0, 1, 2]
    assert bench.statistics.skipped == 0


def test_what_was_seen_is_looked_at_again_and_what_was_not_is_left_alone():
    bench, worker = gated_bench()
    bench.write(motion=0.5)
    bench.answer(worker)
    bench.pass_ms(2100)
    bench.write(motion=0.0)
    assert len(worker.asked) == 1
    bench.answer(worker, detections=NOTHING)
    bench.pass_ms(2100)
    bench.write(motion=0.0)
    assert len(worker.asked) == bool(bench.results[-1].scene and bench.results[-1].scene.counts)


def test_a_worker_that_begins_or_is_watched_gets_frames_whatever_they_show():
    bench, worker = gated_bench()
    bench.write(motion=0.0)
    assert not worker.asked
    other = FakeWorker("two")
    bench.swap(other)
    bench.write(motion=0.0)
    bench.answer(other, detections=NOTHING)
    assert len(bench.events.swaps) == 2
    bench.loop.watch(bench.now_ns, 5)
    for _ in range(10):
        bench.write(motion=0.0)
        bench.answer(other, len(other.asked), NOTHING)
    assert (bench.statistics.answered, bench.statistics.gated) == (6, 7)


def test_a_candidate_in_the_shadow_gets_frames_too():
    bench, worker = gated_bench()
    bench.loop.shadow(bench.now_ns, FakeWorker("shadow"), 10.0, 0.5)
    bench.write(motion=0.0)
    assert len(worker.asked) == 1


def test_a_still_scene_is_no_gap_of_a_swap():
    bench, worker = gated_bench()
    for _ in range(10):
        bench.write(motion=1.0)
        bench.answer(worker, detections=NOTHING)
        bench.pass_ms(40)
    for _ in range(100):
        bench.pass_ms(40)
        bench.write(motion=0.0)
        bench.answer(worker, len(worker.asked), NOTHING)
    other = FakeWorker("two")
    bench.swap(other)
    bench.pass_ms(40)
    bench.write(motion=0.0)
    bench.answer(other, detections=NOTHING)
    assert bench.events.swaps[-1].gap_ms < 50


def test_a_camera_without_a_gate_answers_still_frames_too():
    bench, worker = Bench(), FakeWorker("one")
    bench.swap(worker)
    for _ in range(3):
        bench.write(motion=0.0)
        bench.answer(worker)
    assert (bench.statistics.answered, bench.statistics.gated) == (3, 0)


def test_a_busy_worker_is_shared_by_weight():
    bench = Bench(["front", "back"], in_flight=1, plans={"front": CameraPlan(weight=3)})
    worker = FakeWorker("one")
    bench.swap(worker)
    for _ in range(80):
        bench.write("front")
        bench.write("back")
        bench.answer(worker)
    served = [result.frame.camera for result in bench.results]
    assert 58 <= served.count("front") <= 62


def test_a_bounded_camera_gets_its_next_slot_when_it_is_time_and_loses_nothing():
    bench = Bench(lossless=["front"], plans={"front": CameraPlan(max_fps=10.0)})
    worker = FakeWorker("one")
    bench.swap(worker)
    written = 0
    for _ in range(200):  # two seconds
        bench.loop.grant_due(bench.now_ns)
        written += bench.write(count=3)
        bench.answer(worker, len(worker.asked))
        bench.pass_ms(10)
    assert 19 <= written <= 22
    assert bench.sequences == list(range(written))
    assert (bench.statistics.skipped, bench.statistics.gated) == (0, 0)


def test_a_bound_that_comes_and_goes_is_kept_at_once():
    bench, worker = Bench(), FakeWorker("one")
    bench.swap(worker)
    bench.loop.limit(bench.now_ns, {CameraName("front"): 1.0})
    bench.write()
    bench.answer(worker)
    assert bench.write() == 0
    assert bench.loop.grant_due_ns is not None
    assert bench.loop.grant_due_ns - bench.now_ns <= 1000 * MS
    bench.pass_ms(1000)
    bench.loop.grant_due(bench.now_ns)
    assert bench.write() == 1
    bench.answer(worker)
    bench.loop.limit(bench.now_ns, {CameraName("front"): None})
    assert bench.write() == 1
    assert bench.loop.grant_due_ns is None or bench.loop.grant_due_ns > bench.now_ns - 1


def test_a_camera_that_comes_back_with_another_size_does_not_wait_for_its_bound():
    bench = Bench(plans={"front": CameraPlan(max_fps=0.01)})
    bench.loop.need_ring(bench.now_ns, CameraName("front"), 32, 24)
    assert bench.write() == 1


def test_a_camera_that_is_slow_by_configuration_is_not_called_stale():
    bench = Bench(plans={"front": CameraPlan(max_fps=0.1)})
    bench.write()
    bench.pass_ms(9_000)
    assert bench.loop.statistics(bench.now_ns).cameras["front"].idle_s == 0.0
    bench.pass_ms(9_000)
    assert bench.loop.statistics(bench.now_ns).cameras["front"].idle_s == 8.0
